"""What a library can do with the network inside it: show its layers, and what they see."""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import seeing

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from .records import Explanation, Features, Layers
    from .resources import Resources
    from .seeing import Shown


class Seen:
    """The part of a ``Library`` that looks into the network."""

    _resources: Resources

    def layers(self) -> Layers:
        """The layers that can be looked at; the model is chosen as for ``features``.

        Raises:
            ModelNotFoundError: there is no model to take.
        """
        return seeing.layers(self._resources)

    def features(self, picture: Shown, layer: str | int | None = None) -> Features:
        """Look at what one layer of the network makes of a picture.

        The model is the one asked for, else the library's own, else the default one; there need
        not be a library. It is computed on the CPU. The model stays loaded for further calls,
        until the library is closed.

        Args:
            picture: a file, the id of an indexed picture, or the bytes of a file.
            layer: its name, for example ``block3_conv2``; n for the n-th convolution, from 1; None
                for the last layer that has maps.

        Returns:
            The layer's maps, float32 [c, h, w], and what each of them holds.

        Raises:
            SettingError: the model has no such layer, or no maps at all.
            QueryError: the picture is neither a readable file nor the id of one.
            ModelNotFoundError: there is no model to take.
        """
        return seeing.features(self._resources, picture, layer)

    def features_by_block(self, picture: Shown) -> list[Features]:
        """Look at the last convolution of every block of a VGG16; see ``features``.

        Raises:
            SettingError: the model is another network.
        """
        return seeing.blocks(self._resources, picture)

    def explain(self, a: Shown, b: Shown, k: int = 6) -> Explanation:
        """Find out what draws two pictures together: which places of them match.

        With average pooling an embedding is the mean over all places of the last maps, brought to
        length 1; the cosine of two embeddings then is a sum over all pairs of places, and each
        place's part in it is exact. With any other pooling the likeness of places is all there is.
        The model is chosen as for ``features``.

        Args:
            a: a file, the id of an indexed picture, or the bytes of a file.
            b: another.
            k: how many pairs of places to name at most. They lie some way apart.

        Raises:
            SettingError: k is below 1, or the model has no maps.
            QueryError: a picture cannot be read, or the model finds nothing in it.
            ModelNotFoundError: there is no model to take.
        """
        return seeing.explain(self._resources, a, b, k)

    def draw_features(
        self, features: Features, *, top: int | None = None, overlay: bool = False
    ) -> bytes:
        """Draw what a layer makes of a picture.

        Args:
            features: of one layer.
            top: draw this many of the strongest maps, with captions; None for all, by number.
            overlay: in place of the maps, draw their mean over the picture.

        Returns:
            A PNG file.

        Raises:
            SettingError: top is below 1.
            QueryError: the picture cannot be read any more.
        """
        return seeing.draw_features(self._resources, features, top, overlay)

    def draw_map(self, features: Features, channel: int) -> bytes:
        """Draw one map, from 0 to its own maximum, and nothing around it: a PNG file.

        Raises:
            SettingError: the layer has no such channel.
        """
        return seeing.draw_map(features, channel)

    def draw_overlay(self, features: Features) -> bytes:
        """Draw the mean of a layer's maps over the picture, and nothing around it: a PNG file.

        Raises:
            QueryError: the picture cannot be read any more.
        """
        return seeing.draw_overlay(self._resources, features)

    def draw_explanation(self, explanation: Explanation) -> bytes:
        """Draw what draws two pictures together: a PNG file.

        Raises:
            QueryError: a picture cannot be read any more.
        """
        return seeing.draw_explanation(self._resources, explanation)

    def save_features(
        self,
        features: Features | Sequence[Features],
        target: str | os.PathLike[str],
        *,
        top: int | None = None,
        overlay: bool = False,
        force: bool = False,
    ) -> list[str]:
        """Draw what layers make of a picture into files, one a layer; see ``draw_features``.

        Args:
            features: of one layer; or of several, whose block is then added to the file's name:
                ``maps-block1.png``.
            target: the ``.png`` file to make.
            top: as for ``draw_features``.
            overlay: as for ``draw_features``.
            force: replace files that are there.

        Returns:
            The files.

        Raises:
            SettingError: top is below 1.
            QueryError: the picture cannot be read any more.
            ExportError: a target is taken, is a picture, or cannot be written.
        """
        return seeing.save_features(self._resources, features, target, top, overlay, force)

    def save_explanation(
        self, explanation: Explanation, target: str | os.PathLike[str], *, force: bool = False
    ) -> str:
        """Draw what draws two pictures together, a PNG file; see ``save_features``."""
        return seeing.save_explanation(self._resources, explanation, target, force)

"""What a network saw: the maps of one layer, and what drew two pictures together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Maps: TypeAlias = NDArray[np.float32]

Rectangle: TypeAlias = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class Frame:
    """Where the square that a network reads lies in an upright picture.

    Attributes:
        width: of the picture in pixels, after orientation.
        height: of the picture in pixels, after orientation.
        square: left, top, right and bottom of what the square shows, in pixels of the picture;
            beyond its edges where it was padded.
    """

    width: int
    height: int
    square: tuple[float, float, float, float]

    def box(self, top: float, left: float, bottom: float, right: float) -> Rectangle | None:
        """A part of the square in whole pixels of the picture: left, top, right, bottom.

        Args:
            top: of the part, 0 to 1 down the square.
            left: of the part, 0 to 1 across the square.
            bottom: likewise.
            right: likewise.

        Returns:
            The box, cut off at the picture's edges; None if nothing of it is left.
        """
        x, y = self.square[0], self.square[1]
        width, height = self.square[2] - x, self.square[3] - y
        across = [min(max(round(x + width * at), 0), self.width) for at in (left, right)]
        down = [min(max(round(y + height * at), 0), self.height) for at in (top, bottom)]
        if across[0] == across[1] or down[0] == down[1]:
            return None
        return across[0], down[0], across[1], down[1]


@dataclass(frozen=True, slots=True)
class Channel:
    """One map of a layer: its number from 0, its mean over all places, and its largest value."""

    channel: int
    mean: float
    max: float


@dataclass(frozen=True, slots=True)
class LayerInfo:
    """One layer that can be looked at.

    Attributes:
        name: what it is called.
        convolution: n for the n-th convolution, from 1; None for another layer.
        channels: how many maps it has; None where the model leaves it open.
        height: of each map; None likewise.
        width: of each map; None likewise.
    """

    name: str
    convolution: int | None
    channels: int | None
    height: int | None
    width: int | None


@dataclass(frozen=True, slots=True)
class Layers:
    """The layers of a model.

    Attributes:
        model: name of the model.
        layers: convolutions and poolings, in order.
        blocks: names of the last convolution of every block of a VGG16; none of another network.
        last: name of the last layer that has maps; None if the network has none.
    """

    model: str
    layers: tuple[LayerInfo, ...]
    blocks: tuple[str, ...]
    last: str | None


@dataclass(frozen=True, slots=True, eq=False)
class Features:
    """What one layer makes of a picture.

    Attributes:
        picture: its file; ``-`` where it came as bytes.
        model: name of the model.
        layer: name of the layer.
        channels: what each map holds, the strongest (by its mean) first.
        maps: float32 [c, h, w], after the layer's ReLU.
        frame: where the maps lie in the picture.
        data: the picture, where it came as bytes; else None.
    """

    picture: str
    model: str
    layer: str
    channels: tuple[Channel, ...]
    maps: Maps
    frame: Frame
    data: bytes | None = None


@dataclass(frozen=True, slots=True)
class Place:
    """A place in one picture and the one in the other that it is most like, and the other way.

    Attributes:
        a: left, top, right and bottom in pixels of the one upright picture.
        b: the same in the other.
        similarity: cosine of the two places.
        share: what this pair adds to the score, which all pairs of places together give. None
            where that cannot be said; see ``Explanation.exact``.
    """

    a: Rectangle
    b: Rectangle
    similarity: float
    share: float | None


@dataclass(frozen=True, slots=True, eq=False)
class Explanation:
    """What drew two pictures together.

    Attributes:
        a: file of the one picture; ``-`` where it came as bytes.
        b: file of the other; likewise.
        score: cosine of their embeddings, in [-1, 1].
        model: name of the model.
        layer: the layer whose maps are compared, the last one that has maps.
        exact: whether the embedding is the mean over all places. Then the score is a sum over
            places, and the maps tell what each of them adds.
        map_a: float32 [h, w], at most 28 x 28. If exact, what each place of ``a`` adds to the
            score, which is their sum; else its cosine with the place of ``b`` most like it.
        map_b: the same of the other picture.
        frame_a: where ``map_a`` lies in its picture.
        frame_b: the same of the other picture.
        places: pairs of places, those that count most first.
        data_a: the one picture, where it came as bytes; else None.
        data_b: the other; likewise.
    """

    a: str
    b: str
    score: float
    model: str
    layer: str
    exact: bool
    map_a: Maps
    map_b: Maps
    frame_a: Frame
    frame_b: Frame
    places: tuple[Place, ...]
    data_a: bytes | None = None
    data_b: bytes | None = None

"""A model that shows what is inside it, loaded once for many looks."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from .embed import revealed
from .errors import ModelFileError
from .graph import brief
from .inner import Anatomy

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .inner import Layer
    from .records import ModelCard, Pixels


class Insight:
    """One model, taken apart, and loaded with all its layers as outputs.

    It holds the weights twice, and while it looks the maps of all layers.

    Attributes:
        card: what the model says of itself.
        anatomy: its layers.
    """

    def __init__(self, model: bytes, card: ModelCard) -> None:
        """Take a model apart; it is loaded by the first look.

        Raises:
            ModelFileError: it cannot be read.
        """
        self.card = card
        self.anatomy = Anatomy(model, card)
        self._shown: set[str] = set()
        self._run: Callable[[Pixels, Sequence[str] | None], Sequence[Any]] | None = None
        self._loading = threading.Lock()

    def look(self, pixels: Pixels, layers: Sequence[Layer]) -> Sequence[Any]:
        """Send a picture, uint8 [s, s, 3], through the model: its embedding, and these layers.

        Raises:
            ModelFileError: the model fails.
        """
        tensors = [layer.tensor for layer in layers]
        try:
            given = self._showing(layers)(pixels, ["embedding", *dict.fromkeys(tensors)])
        except Exception as error:  # ORT raises its own kinds, all direct children of Exception
            raise ModelFileError(
                f"model {self.card.name} failed: {brief(error)}; import it again"
            ) from error
        arrays = dict(zip(dict.fromkeys(tensors), given[1:], strict=True))
        return [given[0], *(arrays[tensor] for tensor in tensors)]

    def _showing(
        self, layers: Sequence[Layer]
    ) -> Callable[[Pixels, Sequence[str] | None], Sequence[Any]]:
        """The loaded model; loaded anew where a layer is none of those that it has shown."""
        with self._loading:
            if self._run is None or not self._shown.issuperset(one.tensor for one in layers):
                every = [*self.anatomy.layers, *layers]
                self._run = revealed(self.anatomy.revealing(every), self.card.precision)
                self._shown = {layer.tensor for layer in every}
            return self._run

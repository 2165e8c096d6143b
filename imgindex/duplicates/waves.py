"""The long waves of sketches, and the eight ways to turn a picture."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from imgindex.records import SKETCH_SIDE as SIDE

if TYPE_CHECKING:
    from numpy.typing import NDArray

_WAVES = 8


class Turn(NamedTuple):
    """One of the eight ways to turn and mirror a square: transpose first, then flip.

    Attributes:
        transpose: swap rows and columns.
        rows: put them upside down.
        columns: put them back to front.
    """

    transpose: bool = False
    rows: bool = False
    columns: bool = False

    def of(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The image, uint8 [h, w, ...], turned; C-contiguous."""
        if self.transpose:
            image = image.swapaxes(0, 1)
        if self.rows:
            image = image[::-1]
        if self.columns:
            image = image[:, ::-1]
        return np.ascontiguousarray(image)

    @property
    def back(self) -> Turn:
        """The turn that undoes this one."""
        return Turn(self.transpose, self.columns, self.rows) if self.transpose else self


TURNS = tuple(Turn(a, b, c) for a in (False, True) for b in (False, True) for c in (False, True))
"""All of them; the first one leaves a picture as it is."""


def waves(sketches: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The long waves of sketches: what brightness, contrast and compression leave alone.

    Coefficients of the discrete cosine transform without the mean, brought to length 1, as in
    perceptual hashes (Zauner, "Implementation and benchmarking of perceptual image hash functions",
    2010), but not rounded to bits.

    Args:
        sketches: uint8 [n, SIDE, SIDE].

    Returns:
        float32 [n, 8, 8], rows by vertical wave number; zeros for a picture of one tone.
    """
    place = np.arange(SIDE) + 0.5
    basis = np.cos(np.pi / SIDE * np.arange(_WAVES)[:, None] * place).astype(np.float32)
    found = np.empty((len(sketches), _WAVES, _WAVES), np.float32)
    for at in range(0, len(sketches), 4096):
        found[at : at + 4096] = basis @ sketches[at : at + 4096].astype(np.float32) @ basis.T
    found[:, 0, 0] = 0
    lengths = np.linalg.norm(found, axis=(1, 2), keepdims=True)
    found /= np.where(lengths > SIDE, lengths, np.inf)
    return found


def turned(spectra: NDArray[np.float32], turn: Turn) -> NDArray[np.float32]:
    """The waves [n, 8, 8] that the pictures would have if they were turned."""
    signs = (-1.0) ** np.arange(_WAVES, dtype=np.float32)
    if turn.transpose:
        spectra = spectra.transpose(0, 2, 1)
    if turn.rows:
        spectra = spectra * signs[:, None]
    if turn.columns:
        spectra = spectra * signs
    return np.asarray(spectra, np.float32)

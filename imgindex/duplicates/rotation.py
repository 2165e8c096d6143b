"""By which angle one picture is rotated against another, from their sketches.

Around the middle a rotation is a shift along the angle, and the Fourier transform finds the best
shift of all at once (after Reddy & Chatterji, doi:10.1109/83.506761).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

from imgindex.records import SKETCH_SIDE as SIDE

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Spectrum = NDArray[np.complex64]

_ANGLES, _RADII = 72, 12


def spectrum(sketch: NDArray[np.uint8], aspect: float) -> Spectrum:
    """The circles around a picture's middle, as waves along the angle.

    Args:
        sketch: uint8 [SIDE, SIDE].
        aspect: width by height of the picture.

    Returns:
        complex64 [72, 12], waves by radii; zeros for a picture of one tone.
    """
    wide, high = max(1.0, aspect), max(1.0, 1 / aspect)
    size = (round(SIDE * wide), round(SIDE * high))
    upright = cv2.resize(sketch, size, interpolation=cv2.INTER_LINEAR)
    middle = ((size[0] - 1) / 2, (size[1] - 1) / 2)
    circles = cv2.warpPolar(upright, (_RADII, _ANGLES), middle, SIDE / 2 - 1, cv2.INTER_LINEAR)
    # Outer circles are longer: they count by their length.
    plane = (circles.astype(np.float32) - circles.mean()) * np.sqrt(np.arange(_RADII) + 0.5)
    length = float(np.linalg.norm(plane))
    plane *= 0 if length < _ANGLES else 1 / length
    return np.fft.fft(plane, axis=0).astype(np.complex64)


def rotation(one: Spectrum, other: Spectrum) -> tuple[float, float, bool]:
    """How the one picture comes to look most like the other.

    Returns:
        The correlation, at most 1; the angle in degrees, anticlockwise in image coordinates with y
        downwards, by which places of the other turn into places of the one; and whether the one is
        mirrored, left to right, before that.
    """
    best = (-1.0, 0.0, False)
    for mirrored in (False, True):
        # A mirrored picture runs through its angles backwards, from the other side.
        first = np.conj(one) * _HALF_TURN if mirrored else one
        sums = np.fft.ifft((first * np.conj(other)).sum(axis=1)).real
        at = int(sums.argmax())
        if sums[at] > best[0]:
            best = (float(sums[at]), at * 360 / _ANGLES, mirrored)
    return best


_HALF_TURN = ((-1.0) ** np.arange(_ANGLES, dtype=np.float32))[:, None]

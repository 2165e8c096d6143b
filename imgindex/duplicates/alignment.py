"""Whether one picture is a copy of another: laid over each other, pixel by pixel.

Two shots of one scene differ in perspective, or each shows something at its rim that the other does
not; what moved leaves places that nothing explains. A copy, however resized, compressed, cropped,
brightened or turned, has none of these.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from imgindex.records import Pixels

    from .waves import Turn

    Plane = NDArray[np.float32]

SIDE = 352
"""Longer side of the pictures that `likeness` wants, in pixels: larger ones cost time."""

_SIDE = 192  # at which pictures are compared
_SMALLEST, _NARROWEST = 24, 8
_COARSE = 64  # longer side at which alignment may begin
_STEPS, _STILL = 40, 1e-4
_BLOCK = 16
_DARK, _BRIGHT, _MARGIN = 6, 249, 12  # where tones are clipped, and what that leaves uncertain
_FLAT = 2.0  # deviation of a picture with nothing in it

_SKEW = 0.02  # most that the picture may be rotated, stretched or sheared by
_OVERHANG = 0.02  # most that a part may stick out of the whole, as a share of its side
_CLEAR = 0.9
_DIFFERENT, _STRANGE = 0.4, 0.1  # what makes a block differ, and most blocks that may
_EXPLAINED = 0.87  # least that is explained on the mean
_SAME_DETAILS, _FAINT, _WITHOUT_DETAILS = 0.9, 1.0, 0.97
_ASKEW, _FILLED = 4.0, 0.5  # least angle of a rotation, and most that may be filled up
_GREY, _FADED, _COLOURFUL, _HUE, _SAME_COLOUR = 0.25, 0.35, 4.0, 0.35, 0.5


class Likeness(NamedTuple):
    """How like two pictures are.

    Attributes:
        score: how much of the one the other explains, in [0.87, 1].
        share: how much of the whole's area the part shows, in (0, 1].
    """

    score: float
    share: float


def likeness(
    whole: Pixels,
    part: Pixels,
    turn: Turn,
    box: tuple[float, float, float, float],
    angle: float = 0.0,
) -> Likeness | None:
    """Lay one picture over its place in another one.

    Args:
        whole: uint8 [h, w, 3], RGB, upright and in its own proportions.
        part: the same.
        turn: how ``whole`` has to be turned.
        box: about where ``part`` then lies in it: left, top, width, height as shares of its sides.
        angle: by which it is rotated there, in degrees; not 0 only where the box is all there is.

    Returns:
        How like they are; None if they are no copies.
    """
    around = np.asarray(turn.of(whole), np.uint8)
    side = min(_SIDE, max(part.shape[:2]), round(max(around.shape[:2]) * max(box[2:])))
    if side < _SMALLEST or min(*part.shape[:2], *whole.shape[:2]) < _NARROWEST:
        return None
    inner = _scaled(part, side / max(part.shape[:2]))
    if angle:  # shorter sides agree where a picture was rotated on its canvas
        outer = _scaled(around, min(inner.shape[:2]) / min(around.shape[:2]))
    else:
        outer = _scaled(around, inner.shape[1] / (box[2] * around.shape[1]))
    grey, ground = _grey(inner), _grey(outer)
    if grey.std() < _FLAT or ground.std() < _FLAT:
        return None
    first = _rotated(grey, ground, angle) if angle else _boxed(grey, ground, box)
    if not angle and min(box[2:]) == 1:  # most copies show all there is: that is soon seen
        score = _fit(inner, outer, first)
        if score is not None and score > _CLEAR:
            return Likeness(score, 1.0)
    where = _refined(grey, ground, first)
    possible = _is_rotated if angle else _lies_inside
    if where is None or not possible(where, grey, ground):
        return None
    score = _fit(inner, outer, where)
    if score is None:
        return None
    share = abs(float(np.linalg.det(where[:, :2]))) * grey.size / ground.size
    return Likeness(score, min(1.0, share))


def _fit(inner: Pixels, outer: Pixels, where: Plane) -> float | None:
    """How much of the one picture the other explains, laid over it so; None if they differ."""
    size = (inner.shape[1], inner.shape[0])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    seen = cv2.warpAffine(_grey(outer), where, size, flags=flags, borderValue=-255)
    score = _explained(_grey(inner), np.asarray(seen, np.float32))
    if score is None:
        return None
    colours = cv2.warpAffine(outer, where, size, flags=flags, borderMode=cv2.BORDER_REPLICATE)
    return score if _same_colours(inner, np.asarray(colours, np.uint8)) else None


def _scaled(image: Pixels, by: float) -> Pixels:
    size = tuple(max(8, round(length * by)) for length in image.shape[1::-1])
    shape = cv2.INTER_AREA if by < 1 else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, size, interpolation=shape), np.uint8)


def _grey(image: Pixels) -> Plane:
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), np.float32)


def _blurred(image: Plane, by: float) -> Plane:
    return np.asarray(cv2.GaussianBlur(image, (0, 0), by), np.float32)


def _boxed(grey: Plane, ground: Plane, box: tuple[float, float, float, float]) -> Plane:
    """The affine map [2, 3] from places of the part to those of the whole that fills a box."""
    left, top, width, height = box
    wide, high = width * ground.shape[1] / grey.shape[1], height * ground.shape[0] / grey.shape[0]
    return np.array(
        [
            [wide, 0, left * ground.shape[1] + (wide - 1) / 2],
            [0, high, top * ground.shape[0] + (high - 1) / 2],
        ],
        np.float32,
    )


def _rotated(grey: Plane, ground: Plane, angle: float) -> Plane:
    """The map that turns around the middles, by degrees."""
    cosine, sine = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    linear = np.array([[cosine, -sine], [sine, cosine]])
    middles = [(np.array(plane.shape[::-1]) - 1) / 2 for plane in (grey, ground)]
    return np.column_stack([linear, middles[1] - linear @ middles[0]]).astype(np.float32)


def _refined(grey: Plane, ground: Plane, where: Plane) -> Plane | None:
    """The affine map near to one that fits best; None where none is found.

    Evangelidis & Psarakis, doi:10.1109/TPAMI.2008.113: it maximises the correlation.
    """
    until = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, _STEPS, _STILL)
    small = [(grey, ground)]
    while max(small[-1][0].shape) > _COARSE:
        one, other = (np.asarray(cv2.pyrDown(plane), np.float32) for plane in small[-1])
        small.append((one, other))
    where = where.copy()
    where[:, 2] /= 2 ** (len(small) - 1)
    try:
        for one, other in reversed(small):
            found = cv2.findTransformECC(one, other, where, cv2.MOTION_AFFINE, until)[1]
            where = np.asarray(found, np.float32)
            if one is not grey:
                where[:, 2] *= 2
    except cv2.error:  # it diverged: there is nothing to align
        return None
    return where


def _lies_inside(where: Plane, grey: Plane, ground: Plane) -> bool:
    """Whether the map only scales and shifts, and leads to places that are there.

    It may stretch where it leads from all of the one picture to all of the other.
    """
    linear = where[:, :2]
    scale = float(np.sqrt(abs(np.linalg.det(linear))))
    if scale == 0 or max(abs(linear[0, 1]), abs(linear[1, 0])) > _SKEW * scale:
        return False
    height, width = grey.shape
    corners = np.array([[-0.5, -0.5], [width - 0.5, height - 0.5]], np.float32)
    first, last = corners @ linear.T + where[:, 2]
    slack = 1 + _OVERHANG * max(height, width) * scale
    end = np.array(ground.shape[::-1]) - 0.5
    if not (min(first) > -0.5 - slack and (last < end + slack).all()):
        return False
    stretched = abs(linear[0, 0] - linear[1, 1]) > 2 * _SKEW * scale
    return not stretched or bool(max(first) < slack - 0.5 and (last > end - slack).all())


def _is_rotated(where: Plane, grey: Plane, ground: Plane) -> bool:
    """Whether the map only rotates, scales and shifts, and leads from nothing but filling outside.

    Without a clear angle it might be another shot, held a little askew.
    """
    linear = where[:, :2]
    scale = float(np.sqrt(abs(np.linalg.det(linear))))
    if scale == 0 or abs(linear[1, 0]) < np.sin(np.radians(_ASKEW)) * scale:
        return False
    if max(abs(linear[0, 0] - linear[1, 1]), abs(linear[0, 1] + linear[1, 0])) > _SKEW * scale:
        return False
    size = (grey.shape[1], grey.shape[0])
    flags = cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP
    there = cv2.warpAffine(np.ones_like(ground), where, size, flags=flags)
    outside = cv2.dilate(np.asarray(there, np.float32), np.ones((5, 5), np.uint8)) == 0
    return float(outside.mean()) < _FILLED and (
        outside.sum() < _BLOCK or float(grey[outside].std()) < 3 * _FLAT
    )


def _explained(grey: Plane, seen: Plane) -> float | None:
    """How much of the one picture's structure the other has, once their tones agree."""
    grey, known = _blurred(grey, 0.8), seen >= 0
    seen = _blurred(np.where(known, seen, grey), 0.8)
    clipped = (np.minimum(grey, seen) < _DARK) | (np.maximum(grey, seen) > _BRIGHT)
    clear = known & ~clipped
    if clear.mean() < 0.2:  # noqa: PLR2004 - too little is left to tell
        clear = known
    tones = grey[clear]
    if tones.size < _BLOCK or tones.std() < _FLAT:
        return None
    curve = np.polynomial.Polynomial.fit(tones[::3], seen[clear][::3], 3)
    rest = seen - np.clip(curve(np.clip(grey, tones.min(), tones.max())), 0, 255)
    # What is clipped in the one may have been anything beyond that in the other, but not on the
    # other side: black letters on paper are none of it.
    over, under = np.minimum(rest + _MARGIN, 0), np.maximum(rest - _MARGIN, 0)
    rest = np.select(
        [(grey > _BRIGHT) | (seen < _DARK), (grey < _DARK) | (seen > _BRIGHT)], [over, under], rest
    )
    rest = np.where(known, rest, 0).astype(np.float32)
    known &= ~(clipped & (rest == 0))
    if not known.any():
        return None
    spread = float(seen[known].var())
    share = _means(known.astype(np.float32))
    trusted = share > 0.5  # noqa: PLR2004 - half of a block
    if not trusted.any():
        return None
    mass = np.maximum(share, 1e-6)
    mean = _means(np.where(known, seen, 0)) / mass
    texture = np.maximum(_means(np.where(known, seen**2, 0)) / mass - mean**2, 0)
    strange = _means(rest**2) / mass
    parts = (strange / (texture + strange + 0.0025 * spread + 4))[trusted]
    score = float(1 - parts.mean())
    if (parts > _DIFFERENT).mean() > _STRANGE or score < _EXPLAINED:
        return None
    return score if _same_details(grey, seen, known, score) else None


def _same_details(grey: Plane, seen: Plane, known: NDArray[np.bool_], score: float) -> bool:
    """Whether the fine structure agrees; skies and seas are alike in everything else.

    The tenth of all blocks that agree least is left out: there may be a watermark.
    """
    inner = cv2.erode(known.astype(np.uint8), np.ones((7, 7), np.uint8)) > 0
    one, other = (np.where(inner, plane - _blurred(plane, 3.0), 0) for plane in (grey, seen))
    both, first, second = (
        _means(product).ravel() for product in (one * other, one * one, other * other)
    )
    gain = both.sum() / max(float(first.sum()), 1e-6)
    differ = second - 2 * gain * both + gain**2 * first
    kept = np.argsort(differ)[: max(1, round(0.9 * len(differ)))]
    energy = float(first[kept].mean()), float(second[kept].mean())
    if min(energy) < _FAINT:
        return score > _WITHOUT_DETAILS
    return float(both[kept].mean()) > _SAME_DETAILS * float(np.sqrt(energy[0] * energy[1]))


def _means(plane: Plane) -> Plane:
    """Means of the blocks of a plane; what does not fill a block at its end is left out."""
    high, wide = (max(1, length // _BLOCK) for length in plane.shape)
    block = min(_BLOCK, *plane.shape)
    cut = plane[: high * block, : wide * block]
    return np.asarray(cut.reshape(high, block, wide, block).mean(axis=(1, 3)), np.float32)


def _same_colours(inner: Pixels, seen: Pixels) -> bool:
    """Whether the hues agree, up to saturation and white balance.

    A picture without any colour agrees with all others; one that is merely pale does not.

    Both colour differences of a pixel are one complex number: what one picture's have to be
    multiplied with to give the other's turns by the difference in hue.
    """
    one, other = (_chroma(image) for image in (inner, seen))
    pale, colourful = sorted((float(one.std()), float(other.std())))
    if pale < _GREY or colourful < _COLOURFUL:
        return True
    if pale < _FADED * colourful:
        return False
    product = np.vdot(one, other) / (np.linalg.norm(one) * np.linalg.norm(other))
    return bool(abs(product) > _SAME_COLOUR and abs(np.angle(product)) < _HUE)


def _chroma(image: Pixels) -> NDArray[np.complex64]:
    planes = cv2.GaussianBlur(cv2.cvtColor(image, cv2.COLOR_RGB2YCrCb), (0, 0), 2.0)
    chroma = planes[..., 2].astype(np.float32) + 1j * planes[..., 1].astype(np.float32)
    return np.asarray(chroma - chroma.mean(), np.complex64)

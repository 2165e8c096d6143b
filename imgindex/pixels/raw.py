"""Raw files of cameras, by the preview inside them: the one door to rawpy and its LibRaw."""

from __future__ import annotations

import io
import struct
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING

from imgindex.errors import MissingExtraError, PictureError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

LACKING = "needs the extra: pip install 'imgindex[raw]'"

# Where a file says of itself that it is raw, by the place of the words. All others are TIFF files,
# and say so in their tables: by a version of DNG, or by a picture of filtered or linear light.
_SIGNS = (
    *((0, sign) for sign in (b"IIRO", b"IIRS", b"MMOR", b"IIU\0", b"FUJIFILMCCD-RAW", b"\0MRM")),
    (4, b"ftypcrx "),
    (6, b"HEAPCCDR"),
    (4, b"\x10\0\0\0CR"),
)
_PHOTOMETRIC, _SUB_TABLES, _DNG_VERSION = 262, 330, 50706
_LIGHT = {32803, 34892}
_MOST_TABLES, _MOST_ENTRIES = 24, 512

# LibRaw's turns in EXIF's words.
_ORIENTATIONS = {3: 3, 5: 8, 6: 6}


@dataclass(frozen=True, slots=True, eq=False)
class Preview:
    """What a raw file shows of itself.

    Attributes:
        data: a JPEG file, or uint8 [h, w] or [h, w, 3].
        width: of the whole picture in pixels, as the sensor lay.
        height: of the whole picture in pixels, as the sensor lay.
        orientation: how to turn the whole picture, as EXIF counts: 1, 3, 6 or 8.
        taken: when it was taken, ISO 8601 without a zone, or None.
    """

    data: bytes | NDArray[np.uint8]
    width: int
    height: int
    orientation: int
    taken: str | None


def kind(data: bytes) -> str | None:
    """``DNG`` or, of a camera's own format, ``RAW``; None if it is no raw file."""
    if data[:4] in {b"II*\0", b"MM\0*"}:
        try:
            found = _kind_of_tiff(data)
        except (struct.error, IndexError):
            found = None
        if found is not None:
            return found
    return "RAW" if any(data.startswith(sign, at) for at, sign in _SIGNS) else None


def installed() -> bool:
    """Whether raw files can be read here."""
    return find_spec("rawpy") is not None


def preview(data: bytes) -> Preview:
    """Take the largest preview out of a raw file.

    Raises:
        MissingExtraError: rawpy is not installed.
        PictureError: there is none, or the file is damaged.
    """
    try:
        import rawpy
    except ImportError as error:
        raise MissingExtraError(LACKING) from error
    try:
        with rawpy.imread(io.BytesIO(data)) as file:
            sizes, moment = file.sizes, file.other.timestamp
            found = file.extract_thumb().data
    except (rawpy.LibRawNoThumbnailError, rawpy.LibRawUnsupportedThumbnailError) as error:
        raise PictureError("a raw file without a preview that is read") from error
    except rawpy.LibRawError as error:
        detail = error.args[0] if error.args else ""
        said = detail.decode("utf-8", "replace") if isinstance(detail, bytes) else str(detail)
        raise PictureError(f"truncated or damaged: {said.lower() or 'no raw file'}") from error
    return Preview(
        data=found,
        width=sizes.width,
        height=sizes.height,
        orientation=_ORIENTATIONS.get(sizes.flip, 1),
        taken=moment.isoformat() if moment.timestamp() > 0 else None,
    )


def _kind_of_tiff(data: bytes) -> str | None:
    order = "<" if data[:2] == b"II" else ">"
    (first,) = struct.unpack_from(order + "I", data, 4)
    tables, seen, light = [first], set[int](), False
    while tables and len(seen) < _MOST_TABLES:
        at = tables.pop()
        if at in seen or at == 0 or at > len(data):
            continue
        seen.add(at)
        (entries,) = struct.unpack_from(order + "H", data, at)
        for place in range(at + 2, at + 2 + 12 * min(entries, _MOST_ENTRIES), 12):
            tag, form, count, value = struct.unpack_from(order + "HHII", data, place)
            if tag == _DNG_VERSION:
                return "DNG"
            if tag == _PHOTOMETRIC:
                light |= struct.unpack_from(order + "H", data, place + 8)[0] in _LIGHT
            elif tag == _SUB_TABLES and form in {4, 13}:
                count = min(count, _MOST_TABLES)
                where = place + 8 if count == 1 else value
                tables += struct.unpack_from(f"{order}{count}I", data, where)
        if entries <= _MOST_ENTRIES:
            tables += struct.unpack_from(order + "I", data, at + 2 + 12 * entries)
    return "RAW" if light else None

"""Mending a library: what is derived is built anew, what is lost is read again from its files."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from .errors import LibraryDamagedError, PictureError, StoreError
from .records import Skipped

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .records import Pixels, Progress, Rows
    from .resources import Resources


@dataclass(frozen=True, slots=True)
class Repaired:
    """What became of a damaged library.

    Attributes:
        mended: what is as it was again; a line each.
        lost: files whose pictures have left the library, and why; those that are there come back
            with the next run of indexing. First the library itself, where that lacks what nobody
            can name.
        problems: what is wrong still; a line each.
    """

    mended: tuple[str, ...]
    lost: tuple[Skipped, ...]
    problems: tuple[str, ...]


def repair(resources: Resources, progress: Progress) -> Repaired:
    """Mend a library; see ``Library.repair``."""
    salvaged, lacking = resources.salvage()
    store = resources.store()
    files: dict[str, list[str]] = {}
    for file in store.files():
        if file.id is not None:
            files.setdefault(file.id, []).append(file.path)

    def embed(ids: Sequence[str]) -> Mapping[str, Rows]:
        pixels: dict[str, Pixels] = {}
        for picture_id in ids:
            try:
                pixels[picture_id] = resources.decode(resources.held(picture_id)).pixels
            except PictureError:
                if reason := resources.unasked(files.get(picture_id, [])):
                    raise StoreError(
                        f"the embedding of {picture_id} is damaged, and {reason}; then repair again"
                    ) from None
                continue
        rows = resources.encode(list(pixels.values()))
        return {one: row for one, row in zip(pixels, rows, strict=True) if row[0] == row[0]}

    mended, gone = store.repair(embed, progress)
    reason = (
        f"{', '.join(lacking)} could not be read in full; imgindex index brings back what it can"
    )
    lost = [Skipped(store.url, reason)] if lacking else []
    reason = "its embedding was damaged, and no file holds the picture any more"
    lost += [Skipped(path, reason) for one in gone for path in files.get(one, [f"picture {one}"])]
    try:
        problems = store.verify(progress)
    except LibraryDamagedError as error:
        problems = [str(error)]
    return Repaired((*salvaged, *mended), tuple(lost), tuple(problems))

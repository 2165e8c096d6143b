"""The one way an export writes a file: whole, or not at all."""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import TYPE_CHECKING

from imgindex.errors import ExportError

if TYPE_CHECKING:
    from collections.abc import Iterable


def write_file(
    target: str, chunks: Iterable[str | bytes], *, force: bool = False, errors: str = "strict"
) -> None:
    """Write text as UTF-8, or bytes, to a temporary file beside the target, then put it in place.

    The target is checked before the first chunk is asked for.

    Args:
        target: the file; its folder must exist.
        chunks: what to write, piece by piece.
        force: replace a file that is there.
        errors: how characters without a UTF-8 form are written, as ``str.encode`` takes it.

    Raises:
        ExportError: the target exists and ``force`` is False, is a folder, or cannot be written.
    """
    path = Path(target)
    check(path, force=force)
    temporary = path.with_name(f".imgindex-{secrets.token_hex(8)}.tmp")
    try:
        try:
            with temporary.open("xb") as file:
                file.writelines(
                    chunk if isinstance(chunk, bytes) else chunk.encode("utf-8", errors)
                    for chunk in chunks
                )
                file.flush()
                os.fsync(file.fileno())
            _check_free(path, force=force)  # somebody may have come first meanwhile
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ExportError(f"cannot write {target}: {reason}") from error


def check(path: Path, *, force: bool) -> None:
    """Refuse a target that could not be written, before there is anything to write.

    Raises:
        ExportError: its folder is not there, or it is taken.
    """
    check_parent(path)
    _check_free(path, force=force)


def check_parent(path: Path) -> None:
    """Refuse a target whose folder is not there.

    Raises:
        ExportError: it is not there.
    """
    if not os.path.isdir(path.parent):  # noqa: PTH112 - Path's raises for names that are too long
        raise ExportError(
            f"cannot write {path}: there is no folder {path.parent}; create it or choose another"
        )


def _check_free(path: Path, *, force: bool) -> None:
    if os.path.isdir(path):  # noqa: PTH112 - as above
        raise ExportError(f"cannot write {path}: it is a folder; name a file")
    if os.path.lexists(path) and not force:
        raise ExportError(f"{path} exists already; choose another name, or replace it with --force")

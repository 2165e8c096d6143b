"""Lists of files to index: Parquet tables or JSON Lines, one path or address a row."""

from __future__ import annotations

import json
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, BinaryIO

from . import addresses
from .errors import SettingError

if TYPE_CHECKING:
    from collections.abc import Iterator

_COLUMNS = ("path", "address", "uri", "url", "file")
_PARQUET = b"PAR1"
_ROWS = 65_536  # of a table, at once


def read(manifest: str) -> Iterator[str]:
    """What a manifest names.

    Parquet is known by its first bytes. The paths are in the column, or under the key, ``path``,
    ``address``, ``uri``, ``url`` or ``file``; a line may also be a text alone. Relative paths
    begin at the manifest's folder.

    Args:
        manifest: its path or address.

    Returns:
        An iterator over absolute paths and addresses, in its order.

    Raises:
        SettingError: it cannot be read, a row names nothing, or an address cannot be one.
    """
    place = addresses.settled(manifest)
    folder = place.partition("::")[0].rpartition("/")[0]
    chain = place[len(place.partition("::")[0]) :]
    with _opened(place) as file:
        rows = _table(file, place) if file.read(len(_PARQUET)) == _PARQUET else _lines(file, place)
        for number, name in rows:
            if not isinstance(name, str) or not name or "\0" in name:
                raise SettingError(
                    f"{place}: row {number:,} names no file; it needs a text, alone or as "
                    f"{', '.join(_COLUMNS)}"
                )
            if addresses.is_address(name) or name.startswith(("/", "~")):
                yield addresses.settled(name)
            else:
                yield addresses.settled(f"{folder}/{name}{chain}")


@contextmanager
def _opened(place: str) -> Iterator[BinaryIO]:
    try:
        with addresses.stream(place) as file:
            yield file
    except SettingError:
        raise
    except Exception as error:  # every protocol has its own kinds
        raise SettingError(f"cannot read the manifest {place}: {error}") from error


def _lines(file: BinaryIO, place: str) -> Iterator[tuple[int, Any]]:
    file.seek(0)
    for number, line in enumerate(file, start=1):
        if not line.strip():
            continue
        try:
            told = json.loads(line)
        except ValueError as error:
            raise SettingError(
                f"{place}: line {number:,} is no JSON ({error}); "
                "a manifest is Parquet or JSON Lines"
            ) from error
        if isinstance(told, dict):
            told = next((told[key] for key in _COLUMNS if key in told), None)
        yield number, told


def _table(file: BinaryIO, place: str) -> Iterator[tuple[int, Any]]:
    try:
        from pyarrow import parquet
    except ImportError:
        raise SettingError(
            f"to read the Parquet file {place} install pyarrow: pip install 'imgindex[ray]'"
        ) from None
    file.seek(0)
    table = parquet.ParquetFile(file)
    there = table.schema_arrow.names
    column = next((one for one in _COLUMNS if one in there), None)
    if column is None:
        raise SettingError(
            f"{place} has the columns {', '.join(there)}; the files must be in one of "
            f"{', '.join(_COLUMNS)}"
        )
    number = 0
    for batch in table.iter_batches(_ROWS, columns=[column]):
        for name in batch.column(0).to_pylist():
            number += 1
            yield number, name

"""What all records share: the names of their types, and their one way into JSON."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Pixels: TypeAlias = NDArray[np.uint8]
    Rows: TypeAlias = NDArray[np.float32]
    Labels: TypeAlias = NDArray[np.int32]

Way = Literal["exact", "hnsw"]
Engine = Literal["local", "ray"]
Fit = Literal["squash", "crop", "pad"]
Precision = Literal["float32", "float16", "bfloat16", "int8"]
Space = Literal["descriptor", "neighbourhood"]
Progress = Callable[[str, int, int], None]
"""Called as ``progress(stage, done, total)``; total is 0 while it is not known."""

NOISE = -1


def no_progress(stage: str, done: int, total: int) -> None:
    """Do nothing; the default of every ``progress`` argument."""


@dataclass(frozen=True, slots=True)
class Skipped:
    """A file that could not be read as a picture, and why."""

    path: str
    reason: str


def to_json(record: Any) -> Any:
    """Turn a record into plain JSON values: records to objects, arrays, tuples, sets to lists."""
    if dataclasses.is_dataclass(record) and not isinstance(record, type):
        return {
            field.name: to_json(getattr(record, field.name)) for field in dataclasses.fields(record)
        }
    if hasattr(record, "_asdict"):
        record = record._asdict()
    if isinstance(record, Mapping):
        return {str(key): to_json(value) for key, value in record.items()}
    if isinstance(record, frozenset):
        record = sorted(record)
    if isinstance(record, list | tuple):
        return [to_json(value) for value in record]
    if hasattr(record, "tolist"):
        return record.tolist()
    return record.hex() if isinstance(record, bytes) else record

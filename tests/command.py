"""The command line, in the test's own process: starting one takes longer than most commands do."""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
import tempfile
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any
from unittest import mock

import pytest

from imgindex.cli import main

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path


@dataclass(frozen=True)
class Ran:
    """How a command ended, and what it wrote."""

    code: int
    out: bytes
    err: str

    @property
    def text(self) -> str:
        return self.out.decode()

    @property
    def json(self) -> Any:
        return json.loads(self.out)


def run(
    *arguments: str | bytes | Path,
    code: int | None = 0,
    at: Path | None = None,
    send: bytes = b"",
    environ: Mapping[str, str] = MappingProxyType({}),
    program: Callable[[], object] = main,
) -> Ran:
    """Run a command into pipes; it must end with ``code``, unless that is None."""
    out, err = (io.TextIOWrapper(io.BytesIO()) for _ in range(2))
    with io.TextIOWrapper(tempfile.TemporaryFile()) as given:  # one with a descriptor
        given.buffer.write(send)
        given.seek(0)
        with (
            mock.patch.object(sys, "argv", ["imgindex", *map(os.fsdecode, arguments)]),
            mock.patch.multiple(sys, stdin=given, stdout=out, stderr=err),
            mock.patch.dict(os.environ, environ),
            contextlib.chdir(at or "."),
            pytest.raises(SystemExit) as ended,
        ):
            program()
    wrote = []
    for stream in (out, err):
        stream.flush()
        assert isinstance(stream.buffer, io.BytesIO)
        wrote.append(stream.buffer.getvalue())
    ran = Ran(int(ended.value.code or 0), wrote[0], wrote[1].decode(errors="replace"))
    assert code is None or ran.code == code, (ran.code, ran.err, ran.out[-2000:])
    return ran

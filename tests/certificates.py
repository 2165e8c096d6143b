"""Certificates for servers of tests."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path


def certificate_of(host: str, folder: Path) -> Path:
    """Key and certificate of a host, signed by itself; skips where none can be made."""
    place, key = folder / "both.pem", folder / "key.pem"
    kind = "IP" if host[0].isdigit() else "DNS"
    made = subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"),
            *("-subj", f"/CN={host}", "-addext", f"subjectAltName={kind}:{host}"),
            *("-keyout", key, "-out", place),
        ],
        capture_output=True,
        check=False,
    )
    if made.returncode:
        pytest.skip("openssl cannot make a certificate here")
    place.write_bytes(place.read_bytes() + key.read_bytes())
    return place

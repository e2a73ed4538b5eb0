"""SHA-256 of checkpoints."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path


def checksum(*files: Path) -> str:
    """SHA-256 of a file, in hexadecimal, as ``sha256sum`` prints it; of several, of one after the other.

    Files that have not changed since are not read again.
    """
    return _digest(tuple((file, *_version(file)) for file in files))


def _version(file: Path) -> tuple[int, int, int]:
    # Archives and copies may bring equal sizes and times; the time of the last change of the entry itself they cannot.
    status = file.stat()
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns


@lru_cache
def _digest(files: Sequence[tuple[Path, int, int, int]]) -> str:
    digest = hashlib.sha256()
    for path, *_ in files:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()

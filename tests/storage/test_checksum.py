"""Checksums of files."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

import consistency_tta.storage.checksum as checksum_module
from consistency_tta.storage.checksum import checksum


def test_the_checksum_is_that_of_sha256sum_and_found_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = tmp_path / "a.pt", tmp_path / "b.pt"
    first.write_bytes(b"abc" * 1_000_000)
    second.write_bytes(b"def")
    expected = hashlib.sha256(b"abc" * 1_000_000).hexdigest()
    assert checksum(first) == expected
    assert checksum(first, second) == hashlib.sha256(b"abc" * 1_000_000 + b"def").hexdigest()
    monkeypatch.setattr(checksum_module.hashlib, "sha256", None)  # nothing is computed again
    assert checksum(first) == expected
    monkeypatch.undo()
    first.write_bytes(b"xyz")
    assert checksum(first) == hashlib.sha256(b"xyz").hexdigest()

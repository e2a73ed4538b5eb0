"""Files of tensors: whole, readable by others, and with what was put in."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from consistency_tta.storage.atomic_file import save_tensors, write_file


def test_others_may_read_a_file_of_tensors_that_share_memory(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        base = torch.arange(12.0).reshape(3, 4)
        save_tensors(
            {"all": base, "part": base.T[1:]}, tmp_path / "new" / "folder" / "x.safetensors", {"what": "a test"}
        )
    finally:
        os.umask(before)
    [file] = (tmp_path / "new" / "folder").iterdir()  # nothing unfinished is left
    assert file.stat().st_mode & 0o777 == 0o644
    loaded = load_file(file)
    assert torch.equal(loaded["all"], base)
    assert torch.equal(loaded["part"], base.T[1:])


@pytest.mark.parametrize("begun", [True, False])
@pytest.mark.parametrize("named", [None, "another"])
def test_a_disk_that_is_full_is_named_by_the_file(
    begun: bool, named: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "x").write_bytes(b"before")

    def full(file: Path, content: bytes) -> None:
        if begun:
            file.touch()
        raise OSError(errno.ENOSPC, "No space left on device", named)

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space") as error:
        write_file(tmp_path / "x", b"after")
    assert error.value.filename == (named or str(tmp_path / "x"))
    assert [file.read_bytes() for file in tmp_path.iterdir()] == [b"before"]

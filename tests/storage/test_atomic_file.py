"""Files of tensors: whole, readable by others, and with what was put in."""

from __future__ import annotations

import os
from pathlib import Path

import torch
from safetensors.torch import load_file

from consistency_tta.storage.atomic_file import save_tensors


def test_others_may_read_a_file_of_tensors_that_share_memory(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        base = torch.arange(12.0).reshape(3, 4)
        save_tensors({"all": base, "part": base.T[1:]}, tmp_path / "new" / "x.safetensors", {"what": "a test"})
    finally:
        os.umask(before)
    [file] = (tmp_path / "new").iterdir()  # nothing unfinished is left
    assert file.stat().st_mode & 0o777 == 0o644
    loaded = load_file(file)
    assert torch.equal(loaded["all"], base)
    assert torch.equal(loaded["part"], base.T[1:])

"""Checkpoints are written whole, and damaged ones are named."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch

from consistency_tta.runtime.errors import CheckpointError
from consistency_tta.training.checkpoint_file import (
    AtomicCheckpointIO,
    check_resumable,
    newest_checkpoint,
    read_checkpoint,
)

WHOLE = {
    "state_dict": {"weight": torch.ones(1000)},
    "pytorch-lightning_version": "2.6",
    "optimizer_states": [],
    "lr_schedulers": [],
    "loops": {},
}


def write(path: Path, content: Any) -> Path:
    AtomicCheckpointIO().save_checkpoint(content, path)
    return path


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    return write(tmp_path / "run" / "whole.ckpt", WHOLE)


def test_a_whole_checkpoint_is_read(whole: Path) -> None:
    assert torch.equal(check_resumable(whole)["state_dict"]["weight"], torch.ones(1000))
    assert [file.name for file in whole.parent.iterdir()] == ["whole.ckpt"]


@pytest.mark.parametrize("kind", ["cut", "empty", "page", "lfs", "tensor", "dict", "folder", "missing", "code"])
def test_a_damaged_checkpoint_is_named(kind: str, whole: Path, tmp_path: Path) -> None:
    file = tmp_path / f"{kind}.ckpt"
    if kind == "folder":
        file.mkdir()
    elif kind in ("tensor", "dict", "code"):
        content = {"tensor": torch.ones(2), "dict": {"state_dict": {}}, "code": WHOLE | {"hyper_parameters": os.system}}
        torch.save(content[kind], file)
    elif kind != "missing":
        content = {
            "cut": whole.read_bytes()[:2000],
            "empty": b"",
            "page": b"<!DOCTYPE html>",
            "lfs": b"version https://git-lfs.github.com/spec/v1\n",
        }
        file.write_bytes(content[kind])
    with pytest.raises(CheckpointError, match=rf"{kind}\.ckpt"):
        read_checkpoint(file)


def test_an_address_is_not_opened() -> None:
    with pytest.raises(CheckpointError, match=r"http://127\.0\.0\.1:9/a\.ckpt"):
        AtomicCheckpointIO().load_checkpoint("http://127.0.0.1:9/a.ckpt")


def test_a_failed_write_leaves_the_old_file(whole: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(checkpoint: Any, stream: Any) -> None:
        stream.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OSError, match="28"):
        AtomicCheckpointIO().save_checkpoint({}, whole)
    assert [file.name for file in whole.parent.iterdir()] == ["whole.ckpt"]
    check_resumable(whole)


def test_the_newest_whole_one_is_found(whole: Path) -> None:
    newer = write(whole.with_name("newer.ckpt"), WHOLE)
    weights = write(whole.with_name("weights.ckpt"), {key: WHOLE[key] for key in list(WHOLE)[:2]})
    torn = whole.with_name("torn.ckpt")
    torn.write_bytes(whole.read_bytes()[:2000])
    for age, file in enumerate((torn, weights, newer, whole)):
        os.utime(file, (1e9 - age, 1e9 - age))
    assert newest_checkpoint(whole.parent) == newer
    newer.unlink()
    assert newest_checkpoint(whole.parent) == whole
    whole.unlink()
    with pytest.raises(CheckpointError, match=str(whole.parent)):
        newest_checkpoint(whole.parent)

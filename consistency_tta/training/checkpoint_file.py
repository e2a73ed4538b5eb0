"""Checkpoint files: written whole or not at all, and read with an error that names the file and its fault."""

from __future__ import annotations

import os
import pickle
import zipfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins import TorchCheckpointIO

from consistency_tta.runtime.errors import CheckpointError

#: What a checkpoint must have for a run to go on from it.
RESUMABLE = ("optimizer_states", "lr_schedulers", "loops")


class AtomicCheckpointIO(TorchCheckpointIO):
    """Lightning's, but a local file is written under another name in its folder and then renamed.

    An interruption or a full disk leaves the old file; Lightning copies into the file's place.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write a checkpoint.

        Raises:
            OSError: if the disk is full; what was at ``path`` is still there.
        """
        if "://" in str(path):
            super().save_checkpoint(checkpoint, path, storage_options)
            return
        file = Path(path)
        file.parent.mkdir(parents=True, exist_ok=True)
        partial = file.with_name(f".{file.name}.{os.getpid()}.partial")
        try:
            with partial.open("wb") as stream:
                torch.save(checkpoint, stream)
                stream.flush()
                os.fsync(stream.fileno())
            partial.replace(file)
        finally:
            partial.unlink(missing_ok=True)

    def load_checkpoint(self, path: Any, map_location: Any = "cpu", weights_only: bool | None = None) -> dict[str, Any]:
        """Read a checkpoint without running code of the file."""
        return read_checkpoint(path)


def read_checkpoint(path: str | Path, mmap: bool = False) -> dict[str, Any]:
    """The content of a local checkpoint; nothing that it holds is run.

    Args:
        path: the file.
        mmap: whether tensors are read only when they are used.

    Raises:
        CheckpointError: if the file is missing, damaged, a URL, or no Lightning checkpoint.
    """
    if "://" in str(path):
        raise CheckpointError(f"expected a checkpoint file on this machine, got {path}: download it first")
    file = Path(path)
    if file.is_dir():
        raise CheckpointError(f"expected a checkpoint file, but {file} is a folder: name a .ckpt file in it")
    if not file.is_file():
        raise CheckpointError(f"no checkpoint at {file}: look for .ckpt files below the trainer's default_root_dir")
    _check_format(file)
    try:
        content = torch.load(file, map_location="cpu", weights_only=True, mmap=mmap)
    except (pickle.UnpicklingError, RuntimeError, EOFError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise CheckpointError(
            f"{file} is damaged, or holds objects that are not weights or settings: name another checkpoint"
        ) from error
    if not isinstance(content, dict) or "state_dict" not in content or "pytorch-lightning_version" not in content:
        raise CheckpointError(
            f"{file} holds weights, but is no checkpoint of a training: expected a .ckpt file that `fit` wrote"
        )
    return content


def _check_format(file: Path) -> None:
    """Raise if the file's bytes cannot be a checkpoint."""
    with file.open("rb") as stream:
        start = stream.read(64)
    if not start:
        fault = "is empty"
    elif start.startswith(b"version https://git-lfs"):
        fault = "is a Git LFS pointer, not the file itself: run `git lfs pull`"
    elif start.lstrip().lower().startswith((b"<!doctype", b"<html")):
        fault = "is a web page: download the file itself"
    elif not zipfile.is_zipfile(file):
        fault = "is cut off, or no PyTorch file: copy it again, or name another checkpoint"
    else:
        return
    raise CheckpointError(f"{file} {fault}")


def check_resumable(path: str | Path) -> dict[str, Any]:
    """The content of a checkpoint from which a run can go on.

    Raises:
        CheckpointError: as :func:`read_checkpoint`, and if the state of the optimizer is missing.
    """
    content = read_checkpoint(path, mmap=True)
    if missing := [key for key in RESUMABLE if key not in content]:
        raise CheckpointError(
            f"{path} has weights but no {', '.join(missing)}: a run cannot go on from it, as from one that "
            "ModelCheckpoint wrote with save_weights_only"
        )
    return content


def newest_checkpoint(folder: Path) -> Path:
    """The whole, resumable checkpoint of the most recent change below a folder; damaged ones are passed over.

    Raises:
        CheckpointError: if there is none.
    """
    files = sorted(folder.rglob("*.ckpt"), key=lambda file: file.stat().st_mtime_ns, reverse=True)
    for file in files:
        with suppress(CheckpointError):
            check_resumable(file)
            return file
    found = f"{len(files)} that are damaged or have weights alone" if files else "none"
    raise CheckpointError(
        f"expected a checkpoint below {folder} for --ckpt_path last, got {found}: "
        "leave out --ckpt_path to begin anew, or name a file"
    )

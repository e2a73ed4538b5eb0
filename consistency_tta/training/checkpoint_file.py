"""Checkpoint files: written whole or not at all, and read with an error that names the file and its fault."""

from __future__ import annotations

import errno
import logging
import math
import os
import re
import time
import zipfile
from collections.abc import Mapping
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins import TorchCheckpointIO
from torch import Tensor

from consistency_tta.runtime.errors import CheckpointError
from consistency_tta.storage.torch_file import is_mappable
from consistency_tta.storage.unfinished import remove_unfinished, unfinished
from consistency_tta.training.position import stored_position
from consistency_tta.training.readable_state import check_readable
from consistency_tta.training.training_record import FACTS_KEY

log = logging.getLogger(__name__)

#: What a checkpoint must have for a run to go on from it, not empty, and of which type.
RESUMABLE = {"optimizer_states": list, "lr_schedulers": list, "loops": dict, "epoch": int, "global_step": int}
#: The key of a checkpoint's format, and its present value. Checkpoints without one are of format 1 (version 0.1, or
#: 0.2 before its release) and are read as well; see ``earlier_versions.py``.
FORMAT_KEY, FORMAT = "consistency_tta_format", 2
#: In a checkpoint: how many parameters have moments, of each optimizer; those that never had a gradient have none.
OPTIMIZED_KEY = "optimized_parameters"
#: In a checkpoint: when it was written, in nanoseconds since 1970. Copies of a run have other times of their files.
WRITTEN_KEY = "written_at"


class AtomicCheckpointIO(TorchCheckpointIO):
    """Lightning's, but a local file is written under another name in its folder, synchronised, and then renamed.

    An interruption or a full disk leaves the old file; Lightning copies into the file's place. The file is a ZIP
    archive with a checksum of each tensor (CRC-32), which :func:`read_checkpoint` compares.
    """

    def __init__(self) -> None:
        #: The files that this run has written, as they were then.
        self.written: dict[Path, tuple[int, ...] | None] = {}

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write a checkpoint.

        Raises:
            CheckpointError: if it cannot be written, such as on a full disk, or could not be read again; what was at
                ``path`` is still there.
        """
        check_readable(checkpoint)
        if "://" in str(path):
            super().save_checkpoint(checkpoint, path, storage_options)
            return
        file = Path(path)
        file.parent.mkdir(parents=True, exist_ok=True)
        if self._is_anothers(file):
            log.warning("another training has written %s, too: give each its own dirpath or default_root_dir", file)
        remove_unfinished(file.parent)
        partial = unfinished(file)
        try:
            with partial.open("wb") as stream:
                torch.save(checkpoint | {WRITTEN_KEY: time.time_ns()}, stream)
                stream.flush()
                os.fsync(stream.fileno())
            partial.replace(file)
            synchronise(file.parent)
            self.written[file] = identity(file)
        except (OSError, RuntimeError) as error:  # torch reports a write that failed as either
            kept = "the file that was there is kept" if file.is_file() else "no such file is left"
            raise CheckpointError(f"cannot write the checkpoint {file} ({error}); {kept}: free some space") from error
        finally:
            partial.unlink(missing_ok=True)

    def remove_checkpoint(self, path: Any) -> None:
        """Remove a checkpoint that is not among the best any more, unless another training has written it since."""
        if not self._is_anothers(Path(path)):
            super().remove_checkpoint(path)

    def _is_anothers(self, file: Path) -> bool:
        return file in self.written and identity(file) not in (None, self.written[file])

    def load_checkpoint(self, path: Any, map_location: Any = "cpu", weights_only: bool | None = None) -> dict[str, Any]:
        """Read a checkpoint without running code of the file."""
        return read_checkpoint(path)


def identity(file: Path) -> tuple[int, ...] | None:
    """What is another one when a file was replaced or written; None if there is no file."""
    if not file.is_file():
        return None
    status = file.stat()
    return status.st_ino, status.st_size, status.st_mtime_ns


def synchronise(folder: Path) -> None:
    """Wait until the names of a folder's files are on the disk: a rename is lost with the power otherwise."""
    with suppress(OSError):  # some network file systems cannot; the checkpoint itself is there
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def read_checkpoint(path: str | Path, mmap: bool = False) -> dict[str, Any]:
    """The content of a local checkpoint; nothing that it holds is run.

    Args:
        path: the file.
        mmap: whether tensors are read only when they are used.

    Raises:
        CheckpointError: if the file is missing, damaged, a URL, no Lightning checkpoint, or of a later version.
    """
    if re.match(r"(\w+::)*\w{2,}:/", str(path)):  # a Path has one slash of two
        raise CheckpointError(f"expected a checkpoint file on this machine, got {path}: download it first")
    file = Path(path)
    if file.is_dir():
        raise CheckpointError(f"expected a checkpoint file, but {file} is a folder: name a .ckpt file in it")
    if not file.is_file():
        raise CheckpointError(f"no checkpoint at {file}: look for .ckpt files below the trainer's default_root_dir")
    status = file.stat()
    if fault := _fault(file, status.st_size, status.st_mtime_ns):
        raise CheckpointError(f"{file} {fault}")
    try:
        content = torch.load(file, map_location="cpu", weights_only=True, mmap=mmap)
    except OSError:
        raise
    except Exception as error:  # a damaged pickle raises errors of many kinds, and no code of this package runs here
        raise CheckpointError(
            f"{file} is damaged, or holds objects that are not weights or settings: name another checkpoint"
        ) from error
    if not isinstance(content, dict) or "state_dict" not in content or "pytorch-lightning_version" not in content:
        raise CheckpointError(
            f"{file} holds weights, but is no checkpoint of a training: expected a .ckpt file that `fit` wrote"
        )
    kinds = dict.fromkeys(("state_dict", "hyper_parameters", "callbacks", FACTS_KEY), dict)
    _check_content(file, content, kinds | RESUMABLE)
    if (written := content.get(FORMAT_KEY, 1)) not in range(1, FORMAT + 1):
        raise CheckpointError(
            f"{file} has format {written!s:.20}, expected at most {FORMAT}: a later version of this package wrote it; "
            "install that version"
        )
    return content


def _check_content(file: Path, content: dict[str, Any], kinds: dict[str, type]) -> None:
    """Raise if a part of a checkpoint that is there is not what it must be."""
    for key, kind in kinds.items():
        if not isinstance(content.get(key, kind()), kind):
            raise CheckpointError(
                f"{file} is damaged: expected {key} to be a {kind.__name__}, got {content[key]!s:.40}"
            )
    written = content.get("hyper_parameters", {}).get("_class_path")
    if not isinstance(written, str | None):
        raise CheckpointError(f"{file} is damaged: expected the name of its class, got {written!s:.40}")
    for name, value in content["state_dict"].items():
        if not isinstance(name, str) or (name.rpartition(".")[2] != "_extra_state" and not isinstance(value, Tensor)):
            raise CheckpointError(f"{file} is damaged: expected a tensor as the weight {name!s:.60}, got {value!s:.40}")
    for name, value in content.get("callbacks", {}).items():
        if value and not isinstance(value, dict):  # Lightning hands on what is not empty
            raise CheckpointError(f"{file} is damaged: expected a dictionary of {name!s:.40}, got {value!s:.40}")


@lru_cache(maxsize=64)
def _fault(file: Path, size: int, changed: int) -> str:
    """Why the file's bytes cannot be a whole checkpoint, empty if they can; ``size``, ``changed``: to be remembered.

    The checksums are compared here, as torch leaves them out.
    """
    with file.open("rb") as stream:
        start = stream.read(64)
    if not start:
        return "is empty"
    if start.startswith(b"version https://git-lfs"):
        return "is a Git LFS pointer, not the file itself: run `git lfs pull`"
    if start.lstrip().lower().startswith((b"<!doctype", b"<html")):
        return "is a web page: download the file itself"
    try:
        with zipfile.ZipFile(file) as archive:
            wrong = archive.testzip()
    except Exception as error:  # a damaged archive raises errors of many kinds
        # EINVAL is of an archive that names a place which no file has; other errors of the system are a disk's.
        if isinstance(error, OSError) and error.errno != errno.EINVAL:
            raise
        return "is cut off, or no PyTorch file: copy it again, or name another checkpoint"
    if wrong:
        return f"is damaged: its part {wrong} does not have its checksum: name another checkpoint"
    if not is_mappable(file):
        return (
            "was compressed by another program, so that torch would read other values: name the file that `fit` wrote"
        )
    return ""


def check_resumable(path: str | Path) -> dict[str, Any]:
    """The content of a checkpoint from which a run can go on.

    Raises:
        CheckpointError: as :func:`read_checkpoint`, and if the state of the optimizer is missing, or numbers of it, of
            the schedule or of the position in training are none.
    """
    content = read_checkpoint(path, mmap=True)
    if missing := [key for key in RESUMABLE if content.get(key) in (None, [], {})]:
        raise CheckpointError(
            f"{path} has weights but no {', '.join(missing)}: a run cannot go on from it, as from one that "
            "ModelCheckpoint wrote with save_weights_only"
        )
    if not all(isinstance(state, dict) for key in ("optimizer_states", "lr_schedulers") for state in content[key]):
        raise CheckpointError(f"{path} is damaged: expected dictionaries as its optimizer_states and lr_schedulers")
    if content["global_step"] > 0 and not any(state.get("state") for state in content["optimizer_states"]):
        raise CheckpointError(f"{path} is of step {content['global_step']}, but its optimizer_states have no values")
    if not _numbers_fit(content):
        raise CheckpointError(
            f"{path} is damaged: learning rates or steps of its optimizer or schedule are missing or no numbers"
        )
    try:
        stored_position(content)
    except CheckpointError as error:
        raise CheckpointError(f"{path} is damaged: {error}") from error
    return content


def _numbers_fit(content: dict[str, Any]) -> bool:
    """Whether optimizer and schedule go on with numbers: a step would fail, or another rate be used."""
    try:
        groups = [state.get("param_groups", []) for state in content["optimizer_states"]]
        # Schedules of schedules, such as ChainedScheduler, have no rates of their own.
        schedules = [state for state in content["lr_schedulers"] if "base_lrs" in state]
        numbers = [state[key] for state in schedules for key in ("last_epoch", "_step_count")]
        numbers += [rate for state in schedules for rate in state["base_lrs"]]
        states = [state.get("state", {}) for state in content["optimizer_states"]]
        numbers += [values.get("step", 0) for each in states for values in each.values()]
        numbers += [group["lr"] for each in groups for group in each]
        betas = [group["betas"] for each in groups for group in each if "betas" in group]
        return (
            {len(state["base_lrs"]) for state in schedules} <= {len(each) for each in groups}
            and content.get(OPTIMIZED_KEY) in (None, [len(each) for each in states])
            and all(0 <= _number(number) < math.inf for number in numbers)
            and all(len(each) > 1 and all(0 <= _number(beta) < 1 for beta in each) for each in betas)
        )
    except (AttributeError, KeyError, TypeError):
        return False


def _number(value: Any) -> float:
    """A number, or the only one of a tensor; NaN for anything else."""
    if isinstance(value, Tensor) and value.numel() == 1 and not value.is_complex():
        value = value.item()
    return value if isinstance(value, int | float) else math.nan


def check_finite_weights(weights: Mapping[str, Any], checkpoint: str | Path | None) -> None:
    """Raise if a weight is NaN or infinite: each step from there would be skipped, and each loss be NaN.

    Args:
        weights: a checkpoint's.
        checkpoint: its file, for the message.

    Raises:
        CheckpointError: names the first such weight.
    """
    for name, weight in weights.items():
        if isinstance(weight, Tensor) and not weight.isfinite().all():
            raise CheckpointError(
                f"{checkpoint}: expected finite weights, got NaN or infinity in {name}: name an older checkpoint"
            )


def check_formats(weights: Mapping[str, Any], own: Mapping[str, Any], exact: bool = False) -> None:
    """Raise if a weight is of integers where the network has floating point, or the reverse: it would be rounded.

    Args:
        weights: a checkpoint's.
        own: the network's.
        exact: whether another floating-point format is refused as well, for a run that goes on: someone has rounded the
            weights since, and it would not go on from where it was.

    Raises:
        CheckpointError: names the first such weight.
    """
    for name in weights.keys() & own.keys():
        found, expected = weights[name], own[name]
        if isinstance(found, Tensor) and isinstance(expected, Tensor):
            floats = [each.is_floating_point() or each.is_complex() for each in (found, expected)]
            if floats[0] != floats[1] or (exact and floats[0] and found.dtype != expected.dtype):
                raise CheckpointError(f"expected {expected.dtype} as the weight {name}, got {found.dtype}")

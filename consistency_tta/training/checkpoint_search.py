"""Which checkpoint to go on from: the newest whole one, or the last before a training went wrong."""

from __future__ import annotations

import logging
from pathlib import Path

from lightning.pytorch import Trainer

from consistency_tta.runtime.errors import CheckpointError
from consistency_tta.storage.unfinished import remove_unfinished
from consistency_tta.training.checkpoint_file import check_resumable

log = logging.getLogger(__name__)


def newest_first(folder: Path) -> list[Path]:
    """All checkpoint files below a folder, whole or not."""
    files = {file: file.stat().st_mtime_ns for file in folder.rglob("*.ckpt") if file.is_file()}
    return sorted(files, key=lambda file: (files[file], file), reverse=True)


def newest_checkpoint(folder: Path) -> Path:
    """The whole, resumable checkpoint of the most recent change below a folder.

    Newer ones that are damaged are logged and passed over; what a killed process left unfinished is removed.

    Raises:
        CheckpointError: if there is none.
    """
    for place in {file.parent for file in folder.rglob(".*.partial")}:
        remove_unfinished(place)
    files = newest_first(folder)
    for file in files:
        try:
            check_resumable(file)
        except CheckpointError as error:
            log.warning("passed over: %s", error)
        else:
            return file
    found = f"{len(files)} that are damaged or have weights alone" if files else "none"
    raise CheckpointError(
        f"expected a checkpoint below {folder} for --ckpt_path last or auto, got {found}: "
        "leave out --ckpt_path to begin anew, or name a file"
    )


def named_checkpoint(name: str, folder: Path) -> Path:
    """The file that ``--ckpt_path`` names: ``last``, ``auto``, ``hpc`` (of a SLURM job that goes on), or a path.

    Raises:
        CheckpointError: if there is none, or the name is one that a new process cannot know.
    """
    if name in ("last", "auto"):
        return newest_checkpoint(folder)
    if name == "hpc":
        found = {file: file.stem.removeprefix("hpc_ckpt_") for file in folder.glob("hpc_ckpt_*.ckpt")}
        numbered = {file: int(number) for file, number in found.items() if number.isdecimal()}
        if not numbered:
            raise CheckpointError(
                f"expected hpc_ckpt_<n>.ckpt in {folder} for --ckpt_path hpc, got none: SLURM's SIGUSR1 makes one; "
                "--ckpt_path last takes the newest checkpoint of any kind"
            )
        return max(numbered, key=lambda file: numbered[file])
    if name in ("", "best"):
        raise CheckpointError(
            f"expected a file, last, auto or hpc for --ckpt_path, got {name or 'nothing'}: name a file below {folder}"
        )
    return Path(name)


def last_good_checkpoint(trainer: Trainer, step: int) -> Path | None:
    """The newest whole checkpoint of a run, of at most ``step`` optimizer steps, whose weights are finite.

    If the run has written none, the one that it went on from: of an earlier run, perhaps in another folder.
    """
    places = (getattr(callback, "dirpath", None) for callback in trainer.checkpoint_callbacks)
    files = [file for folder in {Path(place) for place in places if place} for file in newest_first(folder)]
    for file in [*files, *([Path(trainer.ckpt_path)] if trainer.ckpt_path else [])]:
        try:
            content = check_resumable(file)
        except CheckpointError:
            continue
        weights = (value for value in content["state_dict"].values() if hasattr(value, "isfinite"))
        if content["global_step"] <= step and all(weight.isfinite().all() for weight in weights):
            return file
    return None


def go_on_from(trainer: Trainer, step: int) -> str:
    """What to do after a training went wrong behind ``step``, as the end of a sentence."""
    file = last_good_checkpoint(trainer, step)
    if file is None:
        return "there is no checkpoint from before: begin anew"
    return f"the last good checkpoint is {file}: --ckpt_path {file} goes on from there"

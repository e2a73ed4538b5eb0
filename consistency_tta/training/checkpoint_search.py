"""Which checkpoint to go on from: the newest whole one, or the last before a training went wrong."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Trainer

from consistency_tta.runtime.errors import CheckpointError
from consistency_tta.storage.folder_files import files_below
from consistency_tta.storage.unfinished import remove_unfinished
from consistency_tta.training.checkpoint_file import WRITTEN_KEY, check_resumable
from consistency_tta.training.job_checkpoint import LIGHTNING, PREFIX, checkpoints_of_job, slurm_job

log = logging.getLogger(__name__)


def checkpoint_folders(trainer: Mapping[str, Any]) -> list[Path]:
    """Where a run with these settings of the trainer writes checkpoints: the folder of the run first.

    A ``ModelCheckpoint`` may have a ``dirpath`` elsewhere; one without puts its files where the first logger writes.

    Args:
        trainer: as the command line has read them, before anything is built.
    """
    found = [Path(trainer.get("default_root_dir") or ".")]
    for logger in _parts(trainer.get("logger"))[:1]:
        if (place := logger.get("save_dir")) is not None:
            name = logger.get("name")
            found.append(Path(place, "lightning_logs" if name is None else name))
    found += [Path(place) for callback in _parts(trainer.get("callbacks")) if (place := callback.get("dirpath"))]
    return list(dict.fromkeys(found))


def _parts(value: Any) -> list[Any]:
    """The arguments of a setting's classes: of one, of a list, or of none."""
    values = value if isinstance(value, list) else [value]
    return [one.get("init_args") or {} for one in values if one is not None and not isinstance(one, bool)]


def newest_first(*folders: Path) -> list[Path]:
    """All checkpoint files below folders, whole or not, by when they were written; links to folders are followed."""
    found = {file for folder in folders for file in files_below(folder) if file.suffix == ".ckpt" and file.is_file()}
    written = {file: _written(file) for file in found}
    return sorted(found, key=lambda file: (written[file], file), reverse=True)


def _written(file: Path) -> tuple[int, int]:
    """When a checkpoint was written, and its step.

    A file's own time is that of a copy, perhaps one for all; it serves where a checkpoint does not say, or is damaged.
    """
    changed = file.stat().st_mtime_ns
    try:
        content = torch.load(file, map_location="cpu", weights_only=True, mmap=True)  # without the tensors' values
        return int(content.get(WRITTEN_KEY, changed)), int(content["global_step"])
    except Exception:  # a damaged file raises errors of many kinds; `check_resumable` names its fault
        return changed, 0


def newest_checkpoint(*folders: Path) -> Path:
    """The whole, resumable checkpoint below folders that was written last.

    Newer ones that are damaged are logged and passed over; what a killed process left unfinished is removed.

    Raises:
        CheckpointError: if there is none.
    """
    left = (file for folder in folders for file in files_below(folder) if file.match(".*.partial"))
    for place in {file.parent for file in left}:
        remove_unfinished(place)
    files = newest_first(*folders)
    for file in files:
        try:
            check_resumable(file)
        except CheckpointError as error:
            log.warning("passed over: %s", error)
        else:
            return file
    found = f"{len(files)} that are damaged or have weights alone" if files else "none"
    raise CheckpointError(
        f"expected a checkpoint below {listed(folders)} for --ckpt_path last or auto, got {found}: "
        "leave out --ckpt_path to begin anew, or name a file"
    )


def listed(folders: Iterable[Path]) -> str:
    """Folders for a message."""
    return " or ".join(str(folder.absolute()) for folder in folders)


def named_checkpoint(name: str, *folders: Path) -> Path:
    """The file that ``--ckpt_path`` names: ``last``, ``auto``, ``hpc`` (of this SLURM job, in one), or a path.

    Args:
        name: the option's value.
        *folders: see :func:`checkpoint_folders`.

    Raises:
        CheckpointError: if there is none, or the name is one that a new process cannot know.
    """
    if name in ("last", "auto"):
        return newest_checkpoint(*folders)
    folder = folders[0]
    if name == "hpc":
        if own := checkpoints_of_job(folder):
            return max(own, key=_written)
        found = {file: file.stem.removeprefix(LIGHTNING) for file in folder.glob(f"{LIGHTNING}*.ckpt")}
        numbered = {file: int(number) for file, number in found.items() if number.isdecimal()}
        if not numbered:
            raise CheckpointError(
                f"expected {PREFIX}_{slurm_job() or '<job>'}_*.ckpt or {LIGHTNING}<n>.ckpt in {folder} for --ckpt_path "
                "hpc, got none: SLURM's SIGUSR1 makes one; --ckpt_path last takes the newest checkpoint of any kind"
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
    files = newest_first(*{Path(place) for place in places if place})
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

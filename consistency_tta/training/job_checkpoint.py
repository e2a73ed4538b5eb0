"""Checkpoints of SLURM jobs that are put back into the queue: each goes on from its own run's, and no other's.

Lightning's ``hpc_ckpt_<n>.ckpt`` bears no job's name, and every job with the same ``default_root_dir`` goes on from the
newest. Here the name has the job, which keeps its number when it is queued again, and the run's settings, since a job
may train several models one after another.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.fabric.plugins.environments import SLURMEnvironment

from consistency_tta.runtime.errors import CheckpointError

log = logging.getLogger(__name__)

PREFIX = "slurm_job"
#: The prefix of Lightning's own names.
LIGHTNING = "hpc_ckpt_"
#: Settings that make a run: with others it is another one. The trainer's may change while a job waits.
OF_RUN = ("model", "data", "seed_everything")


def slurm_job() -> str:
    """The number of this process's job, ``8_2`` for one of an array; empty outside of SLURM."""
    array = os.environ.get("SLURM_ARRAY_JOB_ID", "")
    return f"{array}_{os.environ.get('SLURM_ARRAY_TASK_ID')}" if array else os.environ.get("SLURM_JOB_ID", "")


def settings_digest(settings: Mapping[str, Any]) -> str:
    """A short name of a run's settings: different ones have different names, almost certainly."""
    text = json.dumps({name: settings.get(name) for name in OF_RUN}, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def new_job_checkpoint(folder: Path, run: str = "") -> Path:
    """Where this job is to save the checkpoint that it goes on from.

    Args:
        folder: the ``default_root_dir``.
        run: see :func:`settings_digest`.
    """
    return folder / f"{_stem(run)}_{max(_numbered(folder, run), default=0) + 1}.ckpt"


def job_checkpoint(folder: Path, run: str = "") -> Path | None:
    """The newest checkpoint that this job has saved of a run; None if there is none, or no SLURM.

    If the job has saved some of another run, which may be this one with settings that were changed since, it is logged.

    Args:
        folder, run: as :func:`new_job_checkpoint` takes them.

    Raises:
        CheckpointError: the folder has one of Lightning's own names, which it would take whoever's it is.
    """
    if not SLURMEnvironment.detect():
        return None
    found = _numbered(folder, run)
    if found:
        return found[max(found)]
    if foreign := sorted(folder.glob(f"{LIGHTNING}*.ckpt")):
        raise CheckpointError(
            f"expected no {LIGHTNING}<n>.ckpt in {folder}, from which Lightning would go on, whichever run's it is, "
            f"got {foreign[-1].name}: --ckpt_path hpc goes on from the newest, and once this job has saved one, from "
            "that; or move it away"
        )
    if others := sorted(checkpoints_of_job(folder)):
        log.warning(
            "%s is of this job, but of a run with other settings of the model, the data or the seed: begins at step 0; "
            "--ckpt_path hpc would go on from there", others[-1],
        )  # fmt: skip
    return None


def checkpoints_of_job(folder: Path) -> list[Path]:
    """What this job has saved, whichever run's it is; outside of SLURM what any job has."""
    return list(folder.glob(f"{_stem('')}_*.ckpt"))


def _stem(run: str) -> str:
    return "_".join(part for part in (PREFIX, slurm_job(), run) if part)


def _numbered(folder: Path, run: str) -> dict[int, Path]:
    """The checkpoints of this job and a run, by number."""
    found = {file.stem.removeprefix(f"{_stem(run)}_"): file for file in folder.glob(f"{PREFIX}_*.ckpt")}
    return {int(number): file for number, file in found.items() if number.isdecimal()}

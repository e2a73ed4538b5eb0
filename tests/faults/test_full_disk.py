"""A training whose disk is full: a file system in memory, of a few megabytes, which only root may mount."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from consistency_tta.cli import main
from consistency_tta.training.checkpoint_file import check_resumable
from tests.faults.killed_run import unfinished
from tests.test_cli import distillation_config, write
from tests.training.runs import equal

SAVING = {
    "class_path": "lightning.pytorch.callbacks.ModelCheckpoint",
    "init_args": {"every_n_train_steps": 1, "save_top_k": -1, "save_last": True},
}


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """An empty file system of 6 MB, in which three checkpoints have room."""
    if os.geteuid() != 0:
        pytest.skip("only root may mount a file system")
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", folder], capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"this machine refuses to mount a file system: {mounted.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


def config(teacher: Path, root: Path, recipe: Path) -> list[str]:
    """Arguments of a run of eight steps, each with a checkpoint."""
    trainer = {"enable_checkpointing": True, "callbacks": [SAVING], "limit_val_batches": 0}
    return ["fit", "--config", write(distillation_config(teacher, root, **trainer), recipe)]


def fill(disk: Path, pages: int) -> Path:
    """Leave so many pages of a disk free."""
    free = os.statvfs(disk)
    filler = disk / "filler"
    filler.write_bytes(bytes((free.f_bavail - pages) * free.f_bsize))
    return filler


def weights(file: Path) -> dict[str, Any]:
    """Of a checkpoint."""
    return torch.load(file, weights_only=True)["state_dict"]


def error_line(ended: pytest.ExceptionInfo[SystemExit]) -> str:
    """The error with which a command ended; Python prints it and exits with 1."""
    assert isinstance(ended.value.code, str)
    [line] = [line for line in ended.value.code.splitlines() if line.startswith("error: ")]
    return line


def test_older_checkpoints_stay_whole_and_the_run_goes_on_when_there_is_room(
    teacher_folder: Path, tmp_path: Path, disk: Path
) -> None:
    fit = config(teacher_folder, disk / "run", tmp_path / "recipe.yaml")
    with pytest.raises(SystemExit) as ended:
        main(fit)
    assert str(disk / "run") in error_line(ended)
    checkpoints = list(disk.rglob("*.ckpt"))
    steps = sorted(check_resumable(file)["global_step"] for file in checkpoints)
    assert 1 <= steps[-1] < 8
    assert not unfinished(disk)

    subprocess.run(["mount", "-o", "remount,size=100m", disk], check=True)
    main([*fit, "--ckpt_path", "last"])
    straight = tmp_path / "straight"
    main(config(teacher_folder, straight, tmp_path / "straight.yaml"))
    [last], [expected] = (list(root.rglob("*step=8.ckpt")) for root in (disk, straight))
    assert equal(weights(last), weights(expected))


@pytest.mark.parametrize("pages", [0, 1], ids=["settings", "log"])
def test_a_disk_without_room_for_settings_or_log_is_named(
    pages: int, teacher_folder: Path, tmp_path: Path, disk: Path
) -> None:
    fill(disk, pages)
    with pytest.raises(SystemExit) as ended:
        main(config(teacher_folder, disk / "run", tmp_path / "recipe.yaml"))
    assert str(disk / "run") in error_line(ended)

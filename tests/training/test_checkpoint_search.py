"""The newest whole checkpoint, and the last good one."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from consistency_tta.runtime.errors import CheckpointError
from consistency_tta.training.checkpoint_file import AtomicCheckpointIO
from consistency_tta.training.checkpoint_search import (
    checkpoint_folders,
    go_on_from,
    last_good_checkpoint,
    named_checkpoint,
    newest_checkpoint,
)
from tests.training.test_checkpoint_file import WHOLE, left_by_a_killed_process, write

STATE = [{"state": {0: {"exp_avg": torch.ones(1)}}}]


def test_the_newest_whole_one_is_found_and_the_others_are_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    whole = write(tmp_path / "run" / "whole.ckpt", WHOLE)
    newer = write(whole.with_name("newer.ckpt"), WHOLE)
    write(whole.with_name("weights.ckpt"), {key: WHOLE[key] for key in list(WHOLE)[:2]})
    torn = whole.with_name("torn.ckpt")
    torn.write_bytes(whole.read_bytes()[:2000])
    whole.with_name("folder.ckpt").mkdir()
    whole.with_name("notes.txt").touch()
    os.utime(torn, (4e9, 4e9))
    with caplog.at_level(logging.WARNING):
        assert newest_checkpoint(tmp_path) == newer
    assert "torn.ckpt" in caplog.text
    assert "weights.ckpt" in caplog.text
    assert "folder.ckpt" not in caplog.text
    assert "notes.txt" not in caplog.text
    newer.unlink()
    assert newest_checkpoint(tmp_path) == whole
    whole.unlink()
    with pytest.raises(CheckpointError, match=rf"{tmp_path}.*got 2"):
        newest_checkpoint(tmp_path)


@pytest.mark.parametrize("times", [(3, 2, 1), (1, 1, 1)])
def test_copies_of_a_run_have_the_newest_one_that_the_run_had(times: tuple[int, ...], tmp_path: Path) -> None:
    """Such as by ``cp -r``, which may copy the newest first, or to where all files have one time."""
    files = [tmp_path / "step=9.ckpt", tmp_path / "sigterm.ckpt", tmp_path / "step=12.ckpt"]
    for step, file, time in zip((9, 3, 12), files, times, strict=True):  # gone back to step 3 on purpose
        AtomicCheckpointIO().save_checkpoint(WHOLE | {"global_step": step, "optimizer_states": STATE}, file)
        os.utime(file, (1e9 + time, 1e9 + time))
    assert newest_checkpoint(tmp_path) == files[2]
    files[2].unlink()
    assert newest_checkpoint(tmp_path) == files[1]


def test_of_checkpoints_of_one_time_that_do_not_say_when_the_last_step_is_taken(tmp_path: Path) -> None:
    for step in (9, 12, 3):
        file = tmp_path / f"step={step}.ckpt"
        torch.save(WHOLE | {"global_step": step, "optimizer_states": STATE}, file)  # as version 0.1 did
        os.utime(file, (1e9, 1e9))
    assert newest_checkpoint(tmp_path) == tmp_path / "step=12.ckpt"


def test_code_in_a_file_is_not_run_to_see_when_it_was_written(tmp_path: Path) -> None:
    class Malicious:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (tmp_path / "ran",)

    whole = write(tmp_path / "whole.ckpt", WHOLE)
    torch.save(WHOLE | {"epoch": Malicious()}, tmp_path / "odd.ckpt")
    os.utime(tmp_path / "odd.ckpt", (4e9, 4e9))
    assert newest_checkpoint(tmp_path) == whole
    assert not (tmp_path / "ran").exists()


def test_what_a_killed_process_left_is_removed(tmp_path: Path) -> None:
    whole = write(tmp_path / "run" / "whole.ckpt", WHOLE)
    left = left_by_a_killed_process(whole.parent)
    assert newest_checkpoint(tmp_path) == whole
    assert not left.exists()


def test_names_stand_for_files_below_the_runs_folder(tmp_path: Path) -> None:
    for name in ("", "best", "hpc", "last"):
        with pytest.raises(CheckpointError, match=str(tmp_path) + (".*got none" if name == "last" else "")):
            named_checkpoint(name, tmp_path)
    for number in ("9", "10", "x"):
        file = write(tmp_path / f"hpc_ckpt_{number}.ckpt", WHOLE)
        os.utime(file, (1e9, 1e9))
    whole = write(tmp_path / "run" / "whole.ckpt", WHOLE)
    assert named_checkpoint("hpc", tmp_path) == tmp_path / "hpc_ckpt_10.ckpt"
    assert named_checkpoint("last", tmp_path) == named_checkpoint("auto", tmp_path) == whole
    assert named_checkpoint("other/a.ckpt", tmp_path) == Path("other/a.ckpt")


def test_links_to_folders_are_followed(tmp_path: Path) -> None:
    """As where a run's folder has its checkpoints on a larger disk."""
    whole = write(tmp_path / "disk" / "version_0" / "last.ckpt", WHOLE)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "lightning_logs").symlink_to(tmp_path / "disk")
    (tmp_path / "disk" / "back").symlink_to(tmp_path / "run")
    found = newest_checkpoint(tmp_path / "run")
    assert found.samefile(whole)
    assert found.is_relative_to(tmp_path / "run")


def test_checkpoints_are_looked_for_wherever_the_settings_put_them() -> None:
    def classes(*arguments: dict[str, Any]) -> list[dict[str, Any]]:
        return [{"class_path": "any", "init_args": each} for each in arguments]

    assert checkpoint_folders({"logger": True, "callbacks": None}) == [Path()]
    assert checkpoint_folders({"default_root_dir": "run", "logger": False, "callbacks": classes({})}) == [Path("run")]
    [logger] = classes({"save_dir": "logs", "name": "mine"})
    others = classes({"save_dir": "unused"}, {"dirpath": "a"}, {"dirpath": None}, {"dirpath": "a"}, {"dirpath": "b"})
    found = checkpoint_folders({"default_root_dir": "run", "logger": [logger, others[0]], "callbacks": others[1:]})
    assert found == [Path("run"), Path("logs/mine"), Path("a"), Path("b")]
    [unnamed, without, only] = classes({"save_dir": "logs", "name": None}, {"save_dir": None}, {"dirpath": "a"})
    assert checkpoint_folders({"logger": unnamed, "callbacks": only}) == [
        Path(),
        Path("logs/lightning_logs"),
        Path("a"),
    ]
    assert checkpoint_folders({"logger": without}) == [Path()]


def run(*folders: Path, ckpt_path: str | None = None) -> Any:
    callbacks = [SimpleNamespace(dirpath=str(folder)) for folder in folders]
    return SimpleNamespace(checkpoint_callbacks=callbacks, ckpt_path=ckpt_path)


def test_the_last_good_one_is_before_the_step_and_finite(tmp_path: Path) -> None:
    for step, value in ((3, 1.0), (6, 1.0), (9, float("nan")), (12, 1.0)):
        file = write(
            tmp_path / f"{step}.ckpt",
            WHOLE | {"global_step": step, "state_dict": {"w": torch.tensor(value)}, "optimizer_states": STATE},
        )
        os.utime(file, (1e9 + step, 1e9 + step))
    (tmp_path / "9a.ckpt").write_bytes(b"torn")
    assert last_good_checkpoint(run(tmp_path), 12) == tmp_path / "12.ckpt"
    assert last_good_checkpoint(run(tmp_path), 11) == tmp_path / "6.ckpt"
    assert str(tmp_path / "3.ckpt") in go_on_from(run(tmp_path), 5)
    assert last_good_checkpoint(run(tmp_path), 2) is None
    assert str(tmp_path) not in go_on_from(run(tmp_path), 2) + go_on_from(run(), 12)


def test_a_resumed_run_that_fails_before_its_first_checkpoint_names_the_one_it_went_on_from(tmp_path: Path) -> None:
    content = WHOLE | {"global_step": 500, "optimizer_states": STATE}
    before = write(tmp_path / "version_0" / "last.ckpt", content)
    resumed = run(tmp_path / "version_1", ckpt_path=str(before))
    assert f"--ckpt_path {before}" in go_on_from(resumed, 500)
    assert last_good_checkpoint(resumed, 499) is None
    own = write(tmp_path / "version_1" / "step=510.ckpt", content | {"global_step": 510})
    assert last_good_checkpoint(resumed, 515) == own

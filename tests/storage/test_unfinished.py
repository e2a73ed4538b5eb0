"""What killed processes were writing is removed, and nothing else."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from consistency_tta.storage.atomic_directory import atomic_directory, require_empty
from consistency_tta.storage.unfinished import remove_unfinished, unfinished


@pytest.fixture(scope="module")
def ended() -> str:
    """This machine and a process that has ended, as they are in names."""
    with subprocess.Popen(["true"]) as process:
        pass
    return f"{socket.gethostname()}-{process.pid}"


def test_only_what_a_dead_process_of_this_machine_wrote_is_removed(ended: str, tmp_path: Path) -> None:
    process = ended.rpartition("-")[2]
    kept = [
        f".a.{socket.gethostname()}-{os.getpid()}.partial",
        f".a.other-{process}.partial",
        f".a.{socket.gethostname()}-{10**30}.partial",  # of no process that there can be
        ".a.partial",
        "a.partial",
    ]
    for name in kept:
        (tmp_path / name).write_text("half")
    (tmp_path / f".a.{ended}.partial").write_text("half")
    (tmp_path / f".b.{ended}.partial" / "b").mkdir(parents=True)
    assert unfinished(tmp_path / "a").name == kept[0]
    remove_unfinished(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == set(kept)


def test_what_another_machine_left_is_removed_a_day_after_its_last_change(tmp_path: Path) -> None:
    old, new, old_folder, new_folder = (tmp_path / f".{number}.node-7.cluster-3.partial" for number in range(4))
    for file in (old, new, old_folder / "weights", new_folder / "weights", tmp_path / ".download.partial"):
        file.parent.mkdir(exist_ok=True)
        file.write_text("half")
    for path in [*tmp_path.rglob("*")]:
        hours = 23 if path in (new, new_folder / "weights") else 25
        os.utime(path, (time.time() - 3600 * hours,) * 2)
    remove_unfinished(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {new.name, new_folder.name, ".download.partial"}


@pytest.mark.parametrize("kind", [Path.mkdir, Path.touch])
def test_another_process_may_remove_it_first(
    kind: Any, ended: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = tmp_path / f".a.{ended}.partial"
    kind(left)

    def remove_first(*_: int) -> None:
        left.rename(tmp_path / "elsewhere")
        raise ProcessLookupError

    with monkeypatch.context() as patched:
        patched.setattr(os, "kill", remove_first)
        remove_unfinished(tmp_path)


def test_another_process_may_be_removing_it(ended: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(*_: Any, **__: Any) -> None:
        raise FileNotFoundError

    (tmp_path / f".a.{ended}.partial").mkdir()
    with monkeypatch.context() as patched:
        patched.setattr(os, "rmdir", gone)
        remove_unfinished(tmp_path)


def test_what_another_machine_is_just_renaming_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, status = tmp_path / ".a.other-7.partial", Path.lstat
    folder.mkdir()
    (folder / "weights").touch()

    def gone(path: Path) -> os.stat_result:
        if path.name == "weights":
            raise FileNotFoundError(path)
        return status(path)

    monkeypatch.setattr(Path, "lstat", gone)
    os.utime(folder, (0, 0))
    remove_unfinished(tmp_path)
    assert (folder / "weights").exists()


@pytest.mark.parametrize("inside", [True, False])
def test_the_next_folder_written_there_removes_it(inside: bool, ended: str, tmp_path: Path) -> None:
    output = tmp_path / "model"
    left = (output if inside else tmp_path) / f".model.{ended}.partial" / "model"
    left.mkdir(parents=True)
    require_empty(output)
    with atomic_directory(output, last="index") as folder:
        (folder / "index").write_text("whole")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    assert [path.name for path in output.iterdir()] == ["index"]

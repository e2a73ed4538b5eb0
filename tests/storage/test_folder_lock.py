"""A folder is one run's while that run lives, and no longer."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from consistency_tta.runtime.errors import ConfigurationError
from consistency_tta.storage import folder_lock
from consistency_tta.storage.folder_lock import NAME, check_folder_free, hold_folder, release_folders
from tests.held_folders import another_process, taken


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(folder_lock, "PATIENCE", 0.0)
    opened = len(list(Path("/proc/self/fd").iterdir()))
    yield
    release_folders()
    assert len(list(Path("/proc/self/fd").iterdir())) <= opened


def test_a_folder_is_held_until_it_is_released_and_nothing_is_left(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "folder"
    for _ in range(2):
        hold_folder(folder)
        hold_folder(folder / "..//folder")  # once more, by another name, by the same run
        check_folder_free(folder)
        assert taken(folder)
        assert not (folder / NAME).stat().st_mode & 0o111  # no program
        release_folders()
        assert not list(folder.iterdir())


def test_a_file_that_was_removed_by_hand_is_no_fault(tmp_path: Path) -> None:
    hold_folder(tmp_path)
    (tmp_path / NAME).unlink()
    release_folders()


def test_what_another_process_holds_is_refused_until_it_dies(tmp_path: Path) -> None:
    check_folder_free(tmp_path)
    with another_process(tmp_path) as process:
        for refused in (hold_folder, check_folder_free):
            with pytest.raises(ConfigurationError, match=rf"{tmp_path}.*{process.pid}.*{NAME}"):
                refused(tmp_path)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert (tmp_path / NAME).is_file()  # which then is in nobody's way
        check_folder_free(tmp_path)
        hold_folder(tmp_path)
    assert (tmp_path / NAME).read_text().endswith(f" {os.getpid()}")


def test_a_process_that_is_about_to_end_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """On another machine for longer: a file server keeps the locks of one that is gone."""
    monkeypatch.setattr(folder_lock, "LEASE", 20.0)
    sleeps: list[float] = []
    with another_process(tmp_path, host="elsewhere") as process:

        def sleep(seconds: float) -> None:
            sleeps.append(seconds)
            if len(sleeps) == 3:
                process.kill()
                process.wait()

        monkeypatch.setattr("time.sleep", sleep)
        hold_folder(tmp_path)
    assert len(sleeps) == 3
    (said,) = caplog.messages  # once
    assert "elsewhere" in said
    assert str(process.pid) in said


def test_workers_have_no_lock_that_outlives_their_run(tmp_path: Path) -> None:
    hold_folder(tmp_path)
    if (child := os.fork()) == 0:
        hold_folder(tmp_path / "another")
        release_folders()  # of its own alone
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert taken(tmp_path)


def test_a_file_that_the_run_before_has_just_removed_is_not_held(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock, calls = fcntl.lockf, []

    def remove_first(descriptor: int, kind: int) -> None:
        lock(descriptor, kind)
        calls.append(kind)
        if len(calls) == 1:
            (tmp_path / NAME).unlink()

    monkeypatch.setattr(fcntl, "lockf", remove_first)
    monkeypatch.setattr(folder_lock, "PATIENCE", 10.0)
    hold_folder(tmp_path)
    assert len(calls) == 2
    assert taken(tmp_path)


def test_a_file_system_without_locks_is_named_and_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: Any) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "lockf", refuse)
    hold_folder(tmp_path)
    check_folder_free(tmp_path)
    assert str(tmp_path) in caplog.text


def test_the_file_says_who_holds_the_folder(tmp_path: Path) -> None:
    (tmp_path / NAME).write_text("a machine of a long name, and 123456789")
    hold_folder(tmp_path)
    assert (tmp_path / NAME).read_text() == f"{socket.gethostname()} {os.getpid()}"


def test_on_a_full_disk_a_folder_is_held_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", refuse)
    hold_folder(tmp_path)
    monkeypatch.undo()  # `taken` starts a process
    assert taken(tmp_path)


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError, match=str(tmp_path / "file" / "folder")):
        hold_folder(tmp_path / "file" / "folder")

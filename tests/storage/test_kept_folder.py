"""What is at a place is not lost when a folder comes there."""

from __future__ import annotations

import errno
import multiprocessing
import os
import shutil
import socket
import subprocess
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest

from consistency_tta.storage.kept_folder import keep_copy, make_room, publish


def folder(path: Path, content: str) -> Path:
    (path / "unet").mkdir(parents=True)
    (path / "unet" / "weights").write_text(content)
    (path / "model_index.json").write_text(content)
    return path


def content(path: Path) -> str:
    assert {file.name for file in path.rglob("*")} == {"unet", "weights", "model_index.json"}
    return (path / "unet" / "weights").read_text()


@pytest.mark.parametrize("links", [True, False])
def test_each_run_keeps_its_own_and_the_last_is_published(
    links: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not links:

        def refuse(source: str, target: str) -> None:
            raise OSError("no links here")

        monkeypatch.setattr(os, "link", refuse)
    place = tmp_path / "model"
    runs = [folder(tmp_path / f"version_{number}" / "model", str(number)) for number in range(3)]
    kept = [publish(run, place) for run in runs]
    assert [content(run) for run in runs] == ["0", "1", "2"]
    assert content(place) == "2"
    # A copy that is no link might be the only one: it is renamed.
    assert kept == ([None] * 3 if links else [None, tmp_path / "model.1", tmp_path / "model.2"])
    assert {path.name for path in tmp_path.iterdir()} == {"version_0", "version_1", "version_2", "model"} | {
        path.name for path in kept if path
    }


def test_a_published_folder_outlives_its_run(tmp_path: Path) -> None:
    run = folder(tmp_path / "run" / "model", "a")
    publish(run, tmp_path / "model")
    for file in (run / "unet" / "weights", run / "model_index.json"):
        file.unlink()
    assert content(tmp_path / "model") == "a"
    publish(folder(tmp_path / "other", "b"), tmp_path / "model")
    assert content(tmp_path / "model.1") == "a"  # now the only one
    assert content(tmp_path / "model") == "b"


def test_a_run_that_ends_at_the_same_moment_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rivals = ["other"]

    def room(place: Path) -> Path | None:
        kept = make_room(place)
        if rivals:  # it comes between
            folder(place, rivals.pop())
        return kept

    monkeypatch.setattr("consistency_tta.storage.kept_folder.make_room", room)
    assert publish(folder(tmp_path / "run", "one"), tmp_path / "model") == tmp_path / "model.1"
    assert [content(tmp_path / name) for name in ("model", "model.1")] == ["one", "other"]


def test_what_another_run_has_just_moved_is_not_missed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = folder(tmp_path / "model", "old")

    def move_first(path: Path, other: Path) -> bool:
        path.rename(tmp_path / "model.1")
        raise FileNotFoundError(path)

    monkeypatch.setattr(Path, "samefile", move_first)
    assert publish(folder(tmp_path / "run", "new"), place) is None
    assert [content(tmp_path / name) for name in ("model", "model.1")] == ["new", "old"]


@pytest.mark.parametrize("number", [errno.ENOTEMPTY, errno.EEXIST, errno.ENOENT, errno.EACCES])
def test_what_another_run_does_meanwhile_is_no_error(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has taken the free number, or moved what was there; a folder that may not be moved is an error."""
    place, rename = folder(tmp_path / "model", "old"), Path.rename

    def rival(path: Path, target: Path) -> Path:
        monkeypatch.undo()
        if number == errno.ENOENT:
            rename(path, target)
        else:
            folder(target, "other")
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Path, "rename", rival)
    if number == errno.EACCES:
        with pytest.raises(PermissionError):
            make_room(place)
        return
    moved = number == errno.ENOENT
    assert make_room(place) == (None if moved else tmp_path / "model.2")
    assert not place.exists()
    assert content(tmp_path / ("model.1" if moved else "model.2")) == "old"


def test_a_folder_that_becomes_another_while_it_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "model"
    publish(folder(tmp_path / "run", "new"), place)

    def replaced(path: Path) -> None:
        monkeypatch.undo()
        raise OSError("Cannot call rmtree on a symbolic link")  # shutil's words for it, without errno

    monkeypatch.setattr(shutil, "rmtree", replaced)
    assert make_room(place) is None
    assert not place.exists()


def publish_together(run: Path, place: Path, together: Barrier, rounds: int) -> None:
    for number in range(rounds):
        together.wait(20)
        publish(run, place.with_name(f"model_{number}"))


def test_runs_publish_at_the_same_moment(tmp_path: Path) -> None:
    rounds = 30
    runs = [folder(tmp_path / name, name) for name in ("one", "other", "third", "fourth")]
    for number in range(rounds):
        folder(tmp_path / "root" / f"model_{number}", "old")
    context = multiprocessing.get_context("fork")
    together = context.Barrier(4)
    arguments = [(run, tmp_path / "root" / "model", together, rounds) for run in runs]
    processes = [context.Process(target=publish_together, args=each) for each in arguments]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * 4
    for number in range(rounds):
        assert content(tmp_path / "root" / f"model_{number}") in ("one", "other", "third", "fourth")
        assert content(tmp_path / "root" / f"model_{number}.1") == "old"


def test_what_a_user_has_put_there_is_renamed(tmp_path: Path) -> None:
    run, place = folder(tmp_path / "run", "new"), folder(tmp_path / "model", "theirs")
    (tmp_path / "model.1").write_text("taken")
    assert publish(run, place) == tmp_path / "model.2"
    assert (content(place), content(tmp_path / "model.2")) == ("new", "theirs")
    link = tmp_path / "link"
    link.symlink_to("model.2")
    assert make_room(link) == tmp_path / "link.1"
    assert content(tmp_path / "link.1") == "theirs"


def test_files_and_links_are_renamed_wherever_their_content_is(tmp_path: Path) -> None:
    """Of a folder whose files are all elsewhere, too, only the folder itself may be removed."""
    run, place = folder(tmp_path / "run", "a"), tmp_path / "place"
    publish(run, tmp_path / "model")
    place.symlink_to("model")
    assert make_room(place) == tmp_path / "place.1"
    assert content(tmp_path / "model") == "a"
    place.write_text("a file")
    assert make_room(place) == tmp_path / "place.2"
    place.mkdir()
    (place / "weights").symlink_to(run / "unet" / "weights")  # a link that is nowhere else
    assert make_room(place) == tmp_path / "place.3"


def test_the_folder_above_is_made_and_what_a_killed_process_left_there_is_removed(tmp_path: Path) -> None:
    run, above = folder(tmp_path / "run", "a"), tmp_path / "new" / "folder"
    publish(run, above / "model")
    with subprocess.Popen(["true"]) as process:
        pass
    (above / f".model.{socket.gethostname()}-{process.pid}.partial").mkdir()
    publish(run, above / "model")
    assert [path.name for path in above.iterdir()] == ["model"]
    assert content(above / "model") == "a"


def test_a_place_that_may_not_be_taken_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, target: Path) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(target))

    run = folder(tmp_path / "run", "a")
    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(PermissionError, match="model"):
        publish(run, tmp_path / "model")
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_a_folder_is_not_published_onto_itself(tmp_path: Path) -> None:
    run = folder(tmp_path / "model", "a")
    (tmp_path / "x").mkdir()
    assert publish(run, tmp_path / "x" / ".." / "model") is None
    assert content(run) == "a"


def test_an_interruption_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, place = folder(tmp_path / "run", "new"), folder(tmp_path / "model", "old")

    def stop(source: str, target: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "link", stop)
    with pytest.raises(KeyboardInterrupt):
        publish(run, place)
    assert content(place) == "old"
    assert {path.name for path in tmp_path.iterdir()} == {"run", "model"}


def test_a_file_that_is_about_to_be_replaced_is_copied_under_the_next_number(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    assert keep_copy(file) is None
    assert keep_copy(tmp_path) is None  # a folder
    copies = [tmp_path / f"config.yaml.{number}" for number in (1, 2, 3)]
    copies[1].write_text("theirs")
    for content, copy in (("a", copies[0]), ("b", copies[2])):
        file.write_text(content)
        assert keep_copy(file) == copy
        assert file.read_text() == content
    assert [copy.read_text() for copy in copies] == ["a", "theirs", "b"]

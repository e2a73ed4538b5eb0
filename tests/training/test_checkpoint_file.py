"""Checkpoints are written whole, and damaged ones are named."""

from __future__ import annotations

import os
import socket
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import fsspec
import pytest
import torch

from consistency_tta.runtime.errors import CheckpointError
from consistency_tta.training.checkpoint_file import (
    FORMAT,
    FORMAT_KEY,
    OPTIMIZED_KEY,
    AtomicCheckpointIO,
    check_finite_weights,
    check_formats,
    check_resumable,
    read_checkpoint,
)
from tests.recompressed import recompress

WHOLE = {
    "state_dict": {"weight": torch.ones(1000)},
    "pytorch-lightning_version": "2.6",
    "optimizer_states": [{}],
    "lr_schedulers": [{}],
    "loops": {"fit_loop": {}},
    "epoch": 0,
    "global_step": 0,
}
SCHEDULE = {"last_epoch": 3, "_step_count": 4, "base_lrs": [0.1]}
RIGHT = {"optimizer_states": [{"param_groups": [{"lr": 0.1}]}]}


def write(path: Path, content: Any) -> Path:
    AtomicCheckpointIO().save_checkpoint(content, path)
    return path


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    return write(tmp_path / "run" / "whole.ckpt", WHOLE)


def test_a_whole_checkpoint_is_read(whole: Path) -> None:
    assert torch.equal(check_resumable(whole)["state_dict"]["weight"], torch.ones(1000))
    assert [file.name for file in whole.parent.iterdir()] == ["whole.ckpt"]


@pytest.mark.parametrize("kind", ["cut", "empty", "page", "lfs", "tensor", "dict", "folder", "missing", "code"])
def test_a_damaged_checkpoint_is_named(kind: str, whole: Path, tmp_path: Path) -> None:
    file = tmp_path / f"{kind}.ckpt"
    if kind == "folder":
        file.mkdir()
    elif kind in ("tensor", "dict", "code"):
        content = {"tensor": torch.ones(2), "dict": {"state_dict": {}}, "code": WHOLE | {"hyper_parameters": os.system}}
        torch.save(content[kind], file)
    elif kind != "missing":
        content = {
            "cut": whole.read_bytes()[:2000],
            "empty": b"",
            "page": b"<!DOCTYPE html>",
            "lfs": b"version https://git-lfs.github.com/spec/v1\n",
        }
        file.write_bytes(content[kind])
    with pytest.raises(CheckpointError, match=rf"{kind}\.ckpt"):
        read_checkpoint(file)


class Code:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.folder),)


def test_code_in_a_checkpoint_is_not_run(tmp_path: Path) -> None:
    torch.save(WHOLE | {"callbacks": Code(tmp_path / "ran")}, tmp_path / "code.ckpt")
    with pytest.raises(CheckpointError, match=r"code\.ckpt"):
        read_checkpoint(tmp_path / "code.ckpt")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("reader", [(zipfile, "ZipFile"), (torch, "load")], ids=lambda reader: reader[1])
def test_a_disk_that_cannot_be_read_is_no_damaged_file(
    reader: tuple[Any, str], whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(*reader, fail)
    with pytest.raises(OSError, match="Input/output error"):
        read_checkpoint(whole)


@pytest.mark.parametrize("place", [47, 55])
def test_an_archive_whose_directory_is_nowhere_is_damaged(place: int, whole: Path) -> None:
    """The highest bits of how long the list of members is, and of where; a seek there is an error of the system."""
    content = bytearray(whole.read_bytes())
    content[content.rindex(b"PK\x06\x06") + place] ^= 0x80
    whole.write_bytes(content)
    with pytest.raises(CheckpointError, match="cut off"):
        read_checkpoint(whole)


def test_weights_that_are_not_finite_are_named() -> None:
    check_finite_weights({"whole": torch.ones(2), "_extra_state": {"count": 3}}, "a.ckpt")
    for value in (float("nan"), float("inf")):
        with pytest.raises(CheckpointError, match=r"a\.ckpt.*torn"):
            check_finite_weights({"whole": torch.ones(2), "torn": torch.tensor([1.0, value])}, "a.ckpt")


def test_a_checkpoint_may_be_written_to_an_address(tmp_path: Path) -> None:
    """By Lightning and fsspec, for storage of others; here in memory."""
    AtomicCheckpointIO().save_checkpoint(WHOLE, f"memory:/{tmp_path}/a.ckpt")
    with fsspec.open(f"memory:/{tmp_path}/a.ckpt") as stream:
        assert torch.load(stream, weights_only=True).keys() == WHOLE.keys()


def test_an_address_is_not_opened() -> None:
    with pytest.raises(CheckpointError, match=r"http://127\.0\.0\.1:9/a\.ckpt"):
        AtomicCheckpointIO().load_checkpoint("http://127.0.0.1:9/a.ckpt")
    with pytest.raises(CheckpointError, match="download"):
        read_checkpoint(Path("http://127.0.0.1:9/a.ckpt"))


def test_a_failed_write_leaves_the_old_file(whole: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(checkpoint: Any, stream: Any) -> None:
        stream.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    for name, file_there in (("whole", "is kept"), ("another", "no such file")):
        with pytest.raises(CheckpointError, match=rf"{name}\.ckpt.*{file_there}"):
            AtomicCheckpointIO().save_checkpoint({}, whole.with_stem(name))
    assert [file.name for file in whole.parent.iterdir()] == ["whole.ckpt"]
    check_resumable(whole)


def test_the_rename_is_on_the_disk_before_the_training_goes_on(whole: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synchronised: list[tuple[Path, int]] = []

    def synchronise(number: int) -> None:
        place = Path(f"/proc/self/fd/{number}").readlink()
        synchronised.append((place, os.fstat(number).st_size))
        if place.is_dir():
            raise OSError(22, "Invalid argument")  # as some network file systems do

    monkeypatch.setattr(os, "fsync", synchronise)
    opened = len(list(Path("/proc/self/fd").iterdir()))
    write(whole, WHOLE)
    (file, size), (folder, _) = synchronised
    assert (file.suffix, folder) == (".partial", whole.parent)
    assert size == whole.stat().st_size
    assert len(list(Path("/proc/self/fd").iterdir())) == opened


def test_a_changed_byte_is_found(whole: Path) -> None:
    content = bytearray(whole.read_bytes())
    content[content.index(torch.ones(1000).numpy().tobytes()) + 1] ^= 1
    file = whole.with_name("changed.ckpt")
    file.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"changed\.ckpt"):
        read_checkpoint(file)


@pytest.mark.parametrize(
    "change",
    [
        {"state_dict": [torch.ones(1)]},
        {"state_dict": {"weight": "text"}},
        {"state_dict": {3: torch.ones(1)}},
        {"hyper_parameters": 5},
        {"hyper_parameters": {"_class_path": []}},
        {"loops": []},
        {"facts_for_the_card": "text"},
        {"callbacks": {"ModelCheckpoint": "text"}},
        {"optimizer_states": {}},
        {"global_step": "7"},
        {FORMAT_KEY: FORMAT + 1},
        {FORMAT_KEY: "new"},
    ],
    ids=str,
)
def test_content_of_a_wrong_kind_is_named(change: dict[str, Any], tmp_path: Path) -> None:
    file = write(tmp_path / "odd.ckpt", WHOLE | change)
    with pytest.raises(CheckpointError, match=r"odd\.ckpt"):
        read_checkpoint(file)


def left_by_a_killed_process(folder: Path) -> Path:
    """A file that it had not finished."""
    with subprocess.Popen(["true"]) as ended:
        pass
    left = folder / f".last.ckpt.{socket.gethostname()}-{ended.pid}.partial"
    left.write_bytes(b"half")
    return left


def test_another_trainings_files_are_named_and_not_removed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    one, other = AtomicCheckpointIO(), AtomicCheckpointIO()
    last, best = tmp_path / "last.ckpt", tmp_path / "best.ckpt"
    for writer in (one, one, other):  # of one's own a run may write anew
        assert caplog.text == ""
        for file in (last, best):
            writer.save_checkpoint(WHOLE, file)
    one.save_checkpoint(WHOLE, last)
    assert str(last) in caplog.text
    one.remove_checkpoint(best)
    assert best.is_file()
    other.remove_checkpoint(best)
    assert not best.exists()


def test_what_a_killed_process_left_is_removed(whole: Path) -> None:
    left_by_a_killed_process(whole.parent)
    write(whole.with_name("next.ckpt"), WHOLE)
    assert {file.name for file in whole.parent.iterdir()} == {"whole.ckpt", "next.ckpt"}


@pytest.mark.parametrize("key", ["optimizer_states", "lr_schedulers", "loops", "global_step"])
@pytest.mark.parametrize("empty", [True, False])
def test_no_run_goes_on_from_weights_alone(key: str, empty: bool, tmp_path: Path) -> None:
    content = {name: value for name, value in WHOLE.items() if name != key}
    file = write(
        tmp_path / "weights.ckpt", content | ({key: type(WHOLE[key])()} if empty and key != "global_step" else {})
    )
    assert "weight" in read_checkpoint(file)["state_dict"]
    with pytest.raises(CheckpointError, match=rf"weights\.ckpt.*{key}"):
        check_resumable(file)


def test_no_run_goes_on_without_the_optimizers_values(tmp_path: Path) -> None:
    file = write(tmp_path / "empty.ckpt", WHOLE | {"global_step": 1, "optimizer_states": [{"state": {}}]})
    with pytest.raises(CheckpointError, match=r"empty\.ckpt.*1"):
        check_resumable(file)
    values = [{"state": {0: {"exp_avg": torch.ones(2)}}}]
    check_resumable(write(tmp_path / "whole.ckpt", WHOLE | {"global_step": 3, "optimizer_states": values}))


@pytest.mark.parametrize(
    "change",
    [
        {"lr_schedulers": [SCHEDULE | {"last_epoch": "3"}]},
        {"lr_schedulers": [{"_step_count": 4, "base_lrs": [0.1]}]},
        {"lr_schedulers": [SCHEDULE | {"_step_count": None}]},
        {"lr_schedulers": [SCHEDULE | {"base_lrs": [float("nan")]}]},
        {"lr_schedulers": [SCHEDULE | {"base_lrs": []}]},
        {"lr_schedulers": ["text"]},
        {"optimizer_states": [5]},
        {"optimizer_states": [{"state": {0: {"step": 1}}}], OPTIMIZED_KEY: [2]},
        {"optimizer_states": [{"state": {0: []}}]},
        {"optimizer_states": [{"state": {0: {"step": torch.tensor(-1.0)}}}]},
        {"optimizer_states": [{"param_groups": [{"lr": "text"}]}]},
        {"optimizer_states": [{"param_groups": [{"lr": float("inf")}]}]},
        {"optimizer_states": [{"param_groups": [{"lr": torch.ones(2)}]}]},
        {"optimizer_states": [{"param_groups": [{"lr": 0.1, "betas": None}]}]},
        {"optimizer_states": [{"param_groups": [{"lr": 0.1, "betas": []}]}]},
        {"optimizer_states": [{"param_groups": [{"lr": 0.1, "betas": [0.9]}]}]},
        {"optimizer_states": [{"param_groups": [{"lr": 0.1, "betas": (0.9, 1.0)}]}]},
        {"position": {"step": 0, "epoch": 0, "batch": 7, "total_batches": 0}},
    ],
    ids=str,
)
def test_no_run_goes_on_with_rates_or_steps_that_are_no_numbers(change: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"odd\.ckpt"):
        check_resumable(write(tmp_path / "odd.ckpt", WHOLE | RIGHT | change))


@pytest.mark.parametrize("schedule", [SCHEDULE, {"_schedulers": [SCHEDULE], "_last_lr": [0.1]}], ids=str)
@pytest.mark.parametrize("rate", [0.1, torch.tensor(0.1)])
def test_a_run_goes_on_with_rates_that_are_numbers(schedule: dict[str, Any], rate: Any, tmp_path: Path) -> None:
    groups = [{"lr": rate, "betas": (0.0, 0.999)}]
    right = {"lr_schedulers": [schedule], "optimizer_states": [{"param_groups": groups}]}
    check_resumable(write(tmp_path / "right.ckpt", WHOLE | right))


def test_weights_that_would_be_rounded_are_named() -> None:
    own = {"weight": torch.ones(2), "count": torch.ones(1).long(), "_extra_state": 1}
    check_formats(own | {"weight": torch.ones(2).half(), "more": torch.ones(2)}, own)
    for name, value in {"weight": torch.ones(2).long(), "count": torch.ones(1)}.items():
        with pytest.raises(CheckpointError, match=name):
            check_formats(own | {name: value}, own)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_that_were_rounded_are_named_where_a_run_goes_on(dtype: torch.dtype) -> None:
    own = {"weight": torch.ones(2), "count": torch.ones(1).long(), "_extra_state": 1}
    check_formats(own | {"count": torch.ones(1).int()}, own, exact=True)
    with pytest.raises(CheckpointError, match=f"weight, got {dtype}"):
        check_formats(own | {"weight": own["weight"].to(dtype)}, own, exact=True)


def test_a_compressed_checkpoint_is_named_of_which_torch_would_read_other_values(whole: Path) -> None:
    compressed = recompress(whole, whole.with_name("compressed.ckpt"))
    for reader in (read_checkpoint, check_resumable):
        with pytest.raises(CheckpointError, match=r"compressed\.ckpt was compressed"):
            reader(compressed)
    check_resumable(recompress(whole, whole.with_name("anew.ckpt"), zipfile.ZIP_STORED))

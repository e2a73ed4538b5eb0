"""Processes of ``encode`` that are killed while they write, and the same command again: no clip is lost or doubled."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
from pathlib import Path
from typing import Any, Literal
from unittest import mock

import pytest
import torch

from consistency_tta.datamodules import SyntheticDataModule
from consistency_tta.encode import encode
from tests.toys import NUM_SAMPLES

#: Writes of a whole run: the manifest, and of each of four shards one file or two.
WRITES = {"safetensors": 9, "parquet": 5}
FORK = multiprocessing.get_context("fork")  # a process of its own, without seconds of imports


def encode_clips(model: Path, output: Path, file_format: Literal["safetensors", "parquet"]) -> None:
    data = SyntheticDataModule(num_clips=7, batch_size=2, num_samples=NUM_SAMPLES)
    encode(data, str(model), output, copies=2, text_embeddings=True, shard_size=4, format=file_format, device="cpu")


def encode_until(writes: int, *arguments: Any) -> None:
    """Encode in this process, which dies within the given write, with half of the bytes written."""
    write, left = Path.write_bytes, [writes]

    def dying(path: Path, content: bytes) -> int:
        left[0] -= 1
        if left[0]:
            return write(path, content)
        write(path, content[: len(content) // 2])
        os.kill(os.getpid(), signal.SIGKILL)
        return 0

    torch.set_num_threads(1)
    with mock.patch.object(Path, "write_bytes", dying):
        encode_clips(*arguments)


def contents(folder: Path) -> dict[str, Any]:
    files: dict[str, Any] = {file.name: file.read_bytes() for file in folder.iterdir()}
    files["encoding.json"] = json.loads(files["encoding.json"]) | {"begun": None}
    return files


@pytest.mark.parametrize("file_format", WRITES)
def test_a_run_that_is_killed_in_any_write_is_completed(file_format: str, teacher_folder: Path, tmp_path: Path) -> None:
    encode_clips(teacher_folder, tmp_path / "straight", file_format)  # type: ignore[arg-type]
    assert len(contents(tmp_path / "straight")) == WRITES[file_format]
    torn = set()
    for writes in range(1, WRITES[file_format] + 1):
        killed = tmp_path / str(writes)
        process = FORK.Process(target=encode_until, args=(writes, teacher_folder, killed, file_format))
        process.start()
        process.join()
        assert process.exitcode == -signal.SIGKILL
        (left,) = killed.glob(".*.partial")
        torn.add(left.name.split(".")[1])
        encode_clips(teacher_folder, killed, file_format)  # type: ignore[arg-type]
        assert contents(killed) == contents(tmp_path / "straight")
    assert torn == {file.stem for file in (tmp_path / "straight").iterdir()}

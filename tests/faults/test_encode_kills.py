"""The command ``encode``, killed by SIGKILL while its processes work, and given again; by ``make test-faults``."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from consistency_tta.datamodules import SyntheticDataModule
from consistency_tta.encode import encode
from tests.encoding.test_kills import contents
from tests.toys import NUM_SAMPLES

#: Seconds for what takes a few on idle cores.
LIMIT = 900
SHARDS = 100


def wait_for(state: str, reached: Callable[[], bool]) -> None:
    end = time.monotonic() + LIMIT
    while not reached():
        assert time.monotonic() < end, f"expected {state} within {LIMIT} s"
        time.sleep(0.02)


@pytest.mark.parametrize("file_format", ["safetensors", "parquet"])
def test_the_command_goes_on_after_its_processes_were_killed(
    file_format: str, teacher_folder: Path, tmp_path: Path
) -> None:
    def encode_here(output: Path) -> None:
        data = SyntheticDataModule(num_clips=4 * SHARDS, batch_size=4, num_samples=NUM_SAMPLES)
        encode(data, str(teacher_folder), output, shard_size=4, format=file_format, device="cpu")  # type: ignore[arg-type]

    straight, killed = tmp_path / "straight", tmp_path / "killed"
    encode_here(straight)
    data = ["--data", "SyntheticDataModule", "--data.num_clips", str(4 * SHARDS), "--data.batch_size", "4"]
    shards = ["--data.num_samples", str(NUM_SAMPLES), "--shard_size", "4", "--format", file_format]
    places = ["--model", str(teacher_folder), "--output", str(killed), "--device", "cpu", "--devices", "2"]
    command = subprocess.Popen([sys.executable, "-m", "consistency_tta", "encode", *places, *data, *shards])
    try:
        wait_for("three shards", lambda: len(list(killed.glob("latents-*"))) >= 3)
        processes = Path(f"/proc/{command.pid}/task/{command.pid}/children").read_text().split()
    finally:
        command.kill()
        command.wait()
    wait_for("an end of its processes", lambda: not any(Path(f"/proc/{process}").exists() for process in processes))
    assert 3 <= len(list(killed.glob("latents-*"))) < SHARDS
    encode_here(killed)
    assert contents(killed) == contents(straight)

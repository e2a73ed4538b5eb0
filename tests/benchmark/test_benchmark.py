"""The benchmark: tasks take turns, parts add up, numbers are in the file and the table."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from consistency_tta.benchmark.command import benchmark
from consistency_tta.benchmark.parts import operations
from consistency_tta.benchmark.peaks import activation_bytes, peak_tasks
from consistency_tta.benchmark.timing import interleave
from consistency_tta.components.packed_layers import PackedConv2d, PackedLinear
from consistency_tta.runtime.allocator import keep_freed_memory
from consistency_tta.runtime.errors import ConfigurationError

CPU = torch.device("cpu")


def test_tasks_take_turns_and_the_first_round_does_not_count() -> None:
    calls: list[str] = []
    times = interleave({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, 2, CPU)
    assert "".join(calls) == "ababab"
    assert all(time.wall_seconds >= 0 and time.seconds(CPU) == time.cpu_seconds for time in times.values())


@torch.inference_mode()
def test_packed_layers_have_the_operations_of_those_in_whose_place_they_are() -> None:
    linear, conv = nn.Linear(16, 16), nn.Conv2d(6, 8, 3, padding=1)
    vectors, pictures, added = torch.randn(16, 16), torch.randn(2, 6, 5, 4), torch.randn(2, 8, 5, 4)
    assert operations(lambda: PackedLinear(linear)(vectors)) == operations(lambda: linear(vectors))
    expected = operations(lambda: conv(pictures))
    assert operations(lambda: PackedConv2d(conv)(pictures)) == expected
    assert operations(lambda: PackedConv2d(conv)(pictures, added=added)) == expected


def test_peaks_have_the_operations_that_torch_counts() -> None:
    for task, count in peak_tasks(torch.float32, CPU, size=64).values():
        assert operations(task) == count


def test_activations_are_the_memory_that_is_held_at_once() -> None:
    keep_freed_memory()
    for _ in range(2):  # what the first time frees is kept, and counts the second time all the same
        measured = activation_bytes(lambda: torch.ones(24 << 20, dtype=torch.uint8), CPU)
    assert measured is None or measured == pytest.approx(24 << 20, rel=0.1)


def test_a_model_by_part(teacher_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "new" / "benchmark.json"
    result = benchmark(str(teacher_folder), file, batch_size=2, rounds=1, queries=10, device="cpu", training_steps=2)
    assert json.loads(file.read_text()) == result
    for numbers in result["dtypes"].values():
        assert list(numbers["operations"]) == ["text", "denoise", "decoder", "vocoder"]
        assert all(count > 0 for count in numbers["operations"].values())
        assert numbers["many_queries"]["denoise"] >= numbers["many_queries"]["sound"] >= 1
        assert numbers["sounds_per_second"] > 0
    weights = [numbers["weight_bytes"] for numbers in result["dtypes"].values()]
    assert weights[0] > 1.5 * weights[1]
    table = capsys.readouterr().out
    assert "denoise" in table
    assert "bfloat16 ratio" in table
    assert [*result["training"]] == ["float32", "bfloat16"]
    for numbers in result["training"].values():
        seconds = dict(numbers["seconds"])
        step = seconds.pop("step")
        assert seconds.keys() == {"data", "rest", "teacher", "target", "student", "backward", "optimizer"}
        assert 0.5 * step < sum(seconds.values()) < 2 * step  # medians, each for itself
        assert numbers["clips_per_second"] == pytest.approx(2 / step)
        assert numbers["data_headroom"] > 1
    assert "clips/s" in table


def test_counts_below_one_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="rounds=0"):
        benchmark("tiny-student", rounds=0)
    with pytest.raises(ConfigurationError, match="-1"):
        benchmark("tiny-student", training_steps=-1)

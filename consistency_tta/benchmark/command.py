"""The command ``benchmark``."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from consistency_tta.benchmark.parts import SEVERAL, GenerationParts, operations
from consistency_tta.benchmark.peaks import activation_bytes, peak_tasks
from consistency_tta.benchmark.table import report
from consistency_tta.benchmark.timing import Timing, interleave
from consistency_tta.pipeline.inference import load_for_generation, prepare_for_generation
from consistency_tta.runtime.device import best_device
from consistency_tta.runtime.errors import ConfigurationError

PARTS = ("text", "denoise", "decoder", "vocoder")


def benchmark(
    model: str,
    output: Path | None = None,
    dtypes: list[str] = ["float32", "bfloat16"],  # noqa: B006  # read only
    batch_size: int = 8,
    rounds: int = 5,
    queries: int = 400,
    caption: str = "A dog barks in the rain",
    device: str | None = None,
    training_steps: int = 0,
) -> dict[str, Any]:
    """Measure how fast a model generates, part by part, in one run in which all number formats take turns.

    Seconds are CPU seconds of all threads on a CPU, and seconds that passed on other devices; medians over the rounds.
    ``peak`` compares with a matrix product and a convolution that were timed in the same rounds.

    Args:
        model: model folder, bundled name or hub id.
        output: JSON file for all numbers; they are only printed if not given.
        dtypes: number formats to compare; ratios are against the first.
        batch_size: sounds of the batch whose sounds per second are measured.
        rounds: of all tasks; one more goes before and does not count.
        queries: how many are compared with one. The time of a further query is measured, and multiplied.
        caption: of the sound.
        device: such as cuda or cpu; the best available if not given.
        training_steps: of stage 2 with the model, a diffusion teacher, as its teacher: so many in each round are timed
            by part, with ``batch_size`` clips each. 0 leaves training out.

    Returns:
        What the JSON file has.
    """
    if rounds < 1 or batch_size < 1 or queries < 1 or not dtypes or training_steps < 0:
        raise ConfigurationError(
            f"expected at least one round, sound, query and dtype, got rounds={rounds}, batch_size={batch_size}, "
            f"queries={queries} and dtypes={dtypes}; and training_steps of at least 0, got {training_steps}"
        )
    place = best_device(device)
    tasks: dict[str, Callable[[], Any]] = {}
    speeds: dict[str, float] = {}
    formats: dict[str, dict[str, Any]] = {}
    for dtype in dict.fromkeys(dtypes):
        pipeline = prepare_for_generation(load_for_generation(model, dtype, place))
        pipeline.set_progress_bar_config(disable=True)
        parts = GenerationParts(pipeline, caption, batch_size)
        own = parts.tasks()
        formats[dtype] = {
            "operations": {name: operations(own[name]) for name in PARTS if name in own},
            "weight_bytes": parts.weight_bytes(),
            "activation_bytes": activation_bytes(own["sound"], place),
            "sound_seconds": (num_samples := own["sound"]().shape[-1]) / parts.codec.sample_rate,
        }
        peaks = peak_tasks(pipeline.unet.dtype if pipeline.unet is not None else pipeline.dtype, place)
        speeds |= {f"{dtype} {name}": count for name, (_, count) in peaks.items()}
        tasks |= {f"{dtype} {name}": task for name, task in own.items()}
        tasks |= {f"{dtype} {name}": task for name, (task, _) in peaks.items()}
    times = interleave(tasks, rounds, place)
    result: dict[str, Any] = {
        "model": model,
        "device": str(place),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "rounds": rounds,
        "batch_size": batch_size,
        "queries": queries,
        "dtypes": {},
    }
    for dtype, facts in formats.items():
        own_times = {name.removeprefix(f"{dtype} "): time for name, time in times.items() if name.startswith(dtype)}
        result["dtypes"][dtype] = facts | _summary(own_times, dtype, speeds, facts, queries, batch_size, place)
    if training_steps:
        from consistency_tta.benchmark import training_steps as training  # loads Lightning
        from consistency_tta.datamodules import SyntheticDataModule

        clips = SyntheticDataModule(
            num_clips=batch_size,
            sample_rate=parts.codec.sample_rate,
            num_samples=num_samples,
            batch_size=batch_size,
            channels=parts.codec.channels,
        )
        result["training"] = training.training_steps(model, [*formats], training_steps, rounds, clips, place)
    print(report(result))
    if output is not None:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    return result


def _summary(
    times: dict[str, Timing],
    dtype: str,
    speeds: dict[str, float],
    facts: dict[str, Any],
    queries: int,
    batch_size: int,
    device: torch.device,
) -> dict[str, Any]:
    """The numbers of one format."""
    seconds = {name: time.seconds(device) for name, time in times.items()}
    peak = {name: speeds[f"{dtype} {name}"] / seconds[name] for name in ("matrix product", "convolution")}
    highest = max(peak.values())
    further = max(0.0, seconds["queries"] - seconds["denoise"]) / (SEVERAL - 1)
    many = seconds["denoise"] + (queries - 1) * further
    return {
        "times": {name: asdict(time) for name, time in times.items()},
        "seconds": seconds,
        "peak_operations_per_second": peak,
        "share_of_peak": {part: count / seconds[part] / highest for part, count in facts["operations"].items()},
        "sounds_per_second": batch_size / times["batch"].wall_seconds,
        "many_queries": {
            "denoise": many / seconds["denoise"],
            "sound": (seconds["sound"] + many - seconds["denoise"]) / seconds["sound"],
        },
    }

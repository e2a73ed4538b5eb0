"""Seconds and peak memory: steps of stage 2 by batch, with and without compilation; one query and 400."""

from __future__ import annotations

import platform
import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any

import torch
from lightning.pytorch import Callback

from consistency_tta import TextToAudioPipeline
from consistency_tta.contracts import Batch
from consistency_tta.runtime.device import best_device
from consistency_tta.training import CompileBlocks
from tools.gpu_check.runner import Row, Setting
from tools.gpu_check.trainings import fit, full, tiny

#: Steps of each batch, the first of which is not counted.
STEPS = 4
#: Batches; each is compiled anew, so only some of them are.
BATCHES, COMPILED_BATCHES = (1, 4, 9, 18), (4, 9)
GIB = 2**30


class StepTimes(Callback):
    """Wall seconds and peak memory of each step, which ends when the device has ended it; by batch."""

    def __init__(self) -> None:
        self.seconds: dict[int, list[float]] = {}
        self.peaks: dict[int, int] = {}

    def on_train_batch_start(self, trainer: Any, module: Any, batch: Batch, batch_idx: int) -> None:
        """Begin."""
        if torch.cuda.is_available():
            torch.cuda.synchronize()
            torch.cuda.reset_peak_memory_stats()
        self.started = time.perf_counter()

    def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Batch, batch_idx: int) -> None:
        """End."""
        if torch.cuda.is_available():
            torch.cuda.synchronize()
            self.peaks[len(batch)] = torch.cuda.max_memory_allocated()
        self.seconds.setdefault(len(batch), []).append(time.perf_counter() - self.started)


def machine(setting: Setting) -> Iterator[Row]:
    """Names and versions that the numbers belong to."""
    device = best_device(setting.device)  # an error for one that is not there
    card = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or device.type
    versions = {"python": platform.python_version(), "torch": torch.__version__, "card": card}
    yield Row("machine", ", ".join(f"{name} {version}" for name, version in versions.items()), numbers=versions)


def step_time(setting: Setting) -> Iterator[Row]:
    """Steps of the recipe of stage 2 as they are."""
    yield from _timed(setting, (1,) if setting.quick else BATCHES, "", [])


def compiled_step_time(setting: Setting) -> Iterator[Row]:
    """The same with compiled blocks."""
    if setting.quick:
        torch.compiler.set_stance("force_eager")  # generating code takes longer than all else
    yield from _timed(setting, (1,) if setting.quick else COMPILED_BATCHES, ", compiled", [CompileBlocks()])
    torch.compiler.set_stance("default")


def _timed(setting: Setting, batches: Sequence[int], suffix: str, callbacks: list[Callback]) -> Iterator[Row]:
    """A row for each batch; from the first that does not fit on, they say so."""
    stage = "guidance" if setting.quick else "consistency"
    training = full(stage, setting.device) if setting.full else tiny(stage)
    steps, times = 2 if setting.quick else STEPS, StepTimes()
    examples = [training.batch(rows) for rows in batches for _ in range(steps)]
    with suppress(torch.OutOfMemoryError):
        fit(training, examples, len(examples), setting, precision="bf16-mixed", callbacks=[times, *callbacks])
    for rows in batches:
        name = f"step, {'full' if setting.full else 'tiny'} size, batch {rows}{suffix}"
        seconds = times.seconds.get(rows, [])
        if len(seconds) < steps:
            yield Row(name, "does not fit")
            continue
        median, peak = statistics.median(seconds[1:]), times.peaks.get(rows)
        text = f"{median:.3f} s, {rows / median:.1f} clips/s, first step {seconds[0]:.1f} s"
        numbers = {"batch": rows, "seconds": median, "first": seconds[0], "peak": peak}
        yield Row(name, text + (f", {peak / GIB:.1f} GiB" if peak else ""), numbers=numbers)


def queries(setting: Setting) -> Iterator[Row]:
    """One query of a student against the 400 of its teacher, one sound at a time."""
    one = _generation_time(_pipeline("consistency", "tiny-student", setting), 1, setting)
    yield _row(one)
    many = _generation_time(_pipeline("teacher", "tiny-teacher", setting), 2 if setting.quick else 200, setting)
    yield _row(many)
    ratios = {part: many[part] / one[part] for part in ("latents", "whole")}
    yield Row("ratio", f"latents {ratios['latents']:.0f}, whole sound {ratios['whole']:.0f}", numbers=ratios)


def _pipeline(stage: str, bundled: str, setting: Setting) -> TextToAudioPipeline:
    """A model on the device: of full size in bfloat16, or bundled."""
    if setting.full:
        return full(stage, setting.device).module.pipeline().to(setting.device, torch.bfloat16)
    return TextToAudioPipeline.from_pretrained(bundled).to(setting.device)


@torch.no_grad()
def _generation_time(pipeline: TextToAudioPipeline, steps: int, setting: Setting) -> dict[str, Any]:
    """The fastest of some calls, the first of which is not counted; teachers take two queries a step."""
    calls = []
    for _ in range(1 if setting.quick else 2 if steps > 1 else 6):
        output = pipeline("A dog barks while rain is falling", num_inference_steps=steps)
        calls.append(output.seconds | {"whole": sum(output.seconds.values()), "queries": output.queries})
    return min(calls[1:] or calls, key=lambda call: call["whole"])


def _row(call: dict[str, Any]) -> Row:
    parts = ", ".join(f"{part} {1000 * call[part]:.0f} ms" for part in ("latents", "decoders", "whole"))
    return Row(f"sound, {call['queries']} quer{'y' if call['queries'] == 1 else 'ies'}", parts, numbers=call)

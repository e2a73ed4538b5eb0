"""What the teacher makes in the demo, so that the whole takes about as long as it may: measured by trial steps."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import timedelta
from math import ceil
from typing import Any

from consistency_tta.pipeline import TextToAudioPipeline
from consistency_tta.runtime.device import best_device

#: Shares of the demo's time: the training, and the teacher before and after it. What is left loads and scores.
TRAINING, SAMPLES, REPORT = 0.5, 0.2, 0.2
#: The fewest solver steps, however long they take: of the samples to learn from, and of the report's sounds.
LEAST_SAMPLE_STEPS, LEAST_REPORT_STEPS = 10, 50
#: Solver steps of a trial.
TRIAL_STEPS = 2
#: Samples that the recipe's source makes at a time.
BATCH = 16
#: Captions of a trial of threads: more than the one of the report's sounds, and fewer than a training step's.
FEW = 4


def seconds_per_step(teacher: TextToAudioPipeline, captions: Sequence[str]) -> float:
    """Seconds of a guided solver step for the sounds of some captions together."""
    started = time.perf_counter()
    teacher.sample(captions, num_inference_steps=TRIAL_STEPS)
    return (time.perf_counter() - started) / TRIAL_STEPS


def affordable(
    seconds: float, step_seconds: float, steps: int, repeats: int, least_steps: int, least_repeats: int
) -> tuple[int, int]:
    """Steps, and repeats of them, for which some seconds suffice: first fewer steps, then fewer repeats.

    Args:
        seconds: that all may take.
        step_seconds: of one step of one repeat.
        steps, repeats: how many there are at most.
        least_steps, least_repeats: how many there are at least, however long they take.
    """
    possible = seconds / step_seconds
    steps = max(least_steps, min(steps, int(possible / repeats)))
    return steps, max(least_repeats, min(repeats, int(possible / steps)))


def training_time(seconds: float) -> str:
    """The training's share of the demo's seconds, as ``trainer.max_time`` has it: days:hours:minutes:seconds."""
    share = timedelta(seconds=max(1, round(TRAINING * seconds)))
    minutes, rest = divmod(share.seconds, 60)
    return f"{share.days:02}:{minutes // 60:02}:{minutes % 60:02}:{rest:02}"


def limit_samples(
    seconds: float, teacher: TextToAudioPipeline, captions: Sequence[str], data: dict[str, Any]
) -> tuple[list[str], str]:
    """Fewer samples to learn from, if the demo's seconds do not suffice for all.

    Args:
        seconds: of the whole demo.
        teacher: makes the samples, on the best device.
        captions: of each copy.
        data: ``init_args`` of the recipe's datamodule.

    Returns:
        Arguments of ``fit``, and what was cut, both empty if nothing.
    """
    steps, copies = data["source"]["init_args"]["num_inference_steps"], data["copies"]
    batch = captions[:BATCH]
    step = seconds_per_step(teacher.to(best_device()), batch) * len(captions) / len(batch)
    teacher.to("cpu")
    fewer, made = affordable(
        SAMPLES * seconds, step, steps, copies, LEAST_SAMPLE_STEPS, ceil(data["batch_size"] / len(captions))
    )
    if (fewer, made) == (steps, copies):
        return [], ""
    arguments = ["--data.source.num_inference_steps", str(fewer), "--data.copies", str(made)]
    return (
        arguments,
        f"{made} instead of {copies} samples for each caption to learn from, {fewer} instead of {steps} steps each",
    )


def limit_report(
    seconds: float, teacher: TextToAudioPipeline, captions: Sequence[str], steps: int, least_steps: int
) -> tuple[int, int, str]:
    """The teacher's solver steps in the report, the number of captions there, and what was cut, if anything."""
    step = seconds_per_step(teacher, captions[:1])
    fewer, shown = affordable(REPORT * seconds, step, steps, len(captions), least_steps, 2)
    cut = f"{shown} instead of {len(captions)} captions in the report, {fewer} instead of {steps} steps of the teacher"
    return fewer, shown, "" if (fewer, shown) == (steps, len(captions)) else cut

"""A training step by part: stage 2 with a model as its teacher, in each number format."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import torch
from lightning.pytorch import Callback, Trainer

from consistency_tta.benchmark.peaks import activation_bytes
from consistency_tta.datamodules import SyntheticDataModule
from consistency_tta.losses import LatentL2Loss
from consistency_tta.training import ConsistencyDistillation, Distillation, TimeStepParts

#: Lightning's names of number formats.
PRECISIONS = {"float32": "32-true", "bfloat16": "bf16-mixed", "float16": "16-mixed"}


def training_steps(
    model: str, dtypes: Sequence[str], steps: int, rounds: int, data: SyntheticDataModule, device: torch.device
) -> dict[str, dict[str, Any]]:
    """Distil a model by ``ConsistencyDistillation`` for a few steps, all number formats in turns.

    Args:
        model: a diffusion teacher: model folder, bundled name or hub id.
        dtypes: of :data:`PRECISIONS`.
        steps: that count, in each round; one more goes before.
        rounds: that count; one more goes before, in which memory is measured.
        data: batches of waveforms.
        device: where it is trained.

    Returns:
        By format: ``seconds`` of each part and of the ``step`` (medians; see ``TimeStepParts``), ``clips_per_second``,
        ``data_headroom`` (how many times faster than the step the data are) and ``step_bytes``, what the training takes
        beyond its networks; None where the system does not report it.
    """
    runs = {
        dtype: Distillation(model, ConsistencyDistillation(), {"latent": LatentL2Loss()}, seed=0) for dtype in dtypes
    }
    timers = {dtype: TimeStepParts() for dtype in dtypes}
    peaks: dict[str, int | None] = {}
    with TemporaryDirectory() as folder, _quiet():
        for turn in range(rounds + 1):
            for dtype, module in runs.items():
                timer = timers[dtype]
                timer.skip = 1
                trainer = _trainer(Path(folder), PRECISIONS[dtype], steps + 1, [timer] if turn else [], device)
                if turn:
                    trainer.fit(module, data)
                else:
                    peaks[dtype] = activation_bytes(lambda: trainer.fit(module, data), device)  # noqa: B023  # at once
    return {dtype: _summary(timer, data.batch_size) | {"step_bytes": peaks[dtype]} for dtype, timer in timers.items()}


def _summary(timer: TimeStepParts, batch_size: int) -> dict[str, Any]:
    seconds = {name: median(values) for name, values in timer.seconds.items()}
    return {
        "seconds": seconds,
        "clips_per_second": batch_size / seconds["step"],
        "data_headroom": seconds["step"] / seconds["data"] if seconds["data"] else None,
    }


def _trainer(folder: Path, precision: Any, steps: int, callbacks: list[Callback], device: torch.device) -> Trainer:
    return Trainer(
        accelerator="gpu" if device.type == "cuda" else device.type,
        devices=1,
        precision=precision,
        max_steps=steps,
        callbacks=callbacks,
        default_root_dir=folder,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        limit_val_batches=0,
        num_sanity_val_steps=0,
    )


@contextmanager
def _quiet() -> Iterator[None]:
    """Lightning says what it finds and misses at each of the fits."""
    lightning = logging.getLogger("lightning.pytorch")
    level = lightning.level
    lightning.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="lightning")
            yield
    finally:
        lightning.setLevel(level)

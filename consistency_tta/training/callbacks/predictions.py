"""The wav files that ``consistency-tta predict`` writes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import soundfile
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import BasePredictionWriter
from torch import Tensor

from consistency_tta.contracts import Batch
from consistency_tta.training.callbacks.run_dir import run_folder


class WriteSounds(BasePredictionWriter):
    """Writes each predicted waveform as ``<log folder>/predictions/<clip id>.wav``, in 16 bits."""

    def __init__(self) -> None:
        super().__init__(write_interval="batch")

    def write_on_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        prediction: Tensor,
        batch_indices: Sequence[int] | None,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int,
    ) -> None:
        """Write the waveforms (B, samples) or (B, channels, samples) of one batch."""
        folder = run_folder(trainer) / "predictions"
        folder.mkdir(parents=True, exist_ok=True)
        rate: Any = pl_module.sample_rate
        for name, waveform in zip(batch.ids, prediction, strict=True):
            file = re.sub(r"[^\w.-]+", "_", name) + ".wav"
            soundfile.write(folder / file, waveform.movedim(-1, 0).numpy(), rate, subtype="PCM_16")

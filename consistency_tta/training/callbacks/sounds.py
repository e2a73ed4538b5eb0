"""Sounds and pictures in the log."""

from __future__ import annotations

import re
from pathlib import Path

import soundfile
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from PIL import Image
from torch import Tensor

from consistency_tta.components.mel import full_band_mel
from consistency_tta.contracts import Batch, to_mono
from consistency_tta.reporting.spectrogram_plot import spectrogram_plot
from consistency_tta.training.base import TrainingModule
from consistency_tta.training.callbacks.media import log_pictures, log_sounds, takes_media
from consistency_tta.training.callbacks.preview import Preview
from consistency_tta.training.callbacks.run_dir import run_folder


class LogSounds(Callback):
    """Logs what a training sounds and looks like, for the first clips of each validation, next to the recordings.

    TensorBoard, Weights & Biases and MLflow get sounds, and spectrograms in colour with axes; with any other logger, or
    none, wav files go to ``<log folder>/sounds/``.

    Args:
        num_sounds: how many.
        every_n_validations: how often; generating takes time.
    """

    def __init__(self, num_sounds: int = 4, every_n_validations: int = 1) -> None:
        self.num_sounds = num_sounds
        self.every_n_validations = every_n_validations
        self.validations = 0

    def on_validation_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Batch, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Log the first batch's sounds."""
        if batch_idx or trainer.sanity_checking or not isinstance(pl_module, TrainingModule):
            return
        self.validations += 1
        if (self.validations - 1) % self.every_n_validations == 0:
            folder = run_folder(trainer) / "sounds"
            # Where weights are sharded, all processes gather them together.
            if trainer.is_global_zero or pl_module.sharded is not None:
                with torch.no_grad():
                    first = batch.first(self.num_sounds)
                    previews = pl_module.previews(first)
                    if trainer.is_global_zero:
                        recordings = [None] * len(previews) if first.waveform is None else list(first.waveform)
                        self.write(folder, trainer, pl_module.sample_rate, previews, recordings)

    def write(
        self, folder: Path, trainer: Trainer, rate: int, previews: list[Preview], recordings: list[Tensor | None]
    ) -> None:
        """Write the previews, and the recordings where there are some, to the loggers, or to wav files in a folder."""
        step, loggers = trainer.global_step, [logger for logger in trainer.loggers if takes_media(logger)]
        for index, (preview, recording) in enumerate(zip(previews, recordings, strict=True)):
            label = f"{index}_" + re.sub(r"[^\w-]+", "_", preview.name)[:60]
            sounds = {"model": preview.waveform, "recording": recording}
            given = {name: sound for name, sound in sounds.items() if sound is not None}
            drawn = pictures(preview, recording, rate) if loggers else {}
            for logger in loggers:
                log_pictures(logger, f"spectrogram/{label}", drawn, step)
                if preview.waveform is not None:
                    log_sounds(logger, f"sound/{label}", given, rate, step)
            if not loggers and preview.waveform is not None:
                folder.mkdir(parents=True, exist_ok=True)
                sound = preview.waveform.cpu().clamp(-1, 1).movedim(-1, 0).numpy()
                soundfile.write(folder / f"step{step:07d}_{label}.wav", sound, rate)


def pictures(preview: Preview, recording: Tensor | None, rate: int) -> dict[str, Image.Image]:
    """Spectrograms of a preview and of the recording (samples,) or (channels, samples), with one colour scale.

    Args:
        preview: whose waveform is drawn, or its own mel spectrogram where it has none.
        recording: None where there is none.
        rate: sample rate in Hz.
    """
    front_end = full_band_mel(rate)
    mels = {"model": preview.mel.float().cpu()}
    settings = {"model": dict(front_end.config) | {"n_mels": preview.mel.shape[1]}, "recording": dict(front_end.config)}
    waveforms = {"model": preview.waveform, "recording": recording}
    for name, waveform in waveforms.items():
        if waveform is not None and waveform.shape[-1] > front_end.config["n_fft"] // 2:
            mels[name] = front_end(to_mono(waveform[None].float().cpu()))[0]
            settings[name] = dict(front_end.config)
    high = max(float(mel.max()) for mel in mels.values())
    return {
        name: spectrogram_plot(mel, settings[name], high, title=f"{name}: {preview.name}") for name, mel in mels.items()
    }

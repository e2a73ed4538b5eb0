"""Sounds and pictures in the log."""

from __future__ import annotations

import math
import re
from pathlib import Path

import soundfile
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from PIL import Image
from torch import Tensor

from consistency_tta.components.mel import full_band_mel
from consistency_tta.contracts import Batch, MelDecoder, to_mono
from consistency_tta.reporting.spectrogram_plot import spectrogram_plot
from consistency_tta.runtime.errors import ConfigurationError
from consistency_tta.training.base import TrainingModule
from consistency_tta.training.callbacks.media import log_pictures, log_sounds, takes_media
from consistency_tta.training.callbacks.preview import Preview
from consistency_tta.training.callbacks.run_dir import run_folder
from consistency_tta.training.latents import LatentTraining


class LogSounds(Callback):
    """Logs what a training sounds and looks like, for the first clips of each validation.

    A distilled student is shown next to its teacher, from the same noise, and to the recording; other models next to
    the recording. TensorBoard, Weights & Biases and MLflow get sounds, and spectrograms in colour with axes; with any
    other logger, or none, wav files go to ``<log folder>/sounds/``. The teacher is sampled once, since its sounds do
    not change. Where the data are encoded latents, the codec decodes the recordings. All end where the model's sounds
    will, before the padding of its latents.

    Args:
        num_sounds: how many.
        every_n_validations: how often; generating takes time.
        teacher: whether to sample the teacher. It takes its default number of solver steps, 50.
    """

    def __init__(self, num_sounds: int = 4, every_n_validations: int = 1, teacher: bool = True) -> None:
        self.num_sounds = num_sounds
        self.every_n_validations = every_n_validations
        self.teacher = teacher
        self.validations = 0
        self.captions: list[str] | None = None  # of the references
        self.references: dict[str, Tensor] = {}

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Refuse a model whose latents nothing decodes before training, not at the first validation."""
        if isinstance(pl_module, LatentTraining):
            codec = pl_module.pipeline().codec
            if isinstance(codec, MelDecoder) and codec.vocoder is None:
                raise ConfigurationError(
                    "LogSounds writes what the model generates, and its model folder has no vocoder: go on from the "
                    "folder of a vocoder's training, or leave out LogSounds"
                )

    def on_validation_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Batch, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Log the first batch's sounds."""
        if batch_idx or trainer.sanity_checking or not isinstance(pl_module, TrainingModule):
            return
        self.validations += 1
        if (self.validations - 1) % self.every_n_validations:
            return
        folder = run_folder(trainer) / "sounds"
        # Where weights are sharded, all processes gather and query them together.
        if trainer.is_global_zero or pl_module.sharded is not None:
            first = batch.first(self.num_sounds)
            with torch.no_grad():
                previews = pl_module.previews(first)
                if previews:
                    self.update_references(trainer, pl_module, first)
            if trainer.is_global_zero:
                self.write(folder, trainer, pl_module, previews)

    def update_references(self, trainer: Trainer, module: TrainingModule, batch: Batch) -> None:
        """Make the sounds to compare with, unless those at hand belong to the same captions."""
        changed = batch.captions != self.captions
        if module.sharded is not None:
            changed = trainer.strategy.broadcast(changed)
        if changed:
            made = module.references(batch, self.teacher)
            self.captions, self.references = list(batch.captions), {k: sound.cpu() for k, sound in made.items()}

    def write(self, folder: Path, trainer: Trainer, module: TrainingModule, previews: list[Preview]) -> None:
        """Write the previews and the references to the loggers, or to wav files in a folder."""
        step, loggers = trainer.global_step, [logger for logger in trainer.loggers if takes_media(logger)]
        rate, seconds = module.sample_rate, module.audio_length_in_s
        end = None if seconds is None else round(seconds * rate)
        model = "student" if "teacher" in self.references else "model"
        for index, preview in enumerate(previews):
            label = f"{index}_" + re.sub(r"[^\w-]+", "_", preview.name)[:60]
            preview = without_padding(preview, end, rate)
            references = {name: sounds[index][..., :end] for name, sounds in self.references.items()}
            sounds = references if preview.waveform is None else {model: preview.waveform} | references
            drawn = pictures(preview, references, rate, model) if loggers else {}
            for logger in loggers:
                log_pictures(logger, f"spectrogram/{label}", drawn, step)
                if preview.waveform is not None:
                    log_sounds(logger, f"sound/{label}", sounds, rate, step)
            if not loggers and preview.waveform is not None:
                files = {f"step{step:07d}_{label}": preview.waveform}
                files |= {f"{label}_{name}": sound for name, sound in references.items()}
                write_wav(folder, files, rate)


def without_padding(preview: Preview, end: int | None, rate: int) -> Preview:
    """The preview's first ``end`` samples, and the mel frames that begin in them; all of it if None."""
    if end is None:
        return preview
    waveform = None if preview.waveform is None else preview.waveform[..., :end]
    frames = math.ceil(end / full_band_mel(rate).config["hop_length"])
    return Preview(preview.name, preview.mel[:frames], waveform)


def write_wav(folder: Path, sounds: dict[str, Tensor], rate: int) -> None:
    """Write waveforms (samples,) or (channels, samples) as wav files by name; libsndfile clips them."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, waveform in sounds.items():
        soundfile.write(folder / f"{name}.wav", waveform.float().cpu().movedim(-1, 0).numpy(), rate)


def pictures(
    preview: Preview, references: dict[str, Tensor], rate: int, model: str = "model"
) -> dict[str, Image.Image]:
    """Spectrograms of a preview and of its references, with one colour scale.

    Args:
        preview: whose waveform is drawn, or its own mel spectrogram where it has none.
        references: (samples,) or (channels, samples) by name.
        rate: sample rate in Hz.
        model: the preview's name.
    """
    front_end = full_band_mel(rate)
    mels = {model: preview.mel}
    settings = {model: dict(front_end.config) | {"n_mels": preview.mel.shape[1]}}
    for name, waveform in {model: preview.waveform, **references}.items():
        if waveform is not None and waveform.shape[-1] > front_end.config["n_fft"] // 2:
            mels[name] = front_end(to_mono(waveform[None].cpu()))[0]
            settings[name] = dict(front_end.config)
    high = max(float(mel.max()) for mel in mels.values())
    return {
        name: spectrogram_plot(mel, settings[name], high, title=f"{name}: {preview.name}") for name, mel in mels.items()
    }

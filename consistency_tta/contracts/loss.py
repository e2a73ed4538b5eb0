"""Losses, and what they compare."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from consistency_tta.contracts.audio import Decoder
from consistency_tta.contracts.data import Batch
from consistency_tta.contracts.objective import Optimization


class AudioOutput(ABC):
    """A trained network's sound beside the sound it should make; what a :class:`Loss` is given.

    Every property is computed when a loss first asks for it and then shared: any number of losses costs one decode, and
    nothing is decoded that no loss asks for.

    Attributes:
        batch: what the datamodule handed over.
        sample_rate: of all waveforms, in Hz.
        student_mel, student_waveform: made by the network in training; carry gradients.
        target_mel, target_waveform: what the student should make; without gradients.
        reference_waveform: the recording (B, samples), without gradients.
    """

    batch: Batch
    sample_rate: int
    student_mel: Tensor
    student_waveform: Tensor
    target_mel: Tensor
    target_waveform: Tensor

    @cached_property
    def reference_waveform(self) -> Tensor:
        """The recording (B, samples)."""
        if self.batch.waveform is None:
            raise ValueError(
                "a loss asks for the recording's waveform, but the batch has only pre-encoded latents: "
                "use a datamodule that reads audio, or drop the loss"
            )
        return self.batch.waveform


@dataclass
class DistillationOutput(AudioOutput):
    """One distillation step's result.

    Attributes:
        student_latent: f(z_t, t, w) (B, C, T, F), with gradients.
        target_latent: what it should equal (B, C, T, F), without gradients.
        clean_latent: z_0 (B, C, T, F).
        t, s: (B,), t > s; the target was found at s. Equal in stage 1, where teacher and student are asked alike.
        guidance_scale: w (B,).
        batch: what the datamodule handed over.
        decoder: makes mels and waveforms of latents, in the latents' own gradient mode. May see only a part of them in
            time; the batch's waveform is then the same part of the recordings.
        student_decoder: of the student's latent, where a decoder is trained along; ``decoder`` if None.
    """

    student_latent: Tensor
    target_latent: Tensor
    clean_latent: Tensor
    t: Tensor
    s: Tensor
    guidance_scale: Tensor
    batch: Batch
    decoder: Decoder = field(repr=False)
    student_decoder: Decoder | None = field(default=None, repr=False)

    @property
    def sample_rate(self) -> int:  # type: ignore[override]
        """Sample rate of all waveforms in Hz."""
        return self.decoder.sample_rate

    @cached_property
    def student_mel(self) -> Tensor:  # type: ignore[override]
        """Mel of the student's latent (B, frames, bins), with gradients."""
        return (self.student_decoder or self.decoder).latent_to_mel(self.student_latent)

    @cached_property
    def student_waveform(self) -> Tensor:  # type: ignore[override]
        """Sound of the student's latent (B, samples), with gradients."""
        return (self.student_decoder or self.decoder).mel_to_waveform(self.student_mel)

    @cached_property
    def target_mel(self) -> Tensor:  # type: ignore[override]
        """Mel of the target latent (B, frames, bins)."""
        with torch.no_grad():
            return self.decoder.latent_to_mel(self.target_latent)

    @cached_property
    def target_waveform(self) -> Tensor:  # type: ignore[override]
        """Sound of the target latent (B, samples)."""
        with torch.no_grad():
            return self.decoder.mel_to_waveform(self.target_mel)


class Loss(nn.Module, ABC):
    """One loss, one idea: per-example values, neither weighted nor averaged nor logged.

    What is expensive comes from ``out``, or is owned lazily inside a
    :class:`~consistency_tta.runtime.frozen.Frozen` and never enters the state_dict. Parameters that a loss registers
    are learnt with the student and saved in checkpoints; a loss that wants other settings for them than the student's
    overrides :meth:`optimization`.
    """

    #: Whether the noise weighting applies: yes for losses of latents, no for losses of sound.
    noise_weighted: bool = True

    @abstractmethod
    def forward(self, out: Any) -> Tensor:
        """Values (B,) of an :class:`AudioOutput` (:class:`DistillationOutput` for latent losses)."""

    def optimization(self) -> Optimization | None:
        """The optimizer settings of the loss's own parameters; the student's if None."""
        return None

    def scalars(self) -> dict[str, Tensor]:
        """Scalars of the last call that are worth logging, as ``train/loss/<key>/<name>``."""
        return {}

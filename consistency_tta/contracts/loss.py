"""Losses, and what they compare."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from consistency_tta.contracts.audio import Codec, MelDecoder
from consistency_tta.contracts.channels import to_channels, to_mono
from consistency_tta.contracts.data import Batch
from consistency_tta.contracts.optimization import Optimization
from consistency_tta.runtime.errors import DataError


class AudioOutput(ABC):
    """A trained network's sound and the sound it should match; what a :class:`Loss` is given.

    Every property is computed when a loss first reads it and then shared: any number of losses costs one decode, and
    nothing is decoded that no loss reads.

    A subclass gives ``student_audio`` and ``target_audio``, or the waveforms, and the mels.

    Attributes:
        batch: what the datamodule handed over.
        sample_rate: of all waveforms, in Hz.
        student_audio: made by the network in training (B, channels, samples), in [-1, 1]; carries gradients.
        target_audio: what the student should make, of the same shape; without gradients.
        reference_audio: the recording, of the same shape; without gradients.
        student_waveform, target_waveform, reference_waveform: the means of their channels (B, samples).
        student_mel, target_mel: natural-log mel spectrograms (B, frames, bins) of the means.
    """

    batch: Batch
    sample_rate: int
    student_mel: Tensor
    student_waveform: Tensor
    target_mel: Tensor
    target_waveform: Tensor

    @cached_property
    def student_audio(self) -> Tensor:
        """Sound of the student (B, channels, samples), with gradients."""
        return to_channels(self.student_waveform, 1)

    @cached_property
    def target_audio(self) -> Tensor:
        """What the student should make (B, channels, samples)."""
        return to_channels(self.target_waveform, 1)

    @cached_property
    def reference_audio(self) -> Tensor:
        """The recording (B, channels, samples), with as many channels as the student's sound.

        Raises:
            DataError: if the batch has no recordings.
        """
        if self.batch.waveform is None:
            raise DataError(
                "a loss reads the recording's waveform, but the batch has only pre-encoded latents: "
                "use a datamodule that reads audio, or drop the loss"
            )
        return to_channels(self.batch.waveform, self._channels)

    @cached_property
    def reference_waveform(self) -> Tensor:
        """The recording (B, samples), the mean of its channels."""
        return to_mono(self.reference_audio)

    @property
    def _channels(self) -> int:
        return self.student_audio.shape[1]


@dataclass
class DistillationOutput(AudioOutput):
    """One distillation step's result.

    Attributes:
        student_latent: f(z_t, t, w) (B, C, *), with gradients.
        target_latent: what it should equal (B, C, *), without gradients.
        clean_latent: z_0 (B, C, *).
        t, s: (B,), t > s; the target was found at s. In stage 1 both are equal.
        guidance_scale: w (B,).
        batch: what the datamodule handed over.
        decoder: decodes latents, in the latents' own gradient mode: a codec, or a :class:`MelDecoder`.
        student_decoder: of the student's latent, where a decoder is trained along; ``decoder`` if None.
        crop: cuts the part of latents (B, C, *) that is decoded, such as a span of time; everything if None. The
            batch's waveform is then the same part of the recordings.
    """

    student_latent: Tensor
    target_latent: Tensor
    clean_latent: Tensor
    t: Tensor
    s: Tensor
    guidance_scale: Tensor
    batch: Batch
    decoder: Codec | MelDecoder = field(repr=False)
    student_decoder: Codec | MelDecoder | None = field(default=None, repr=False)
    crop: Callable[[Tensor], Tensor] | None = field(default=None, repr=False)

    @property
    def sample_rate(self) -> int:  # type: ignore[override]
        """Sample rate of all waveforms in Hz."""
        return self.decoder.sample_rate

    @cached_property
    def student_mel(self) -> Tensor:  # type: ignore[override]
        """Mel of the student's latent (B, frames, bins), with gradients.

        A codec of mels decodes it; for any other codec it is computed of the decoded waveform by the codec's
        ``waveform_to_mel``.

        Raises:
            ConfigurationError: if the codec has no mel front end.
        """
        decoder = self.student_decoder or self.decoder
        if isinstance(decoder, MelDecoder):
            return decoder.latent_to_mel(self._decoded(self.student_latent))
        return decoder.waveform_to_mel(self.student_waveform)

    @cached_property
    def student_audio(self) -> Tensor:
        """Sound of the student's latent (B, channels, samples), with gradients."""
        decoder = self.student_decoder or self.decoder
        if isinstance(decoder, MelDecoder):
            return to_channels(decoder.mel_to_waveform(self.student_mel), 1)
        return decoder.decode(self._decoded(self.student_latent))

    @cached_property
    def student_waveform(self) -> Tensor:  # type: ignore[override]
        """Sound of the student's latent (B, samples), the mean of its channels, with gradients."""
        return to_mono(self.student_audio)

    @cached_property
    def target_mel(self) -> Tensor:  # type: ignore[override]
        """Mel of the target latent (B, frames, bins); see :attr:`student_mel`."""
        with torch.no_grad():
            if isinstance(self.decoder, MelDecoder):
                return self.decoder.latent_to_mel(self._decoded(self.target_latent))
            return self.decoder.waveform_to_mel(self.target_waveform)

    @cached_property
    def target_audio(self) -> Tensor:
        """Sound of the target latent (B, channels, samples)."""
        with torch.no_grad():
            if isinstance(self.decoder, MelDecoder):
                return to_channels(self.decoder.mel_to_waveform(self.target_mel), 1)
            return self.decoder.decode(self._decoded(self.target_latent))

    @cached_property
    def target_waveform(self) -> Tensor:  # type: ignore[override]
        """Sound of the target latent (B, samples), the mean of its channels."""
        return to_mono(self.target_audio)

    @property
    def _channels(self) -> int:
        return getattr(self.decoder, "channels", 1)

    def _decoded(self, latent: Tensor) -> Tensor:
        """The part of a latent that is decoded."""
        return latent if self.crop is None else self.crop(latent)


class Loss(nn.Module, ABC):
    """One loss, one idea: per-example values, neither weighted nor averaged nor logged.

    What is expensive comes from ``out``, or is owned lazily inside a
    :class:`~consistency_tta.runtime.frozen.Frozen` and never enters the state_dict. Parameters that a loss registers
    are learnt with the student and saved in checkpoints; a loss that needs other settings for them than the student's
    overrides :meth:`optimization`.
    """

    #: Whether the noise weighting applies: yes for losses of latents, no for losses of sound.
    noise_weighted: bool = True
    #: Whether validation leaves the loss out, as of an adversary, whose values of different epochs cannot be compared.
    training_only: bool = False

    @abstractmethod
    def forward(self, out: Any) -> Tensor:
        """Values (B,) of an :class:`AudioOutput` (:class:`DistillationOutput` for latent losses)."""

    def optimization(self) -> Optimization | None:
        """The optimizer settings of the loss's own parameters; the student's if None."""
        return None

    def scalars(self) -> dict[str, Tensor]:
        """Scalars of the last call that are worth logging, as ``train/loss/<key>/<name>``."""
        return {}

"""What trainings of networks that make waveforms share: a model folder, a network, an average, losses of sound."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from torch import Tensor, nn

from consistency_tta.contracts import AudioOutput, Batch, Codec, Learner, Loss, Optimization
from consistency_tta.pipeline import TextToAudioPipeline
from consistency_tta.runtime.frozen import Frozen
from consistency_tta.training.base import TrainingModule
from consistency_tta.training.crop import check_crop_frames
from consistency_tta.training.ema import ExponentialMovingAverage
from consistency_tta.training.weighted_losses import WeightedLosses


@dataclass
class SynthesisOutput(AudioOutput):
    """A network's sound and the one that it should be; attributes as in :class:`AudioOutput`."""

    student_waveform: Tensor
    target_waveform: Tensor
    batch: Batch
    sample_rate: int
    codec: Codec

    @cached_property
    def student_mel(self) -> Tensor:  # type: ignore[override]
        """Mel of the network's sound (B, frames, bins)."""
        return self.codec.waveform_to_mel(self.student_waveform)

    @cached_property
    def target_mel(self) -> Tensor:  # type: ignore[override]
        """Mel of the sound that it should be (B, frames, bins)."""
        return self.codec.waveform_to_mel(self.target_waveform)


class SynthesisTraining(TrainingModule):
    """Base of the trainings of a vocoder and of a light decoder, which are the same part of a model folder.

    Args:
        model: folder with mel front end, autoencoder and what the training needs of other parts.
        vocoder: the network in training.
        losses: loss plugins by name.
        loss_weights: weights of the losses by name.
        crop_frames: mel frames of a training example; 0 for whole clips.
        ema_decay: of the averaged weights.
        optimization: optimizer and schedule.
        seed: of all random draws.
    """

    def __init__(
        self,
        model: str,
        vocoder: nn.Module,
        losses: dict[str, Loss],
        loss_weights: dict[str, float] | None,
        crop_frames: int,
        ema_decay: float,
        optimization: Optimization,
        seed: int | None,
    ) -> None:
        super().__init__(optimization, seed)
        self.parts = TextToAudioPipeline.from_pretrained(model)
        self.earlier_stages = self.parts.config.get("training") or ()
        self.audio_length_in_s = self.parts.config.get("audio_length_in_s")
        self.frozen = Frozen(codec=self.parts.mel_codec)
        check_crop_frames(crop_frames, self.frozen.codec.downsampling)
        self.vocoder = vocoder.train()
        self.average = ExponentialMovingAverage(self.vocoder, ema_decay, warm_up=True)
        self.losses = WeightedLosses(losses, loss_weights)
        self.losses.require_weight()
        self.crop_frames = crop_frames

    @property
    def sample_rate(self) -> int:
        """Of all sounds, in Hz."""
        return self.frozen.codec.sample_rate

    def trainable(self) -> nn.Module:
        """The network."""
        return self.vocoder

    def learners(self) -> dict[str, Learner]:
        """The network, and losses with parameters, such as an adversary."""
        return super().learners() | self.losses.learners()

    def emas(self) -> tuple[ExponentialMovingAverage]:
        """The evaluation average."""
        return (self.average,)

    def weighted_loss(self, sound: Tensor, target: Tensor, batch: Batch) -> Tensor:
        """The weighted losses of sounds (B, samples), logged with their parts."""
        out = SynthesisOutput(sound, target, batch, self.sample_rate, self.frozen.codec)
        losses = self.losses(out, training=self.trainer.training)
        self.log_losses(losses, len(batch))
        return losses["loss"]

    def pipeline(self) -> TextToAudioPipeline:
        """The folder's parts with the averaged network as vocoder."""
        kept: dict[str, Any] = {n: m for n, m in self.parts.components.items() if n != "vocoder"}
        return TextToAudioPipeline(
            **kept,
            vocoder=self.average.module,
            guidance_range=self.parts.config["guidance_range"],
            audio_length_in_s=self.audio_length_in_s,
            rewards=(self.parts.rewards | self.losses.rewards).to_dict(),
        )

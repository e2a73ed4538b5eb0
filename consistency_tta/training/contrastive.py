"""Trains a CLAP, which scores how well a sound matches a caption, from random weights."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor

from consistency_tta.components.clap_model import Clap
from consistency_tta.contracts import Batch, Optimization
from consistency_tta.runtime.errors import ConfigurationError
from consistency_tta.training.base import TrainingModule
from consistency_tta.training.callbacks.preview import Preview
from consistency_tta.training.ema import ExponentialMovingAverage
from consistency_tta.training.latents import waveform_of
from consistency_tta.training.step_rng import StepRNG


def caption_keys(captions: Sequence[str]) -> Tensor:
    """(B,) int64, equal for equal captions in all processes."""
    digests = (hashlib.blake2b(caption.encode(), digest_size=8).digest() for caption in captions)
    return torch.tensor([int.from_bytes(digest, "big", signed=True) for digest in digests])


def contrastive_loss(audio: Tensor, text: Tensor, keys: Tensor, audio_scale: Tensor, text_scale: Tensor) -> Tensor:
    """Symmetric InfoNCE, in which all examples with the same caption are positives.

    Source: Wu et al., "Large-Scale Contrastive Language-Audio Pretraining", 2023, https://arxiv.org/abs/2211.06687,
    eq. 3; several positives as in Khosla et al., "Supervised Contrastive Learning", 2020,
    https://arxiv.org/abs/2004.11362, eq. 2.

    Args:
        audio, text: unit vectors (N, D).
        keys: (N,), equal where captions are.
        audio_scale, text_scale: inverse temperatures of the two directions, scalars.

    Returns:
        A scalar; log N for random vectors.
    """
    with torch.autocast(audio.device.type, enabled=False):
        similarity = audio.float() @ text.float().T
        positive = keys[:, None] == keys[None]
        positive = positive / positive.sum(1, keepdim=True)
        of_audio = (audio_scale * similarity).log_softmax(1)
        of_text = (text_scale * similarity.T).log_softmax(1)
        return -(positive * (of_audio + of_text)).sum(1).mean() / 2


class ContrastiveTraining(TrainingModule):
    """Trains a CLAP by contrast with the other captions and recordings in the batches of all processes.

    The audio network's batch normalisation uses the recordings of its own process alone, unless the trainer's
    ``sync_batchnorm`` is set.

    Args:
        clap: networks, tokenizer and front end.
        max_gain: in dB; the level of a training recording is changed by up to this much, up or down.
        max_mask: the largest fraction in [0, 1) of a training spectrogram's frames, and of its bins, that is masked.
            Source: Park et al., "SpecAugment", 2019, https://arxiv.org/abs/1904.08779, section 2.
        max_scale: the largest inverse temperature, as in CLIP and CLAP.
        ema_decay: of the averaged weights, which validation and ``export`` use.
        optimization: optimizer and schedule.
        seed: of all random draws; that of ``seed_everything`` if not given.
    """

    def __init__(
        self,
        clap: Clap,
        max_gain: float = 6.0,
        max_mask: float = 0.25,
        max_scale: float = 100.0,
        ema_decay: float = 0.999,
        optimization: Optimization = Optimization(),  # noqa: B008  # frozen
        seed: int | None = None,
    ) -> None:
        super().__init__(optimization, seed)
        if not 0 <= max_mask < 1 or max_gain < 0 or max_scale <= 0:
            raise ConfigurationError(
                "expected max_mask, a fraction, in [0, 1), max_gain, in dB, >= 0, and max_scale > 0, "
                f"got {max_mask}, {max_gain} and {max_scale}"
            )
        self.clap = clap.train()
        self.average = ExponentialMovingAverage(self.clap, ema_decay, warm_up=True)
        self.max_gain = max_gain
        self.max_mask = max_mask
        self.max_scale = max_scale

    @property
    def sample_rate(self) -> int:
        """Of all sounds, in Hz."""
        return self.clap.front_end.sample_rate

    def trainable(self) -> Clap:
        """Both networks and the temperatures."""
        return self.clap

    def emas(self) -> tuple[ExponentialMovingAverage]:
        """The evaluation average."""
        return (self.average,)

    def loss(self, batch: Batch, rng: StepRNG) -> Tensor:
        """The contrastive loss; outside training within the process's batch, with the accuracy of retrieval."""
        training = self.trainer.training
        clap = self.clap if training else self.pipeline()
        waveform = waveform_of(batch)
        features = clap.front_end(self.augment_waveform(waveform, rng) if training else waveform)
        audio = clap.embed_features(self.spec_augment(features, rng) if training else features)
        text = clap.embed_text(batch.captions)
        keys = rng.to_device(caption_keys(batch.captions))
        if training and self.trainer.world_size > 1:
            # Every process then has the whole loss; gradients are summed on the way back and averaged by DDP.
            audio, text, keys = self.gather(audio), self.gather(text), self.gather(keys)
        scales = [s.exp().clamp_max(self.max_scale) for s in (clap.model.logit_scale_a, clap.model.logit_scale_t)]
        loss = contrastive_loss(audio, text, keys, *scales)
        logs = {"loss": loss, "scale": scales[0].detach()}
        if not training:
            # Equal captions have equal vectors: this is the accuracy among the distinct ones.
            logs["retrieval"] = (keys[(audio @ text.T).argmax(1)] == keys).float().mean()
        self.log_losses(logs, len(batch))
        return loss

    def gather(self, rows: Tensor) -> Tensor:
        """The rows (B, ...) of all W processes (W B, ...)."""
        gathered = self.all_gather(rows, sync_grads=rows.is_floating_point())
        return cast(Tensor, gathered).flatten(0, 1)

    def augment_waveform(self, waveform: Tensor, rng: StepRNG) -> Tensor:
        """Waveforms (B, samples), each rotated in time, and louder or softer."""
        rows, samples = waveform.shape
        shift = rng.to_device((rng.uniform(rows) * samples).long())
        gain = 10 ** (rng.to_device(2 * rng.uniform(rows) - 1) * self.max_gain / 20)
        index = (torch.arange(samples, device=waveform.device) + shift[:, None]) % samples
        return gain[:, None] * waveform.gather(1, index)

    def spec_augment(self, features: Tensor, rng: StepRNG) -> Tensor:
        """Spectrograms (B, 1, frames, bins), each with a span of frames and a band of bins set to its mean."""
        masked = torch.zeros_like(features, dtype=torch.bool)
        for axis in (2, 3):
            size = features.shape[axis]
            width = rng.uniform(len(features)) * self.max_mask * size
            start = rng.uniform(len(features)) * (size - width)
            shape = [-1 if dim == axis else 1 for dim in range(4)]
            centre = torch.arange(size, device=features.device).view(shape) + 0.5
            start, end = (rng.to_device(x).view(-1, 1, 1, 1) for x in (start, start + width))
            masked = masked | ((centre >= start) & (centre < end))
        return torch.where(masked, features.mean((2, 3), keepdim=True), features)

    def previews(self, batch: Batch) -> list[Preview]:
        """None: a CLAP generates no sound."""
        return []

    def predict_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Refuse: a CLAP generates no sound."""
        raise ConfigurationError("a CLAP scores sounds and generates none: `predict` is for models that generate")

    def pipeline(self) -> Clap:  # type: ignore[override]  # not a generator, but written like one
        """The averaged CLAP."""
        return cast(Clap, self.average.module)

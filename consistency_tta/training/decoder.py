"""What losses of sound decode with: a decoder in training beside the frozen one, and a crop of the latents."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass

import torch
from diffusers import AutoencoderKL
from torch import Tensor, nn

from consistency_tta.components.codec import AudioCodec
from consistency_tta.contracts import Decoder
from consistency_tta.training.ema import ExponentialMovingAverage


class TrainedDecoder(nn.Module):
    """A copy of an autoencoder's decoder, to be trained, and its average.

    Args:
        codec: what is around the decoder: mel front end, encoder and vocoder. They are shared and stay as they are.
        start: whose decoder is copied.
        average_decay: of the averaged weights.
    """

    def __init__(self, codec: AudioCodec, start: AutoencoderKL, average_decay: float) -> None:
        super().__init__()
        parts = {name: part for name, part in start.named_children() if name in ("post_quant_conv", "decoder")}
        self.parts = nn.ModuleDict(deepcopy(parts)).requires_grad_(True)
        self.average = ExponentialMovingAverage(self.parts, average_decay, warm_up=True)
        # Not by attribute: that would register the frozen networks.
        self.__dict__["codecs"] = with_parts(codec, self.parts), with_parts(codec, self.average.module)

    def codec(self, averaged: bool) -> AudioCodec:
        """The codec with the decoder in training, or with the averaged one."""
        return self.__dict__["codecs"][averaged]

    def enable_gradient_checkpointing(self) -> None:
        """See :meth:`AudioCodec.enable_gradient_checkpointing`."""
        for codec in self.__dict__["codecs"]:
            codec.enable_gradient_checkpointing()

    def update_average(self) -> None:
        """Let the average follow."""
        self.average.update(self.parts)


def with_parts(codec: AudioCodec, parts: nn.Module) -> AudioCodec:
    """The codec with some of its autoencoder's parts exchanged by name; all others are shared, not copied."""
    all_parts = {name: part for name, part in codec.named_children() if name != "vae"}
    all_parts |= dict(codec.vae.named_children())
    exchanged = dict(parts.named_children())
    # What deepcopy is told it has copied already, it takes as it is.
    return deepcopy(codec, {id(part): exchanged.get(name, part) for name, part in all_parts.items()})


@dataclass
class Crop:
    """The same span of time of everything: latents, and through them mels and waveforms.

    Attributes:
        starts: first latent frame, one per example.
        frames: latent frames.
        samples_per_frame: samples of the waveform that make a latent frame.
    """

    starts: list[int]
    frames: int
    samples_per_frame: int

    def latent(self, latent: Tensor) -> Tensor:
        """(B, C, T, F) -> (B, C, frames, F)."""
        return torch.stack([z[:, start : start + self.frames] for z, start in zip(latent, self.starts, strict=True)])

    def waveform(self, waveform: Tensor) -> Tensor:
        """(B, samples) -> (B, frames * samples_per_frame)."""
        step = self.samples_per_frame
        spans = [slice(start * step, (start + self.frames) * step) for start in self.starts]
        return torch.stack([sound[span] for sound, span in zip(waveform, spans, strict=True)])


class CroppedDecoder:
    """Decodes a crop of the latents it is given; implements :class:`consistency_tta.contracts.Decoder`.

    Args:
        decoder: of the crop.
        crop: what is decoded.
    """

    def __init__(self, decoder: Decoder, crop: Crop) -> None:
        self.decoder = decoder
        self.crop = crop
        self.sample_rate = decoder.sample_rate

    def latent_to_mel(self, latent: Tensor) -> Tensor:
        """Whole latents (B, C, T, F) -> mel of the crop (B, frames, bins)."""
        return self.decoder.latent_to_mel(self.crop.latent(latent))

    def mel_to_waveform(self, mel: Tensor) -> Tensor:
        """See :class:`consistency_tta.contracts.Decoder`."""
        return self.decoder.mel_to_waveform(mel)

    def waveform_to_mel(self, waveform: Tensor) -> Tensor:
        """See :class:`consistency_tta.contracts.Decoder`."""
        return self.decoder.waveform_to_mel(waveform)

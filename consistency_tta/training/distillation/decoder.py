"""Decoders of losses of sound: the student's own, which may be trained, and a crop of the latents."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from consistency_tta.contracts import Codec
from consistency_tta.training.crop import spans
from consistency_tta.training.ema import ExponentialMovingAverage, copyable

#: The names of an autoencoder's parts that decode.
DECODING = ("post_quant_conv", "decoder")


class TrainedDecoder(nn.Module):
    """A copy of an autoencoder's decoder, to be trained, and its average.

    Args:
        codec: what surrounds the decoder, such as encoder and vocoder. It is shared and not trained.
        start: whose decoder is copied.
        ema_decay: of the averaged weights.
    """

    def __init__(self, codec: Codec, start: nn.Module, ema_decay: float) -> None:
        super().__init__()
        self.parts = deepcopy(copyable(decoder_of(start))).requires_grad_(True)
        self.average = ExponentialMovingAverage(self.parts, ema_decay, warm_up=True)
        # Not by attribute: that would register the frozen networks.
        self.__dict__["codecs"] = with_parts(codec, self.parts), with_parts(codec, self.average.module)

    def codec(self, averaged: bool) -> Codec:
        """The codec with the decoder in training, or with the averaged one."""
        return self.__dict__["codecs"][averaged]

    def enable_gradient_checkpointing(self) -> None:
        """Recompute activations in the backward pass instead of keeping them."""
        for codec in self.__dict__["codecs"]:
            codec.enable_gradient_checkpointing()

    def update_average(self, taken: Tensor | None = None) -> None:
        """Update the average; see :meth:`ExponentialMovingAverage.update`."""
        self.average.update(self.parts, taken)


def decoder_of(vae: nn.Module) -> nn.ModuleDict:
    """The parts of an autoencoder that decode."""
    return nn.ModuleDict({name: part for name, part in vae.named_children() if name in DECODING})


def own_autoencoder(vae: nn.Module | None, teacher: nn.Module) -> nn.Module:
    """A student's autoencoder, if that is the teacher's with another decoder, as an earlier stage leaves it.

    Else the teacher's: where the encoder is another, so are the latents, and a student makes those of its teacher.
    """
    if vae is None or vae is teacher:
        return teacher
    own, theirs = vae.state_dict(), teacher.state_dict()
    if {name: value.shape for name, value in own.items()} != {name: value.shape for name, value in theirs.items()}:
        return teacher
    decoding = {name for name in own if name.startswith(DECODING)}
    # The tolerance is for folders of half precision.
    encodes_alike = all(torch.allclose(own[n], theirs[n], rtol=1e-2, atol=1e-6) for n in own.keys() - decoding)
    decodes_alike = all(torch.equal(own[name], theirs[name]) for name in decoding)
    return vae if encodes_alike and not decodes_alike else teacher


def with_parts(codec: Codec, parts: nn.Module) -> Codec:
    """The codec with some of its autoencoder's parts exchanged by name; all others are shared, not copied."""
    all_parts = {name: part for name, part in codec.named_children() if name != "vae"}
    all_parts |= dict(cast(nn.Module, codec.vae).named_children())
    exchanged = dict(parts.named_children())
    # deepcopy takes what is in its memo as it is.
    return deepcopy(codec, {id(part): exchanged.get(name, part) for name, part in all_parts.items()})


@dataclass
class Crop:
    """The same span of time of everything that losses of sound compare.

    Attributes:
        starts: first latent frame, one per example.
        frames: latent frames.
        samples_per_frame: samples of the waveform that make a latent frame.
    """

    starts: list[int]
    frames: int
    samples_per_frame: int

    def latent(self, latent: Tensor) -> Tensor:
        """(B, C, T, ...) -> (B, C, frames, ...)."""
        return spans(latent.transpose(1, 2), self.starts, self.frames).transpose(1, 2)

    def waveform(self, waveform: Tensor) -> Tensor:
        """(B, samples) or (B, channels, samples) -> the same with frames * samples_per_frame samples."""
        step = self.samples_per_frame
        starts = [start * step for start in self.starts]
        return spans(waveform.movedim(-1, 1), starts, self.frames * step).movedim(1, -1)

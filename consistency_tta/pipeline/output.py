"""Generated sound."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass
class TextToAudioOutput:
    """Generated sound.

    Attributes:
        waveform: (B, samples) of a mono model, (B, channels, samples) of any other; float32 on the CPU, in [-1, 1].
        sample_rate: in Hz.
        latent: (B, C, *).
        queries: how many times the network was evaluated on each sound (classifier-free guidance counts twice).
        seconds: time to the latents (text encoder and network), and from them in the decoders.
    """

    waveform: Tensor
    sample_rate: int
    latent: Tensor
    queries: int
    seconds: dict[str, float]

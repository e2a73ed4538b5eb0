"""What both sides of the comparison are given: sizes, captions, weights, inputs and a stand-in for CLAP.

Imported by ``record.py`` in the environment of the official code, too; so it needs nothing but NumPy and torch.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

#: The latents (C, T, F), the mel (frames, bins) and the samples that belong together.
LATENT = (8, 16, 16)
MEL = (64, 64)
SAMPLES = 64 * 160
#: Of the U-Nets: 5 heads do not divide 32, as they do not divide the 256 of the published light model.
UNET: dict[str, Any] = {
    "channels": (32, 64),
    "heads": (5, 10),
    "attention": (True, False),
    "layers": 1,
    "latent": 8,
    "text": 32,
}
AUTOENCODER = {"channels": (32, 64, 64), "blocks": 1}
VOCODER_CHANNELS = 32
T5 = {"words": 384, "width": 32, "hidden": 64, "layers": 2, "heads": 2, "head_width": 16}
SCALE_FACTOR = 0.9227914214134216
CAPTIONS = ["a dog barks", "rain on a tin roof, then thunder", "", "bells"]
GUIDANCE_SCALES = (0.0, 1.5, 3.0, 5.9)
#: Timesteps k of the schedule, as diffusers counts them: both ends, one between, and one of an 18-point grid.
TIMESTEPS = (999.0, 0.0, 410.0, 940.2352941176471)
#: Which of the 18 points of the grid examples start at: the top, two between, and the last that is trained.
GRID_INDICES = (0, 1, 9, 16)
#: Timesteps of stage 1; without the top one, where the two differ by design.
STAGE_1_TIMESTEPS = (998, 0, 410, 57)


def normal(name: str, *shape: int) -> Tensor:
    """Standard normal numbers that depend on the name and the shape alone, on every platform and in every version."""
    # RandomState's streams are frozen for good (NEP 19), unlike those of NumPy's Generator and of torch.
    return torch.from_numpy(np.random.RandomState(zlib.crc32(name.encode())).standard_normal(shape)).float()


def weights(shapes: Mapping[str, Sequence[int]], prefix: str = "") -> dict[str, Tensor]:
    """Weights by name, about as large as those of a new layer."""
    filled = {}
    for name, shape in shapes.items():
        if name == "guidance_proj.weight":
            filled[name] = normal(name, *shape)  # frequencies, which all copies of a student share
            continue
        drawn = normal(prefix + name.replace("encoder.embed_tokens.", "shared."), *shape)  # these two are one tensor
        if len(shape) > 1:
            drawn = drawn / (drawn[0].numel() ** 0.5)
        else:
            centre = 1.0 if "norm" in name and name.endswith("weight") else 0.0
            drawn = centre + 0.1 * drawn
        filled[name] = drawn
    return filled


def thinned(latent: Tensor) -> Tensor:
    """Every other frame and bin of (B, C, T, F): enough to tell, in a quarter of the file."""
    return latent[..., ::2, ::2]


def waveform() -> Tensor:
    """Two sounds (2, SAMPLES) in [-1, 1]: a decaying tone, and noise that falls silent."""
    time = torch.arange(SAMPLES, dtype=torch.float64) / 16000
    tone = (0.8 * torch.sin(2 * torch.pi * 440 * time) * torch.exp(-3 * time)).float()
    noise = 0.2 * normal("noise", SAMPLES).clamp(-4, 4) * (time < 0.4)
    return torch.stack([tone, noise])


def embed_audio(waveform: Tensor) -> Tensor:
    """The stand-in for CLAP: (B, samples) to unit vectors (B, 16), differentiable."""
    frames = waveform[:, : waveform.shape[1] // 160 * 160].reshape(len(waveform), -1, 160)
    features = torch.tanh(frames @ normal("audio embedding", 160, 16)).mean(1)
    return torch.nn.functional.normalize(features + 0.1 * normal("offset", 16), dim=1)


def embed_text(captions: Sequence[str]) -> Tensor:
    """B captions to unit vectors (B, 16)."""
    return torch.nn.functional.normalize(torch.stack([normal(f"caption {text}", 16) for text in captions]), dim=1)

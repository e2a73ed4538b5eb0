"""Discriminators of waveforms and of mel spectrograms for adversarial training, small enough for a CPU."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from torch.nn.utils.parametrizations import weight_norm

from consistency_tta.runtime.errors import ConfigurationError


class SpectrogramDiscriminator(nn.Module):
    """Scores log-magnitude spectrograms of several resolutions, each by a small stack of 2-D convolutions.

    Source: Jang et al., "UnivNet: A Neural Vocoder with Multi-Resolution Spectrogram Discriminators for High-Fidelity
    Waveform Generation", 2021, https://arxiv.org/abs/2106.07889, section 2.3. Magnitudes are logarithmic here, since
    field recordings span 80 dB, and the first layer already halves the frequencies, which halves the cost.

    Args:
        n_ffts: transform lengths in samples; windows are as long and overlap by ``overlap``.
        overlap: share of a window that the next one covers, in [0, 1).
        channels: width of the convolutions.
        floor: smallest magnitude before the logarithm.
    """

    def __init__(
        self, n_ffts: Sequence[int] = (512, 1024, 2048), overlap: float = 0.5, channels: int = 16, floor: float = 1e-3
    ) -> None:
        super().__init__()
        if not n_ffts or min(n_ffts) < 32 or not 0 <= overlap < 1 or floor <= 0:
            raise ConfigurationError(
                f"expected n_ffts of at least 32, an overlap in [0, 1) and a floor above 0, "
                f"got {list(n_ffts)}, {overlap} and {floor}"
            )
        self.hop_lengths = {n_fft: max(1, round(n_fft * (1 - overlap))) for n_fft in n_ffts}
        self.floor = floor
        self.stacks = nn.ModuleList(self._stack(channels) for _ in n_ffts)

    @staticmethod
    def _stack(channels: int) -> nn.ModuleList:
        """Frequency shrinks by 16, time stays."""
        down = [
            weight_norm(nn.Conv2d(width, channels, kernel_size=(9, 3), stride=(2, 1), padding=(4, 1)))
            for width in (1, channels, channels, channels)
        ]
        last = [weight_norm(nn.Conv2d(channels, width, kernel_size=3, padding=1)) for width in (channels, 1)]
        return nn.ModuleList([*down, *last])

    def spectrogram(self, waveform: Tensor, n_fft: int) -> Tensor:
        """Waveform (B, samples) -> log magnitudes (B, 1, frequencies, frames)."""
        with torch.autocast(waveform.device.type, enabled=False):
            window = torch.hann_window(n_fft, device=waveform.device)
            spectrum = torch.stft(
                waveform.float(), n_fft, self.hop_lengths[n_fft], window=window, normalized=True, return_complex=True
            )
            return (spectrum.real.square() + spectrum.imag.square()).clamp_min(self.floor**2).log()[:, None] / 2

    def forward(self, waveform: Tensor) -> list[list[Tensor]]:
        """Score waveforms.

        Args:
            waveform: (B, samples), more samples than half the longest window.

        Returns:
            Per resolution the activations of each layer (B, channels, frequencies, frames); the last ones, with one
            channel, are the logits: high for a recording.
        """
        per_resolution = []
        for n_fft, stack in zip(self.hop_lengths, self.stacks, strict=True):
            features = self.spectrogram(waveform, n_fft)
            activations = []
            *layers, head = cast(nn.ModuleList, stack)
            for layer in layers:
                features = F.leaky_relu(layer(features), 0.1)
                activations.append(features)
            per_resolution.append([*activations, head(features)])
        return per_resolution


class PatchDiscriminator(nn.Module):
    """Scores patches of mel spectrograms, 70 frames by 70 bins with three layers, by 2-D convolutions.

    Source: Isola et al., "Image-to-Image Translation with Conditional Adversarial Networks", 2017,
    https://arxiv.org/abs/1611.07004, section 3.2.2; as latent diffusion's autoencoders are trained against. Weights are
    normalised here instead of activations, since batches are small.

    Args:
        channels: width of the first layer; it doubles twice.
        num_layers: convolutions that halve time and frequency.
    """

    def __init__(self, channels: int = 32, num_layers: int = 3) -> None:
        super().__init__()
        if num_layers < 1:
            raise ConfigurationError(f"expected num_layers of at least 1, got {num_layers}")
        widths = [1, *(channels * min(4, 2**k) for k in range(num_layers + 1))]
        strides = [2] * num_layers + [1]
        self.layers = nn.ModuleList(
            weight_norm(nn.Conv2d(width, wider, kernel_size=4, stride=stride, padding=1))
            for width, wider, stride in zip(widths, widths[1:], strides, strict=False)
        )
        self.layers.append(weight_norm(nn.Conv2d(widths[-1], 1, kernel_size=4, padding=1)))

    def forward(self, mel: Tensor) -> list[list[Tensor]]:
        """Score mel spectrograms (B, frames, bins); returns activations as :class:`SpectrogramDiscriminator` does."""
        # Log-mels lie in [-11.5, 2].
        features, activations = (mel.transpose(1, 2)[:, None] + 5) / 3, []
        for layer in self.layers[:-1]:
            features = F.leaky_relu(layer(features), 0.2)
            activations.append(features)
        return [[*activations, self.layers[-1](features)]]

"""A vocoder that is fast on a CPU.

Full-size models use ``transformers.SpeechT5HifiGan``, which works at the full sample rate and takes 15 s on two cores
for 10 s of sound, four times as long as the one-query student. :class:`FourierVocoder` works at the frame rate and
leaves the rest to an inverse STFT.
"""

from __future__ import annotations

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from consistency_tta.components.float32_buffers import Float32Buffers


class ConvNeXtBlock(nn.Module):
    """Depthwise convolution over time, then a two-layer perceptron per frame, on (B, channels, frames)."""

    def __init__(self, channels: int, hidden: int, scale: float) -> None:
        super().__init__()
        self.depthwise = nn.Conv1d(channels, channels, kernel_size=7, padding=3, groups=channels)
        self.norm = nn.LayerNorm(channels, eps=1e-6)
        self.expand = nn.Linear(channels, hidden)
        self.project = nn.Linear(hidden, channels)
        self.scale = nn.Parameter(torch.full((channels,), scale))

    def forward(self, features: Tensor) -> Tensor:
        """(B, channels, frames) -> the same shape."""
        update = self.norm(self.depthwise(features).transpose(1, 2))
        update = self.scale * self.project(F.gelu(self.expand(update)))
        return features + update.transpose(1, 2)


class FourierVocoder(Float32Buffers, ModelMixin, ConfigMixin):
    """Mel to waveform by predicting a complex spectrogram, one ConvNeXt frame at a time.

    Source: Siuzdak, "Vocos: Closing the gap between time-domain and Fourier-based neural vocoders for high-quality
    audio synthesis", 2024, https://arxiv.org/abs/2306.00814, section 3.

    Args:
        model_in_dim: mel bins (named as in ``SpeechT5HifiGanConfig``).
        sampling_rate: in Hz.
        hop_length: samples per mel frame.
        n_fft: length of the inverse transform; four hops give 75 % overlap.
        channels: width of the backbone.
        num_layers: ConvNeXt blocks.
        noise_channels: channels of white noise that the network reads with the mel. From it the network can make
            textures such as rain where the mel is too smooth to determine them. In evaluation mode the noise is always
            the same.
    """

    window: Tensor

    @register_to_config
    def __init__(
        self,
        model_in_dim: int = 64,
        sampling_rate: int = 16000,
        hop_length: int = 160,
        n_fft: int = 640,
        channels: int = 256,
        num_layers: int = 8,
        noise_channels: int = 0,
    ) -> None:
        super().__init__()
        self.embed = nn.Conv1d(model_in_dim + noise_channels, channels, kernel_size=7, padding=3)
        self.embed_norm = nn.LayerNorm(channels, eps=1e-6)
        self.blocks = nn.ModuleList(ConvNeXtBlock(channels, 3 * channels, 1 / num_layers) for _ in range(num_layers))
        self.norm = nn.LayerNorm(channels, eps=1e-6)
        self.head = nn.Linear(channels, n_fft + 2)
        nn.init.trunc_normal_(self.head.weight, std=0.02)
        nn.init.zeros_(self.head.bias)
        self.register_buffer("window", torch.hann_window(n_fft, dtype=torch.float32), persistent=False)

    def forward(self, spectrogram: Tensor) -> Tensor:
        """Mel (B, frames, bins) -> waveform (B, frames * hop_length)."""
        # One frame more than needed: a centred inverse STFT of n + 1 frames has n hops.
        mel = F.pad(spectrogram.transpose(1, 2), (0, 1), mode="replicate")
        features = torch.cat([mel, self.noise(mel)], dim=1)
        features = self.embed_norm(self.embed(features).transpose(1, 2)).transpose(1, 2)
        for block in self.blocks:
            features = block(features)
        log_magnitude, phase = self.head(self.norm(features.transpose(1, 2))).transpose(1, 2).float().chunk(2, dim=1)
        # The bound, exp(4.6) = 100, keeps a young network from exploding.
        spectrum = torch.polar(log_magnitude.clamp_max(4.6).exp(), phase)
        with torch.autocast(spectrogram.device.type, enabled=False):
            return torch.istft(
                spectrum, self.config["n_fft"], self.config["hop_length"], window=self.window.float(), center=True
            )

    def noise(self, mel: Tensor) -> Tensor:
        """White noise (B, noise_channels, frames) for a mel (B, bins, frames)."""
        shape = (len(mel), self.config["noise_channels"], mel.shape[2])
        if self.training:
            return torch.randn(shape, dtype=mel.dtype, device=mel.device)
        # Drawn frame after frame, on the CPU, by sixteen frames (torch draws normal numbers by sixteens): a longer
        # sound begins as a shorter one, on every device.
        generator, frames = torch.Generator().manual_seed(0), -(-shape[2] // 16) * 16
        return torch.randn(frames, shape[1], generator=generator)[: shape[2]].T.to(mel).expand(shape)

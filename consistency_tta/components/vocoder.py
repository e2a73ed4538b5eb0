"""A vocoder that is fast on a CPU.

Full-size models use ``transformers.SpeechT5HifiGan``, which works at the full sample rate and takes 15 s on two cores
for 10 s of sound, four times as long as the one-query student. :class:`FourierVocoder` works at the frame rate and
leaves the rest to an inverse STFT.
"""

from __future__ import annotations

import math

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from consistency_tta.components.float32_buffers import Float32Buffers
from consistency_tta.components.griffin_lim import GriffinLimVocoder
from consistency_tta.components.inverse_stft import InverseSTFT
from consistency_tta.components.mel_matching import MelMatching
from consistency_tta.components.noise_excitation import mel_to_log_magnitude, noise_spectra
from consistency_tta.runtime.errors import ConfigurationError


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


#: Frames of fixed noise: 5.12 s at the usual hop length.
NOISE_FRAMES = 512


class FourierVocoder(Float32Buffers, ModelMixin, ConfigMixin):
    """Mel to waveform by predicting a complex spectrogram, one ConvNeXt frame at a time.

    The spectrogram is ``exp(m) * (cos p + i sin p)`` with magnitude and phase from the network. With
    ``noise_excitation`` spectrograms of two noises are added, each multiplied by a magnitude from the network: white
    noise, whose own magnitudes fluctuate as those of rain do, and flat noise, whose magnitudes are nearly constant, for
    engines. Neighbouring frames of these agree about the samples that they share, which phases drawn frame by frame do
    not. All magnitudes start at those of the mel, so an untrained vocoder already makes noise of the right spectrum.

    Sources: Siuzdak, "Vocos: Closing the gap between time-domain and Fourier-based neural vocoders for high-quality
    audio synthesis", 2024, https://arxiv.org/abs/2306.00814, section 3; for the noise Serra and Smith, "Spectral
    modeling synthesis", 1990, https://doi.org/10.2307/3680788, and Engel et al., "DDSP", 2020,
    https://arxiv.org/abs/2001.04643, section 3.5.

    Args:
        model_in_dim: mel bins (named as in ``SpeechT5HifiGanConfig``).
        sampling_rate: in Hz.
        hop_length: samples per mel frame.
        n_fft: length of the inverse transform; four hops give 75 % overlap.
        channels: width of the backbone.
        num_layers: ConvNeXt blocks.
        noise_channels: channels of white noise that the network reads with the mel. From it the network can make
            textures such as rain where the mel is too smooth to determine them.
        noise_excitation: add filtered noise.
        mel_share: weight of the magnitudes that have the given mel against the network's own, in [0, 1]; see
            :class:`~consistency_tta.components.mel_matching.MelMatching`. In training mode the network's alone. With
            this or ``noise_excitation`` the mel is expected to be a natural-log one, as
            :class:`~consistency_tta.components.mel.MelSpectrogram` makes it, with the three settings below.
        mel_n_fft: window length of the mel in samples.
        f_min: lowest frequency of the mel filters in Hz.
        f_max: highest frequency of the mel filters in Hz.

    Raises:
        ConfigurationError: if ``mel_share`` is out of range.

    All noise is new at each call in training mode. In evaluation mode it is always the same, on every device, and
    repeats after 512 frames.
    """

    noise_inputs: Tensor
    noise_spectra: Tensor

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
        noise_excitation: bool = False,
        mel_n_fft: int = 1024,
        f_min: float = 0.0,
        f_max: float = 8000.0,
        mel_share: float = 0.0,
    ) -> None:
        super().__init__()
        if not 0 <= mel_share <= 1:
            raise ConfigurationError(f"expected a mel_share in [0, 1], got {mel_share}")
        self.embed = nn.Conv1d(model_in_dim + noise_channels, channels, kernel_size=7, padding=3)
        self.embed_norm = nn.LayerNorm(channels, eps=1e-6)
        self.blocks = nn.ModuleList(ConvNeXtBlock(channels, 3 * channels, 1 / num_layers) for _ in range(num_layers))
        self.norm = nn.LayerNorm(channels, eps=1e-6)
        frequencies = n_fft // 2 + 1
        self.head = nn.Linear(channels, (4 if noise_excitation else 2) * frequencies)
        nn.init.trunc_normal_(self.head.weight, std=0.02)
        nn.init.zeros_(self.head.bias)
        self.inverse_stft = InverseSTFT(n_fft, hop_length)
        generator = torch.Generator().manual_seed(0)
        # In float32 whatever the default is: half precision reads the same noise.
        inputs = torch.randn(NOISE_FRAMES, noise_channels, generator=generator, dtype=torch.float32).T
        self.register_buffer("noise_inputs", inputs, persistent=False)
        if noise_excitation:
            self.envelope = nn.Linear(model_in_dim, frequencies)
            with torch.no_grad():
                weight, bias = mel_to_log_magnitude(model_in_dim, sampling_rate, mel_n_fft, n_fft, f_min, f_max)
                self.envelope.weight.copy_(weight)
                self.envelope.bias.copy_(bias)
                # The network begins with noise of the right power: the other part's phases are wrong at first.
                self.head.bias[:frequencies] = -2
                self.head.bias[frequencies : 3 * frequencies] = -0.5 * math.log(2)
            white = torch.randn(1, NOISE_FRAMES * hop_length, generator=generator, dtype=torch.float32)
            # Frame by frame, (2, frames, n_fft + 2), so that whole rows are read.
            spectra = noise_spectra(white, n_fft, hop_length).transpose(1, 2).contiguous()
            self.register_buffer("noise_spectra", spectra, persistent=False)
        self.mel_matching = None
        if mel_share > 0:
            mel = (model_in_dim, sampling_rate, mel_n_fft, hop_length, f_min, f_max)
            self.mel_matching = MelMatching(GriffinLimVocoder(*mel, num_iterations=1, num_updates=5), mel_share)

    def forward(self, spectrogram: Tensor) -> Tensor:
        """Mel (B, frames, bins) -> waveform (B, frames * hop_length)."""
        waveform = self.network(spectrogram)
        if self.mel_matching is None or self.training:
            return waveform
        with torch.autocast(spectrogram.device.type, enabled=False):
            return self.mel_matching(waveform, spectrogram)

    def network(self, spectrogram: Tensor) -> Tensor:
        """Mel (B, frames, bins) -> the network's own waveform (B, frames * hop_length)."""
        # One frame more than needed: a centred inverse STFT of n + 1 frames has n hops.
        mel = torch.cat([spectrogram, spectrogram[:, -1:]], dim=1)
        features = torch.cat([mel.transpose(1, 2), self.noise(mel)], dim=1)
        features = self.embed_norm(self.embed(features).transpose(1, 2)).transpose(1, 2)
        for block in self.blocks:
            features = block(features)
        predicted = self.head(self.norm(features.transpose(1, 2))).transpose(1, 2).float()
        if not self.config["noise_excitation"]:
            log_magnitude, phase = predicted.chunk(2, dim=1)
            return self.inverse_stft(polar(log_magnitude, phase))
        with torch.autocast(mel.device.type, enabled=False):
            envelope = self.envelope(mel.to(self.envelope.weight.dtype)).transpose(1, 2).float()
        tone, white, flat, phase = predicted.chunk(4, dim=1)
        spectrum = polar(tone + envelope, phase)
        for log_gain, noise in zip((white, flat), self.excitation(mel), strict=True):
            spectrum = spectrum + bounded_exp(log_gain + envelope).repeat(1, 2, 1) * noise
        return self.inverse_stft(spectrum)

    def noise(self, mel: Tensor) -> Tensor:
        """White noise (B, noise_channels, frames) for a mel (B, frames, bins)."""
        shape = (mel.shape[0], self.config["noise_channels"], mel.shape[1])
        if self.training:
            return torch.randn(shape, dtype=mel.dtype, device=mel.device)
        frames = torch.arange(mel.shape[1], device=mel.device) % NOISE_FRAMES
        return self.noise_inputs[:, frames].to(mel.dtype).expand(shape)

    def excitation(self, mel: Tensor) -> tuple[Tensor, Tensor]:
        """Spectra (B, n_fft + 2, frames) of white and of flat noise; in training mode from a random place on."""
        frames = torch.arange(mel.shape[1], device=mel.device)
        if self.training:
            frames = frames + torch.randint(NOISE_FRAMES, (len(mel), 1), device=mel.device)
        white, flat = self.noise_spectra[:, frames % NOISE_FRAMES].transpose(-1, -2).unbind(0)
        shape = (mel.shape[0], *white.shape[-2:])  # not len(mel), which an exported graph would keep
        return white.expand(shape), flat.expand(shape)


def bounded_exp(log_magnitude: Tensor) -> Tensor:
    """Magnitudes of at most exp(5.3) = 200, above a full-scale sine's, which keeps a young network from exploding."""
    return log_magnitude.clamp_max(5.3).exp()


def polar(log_magnitude: Tensor, phase: Tensor) -> Tensor:
    """Real, then imaginary parts (B, 2 F, frames) of a spectrum with log magnitude and phase (B, F, frames)."""
    magnitude = bounded_exp(log_magnitude)
    return torch.cat([magnitude * phase.cos(), magnitude * phase.sin()], dim=1)

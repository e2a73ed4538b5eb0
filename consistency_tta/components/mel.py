"""Waveform to natural-log mel spectrogram, in torch."""

from __future__ import annotations

from math import log2

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import Tensor
from transformers.audio_utils import mel_filter_bank

from consistency_tta.components.float32_buffers import Float32Buffers
from consistency_tta.runtime.errors import ConfigurationError, ShapeError


class MelSpectrogram(Float32Buffers, ModelMixin, ConfigMixin):
    """The mel front end of AudioLDM and TANGO: log(max(mel(|STFT|), floor)), slaney filters, periodic Hann window.

    Source: Liu et al., "AudioLDM: Text-to-Audio Generation with Latent Diffusion Models", 2023,
    https://arxiv.org/abs/2301.12503, section 4; the filters are Slaney's (area-normalised), as in librosa's default.

    Args:
        sample_rate: in Hz.
        n_fft: window and transform length in samples.
        hop_length: samples between frames.
        n_mels: number of mel bins.
        f_min: lowest frequency in Hz.
        f_max: highest frequency in Hz, at most half the sample rate.
        floor: smallest magnitude before the logarithm.

    Raises:
        ConfigurationError: if the frequencies are out of order or range.
    """

    filters: Tensor
    window: Tensor

    @register_to_config
    def __init__(
        self,
        sample_rate: int = 16000,
        n_fft: int = 1024,
        hop_length: int = 160,
        n_mels: int = 64,
        f_min: float = 0.0,
        f_max: float = 8000.0,
        floor: float = 1e-5,
    ) -> None:
        super().__init__()
        if not 0 <= f_min < f_max <= sample_rate / 2:
            raise ConfigurationError(
                f"expected 0 <= f_min < f_max <= sample_rate / 2 = {sample_rate / 2:g} Hz, "
                f"got f_min={f_min}, f_max={f_max}"
            )
        filters = mel_filter_bank(n_fft // 2 + 1, n_mels, f_min, f_max, sample_rate, norm="slaney", mel_scale="slaney")
        # The filters are saved, too: diffusers does not load a component that has no tensor.
        self.register_buffer("filters", torch.as_tensor(filters, dtype=torch.float32))
        self.register_buffer("window", torch.hann_window(n_fft, dtype=torch.float32), persistent=False)

    def forward(self, waveform: Tensor) -> Tensor:
        """Compute the mel spectrogram.

        Args:
            waveform: (B, samples) at ``sample_rate``, in [-1, 1].

        Returns:
            (B, frames, bins) with frames = samples // hop_length.

        Raises:
            ShapeError: if the waveform has not two dimensions or is shorter than half a window.
        """
        n_fft, hop_length = self.config["n_fft"], self.config["hop_length"]
        if waveform.ndim != 2 or waveform.shape[1] <= n_fft // 2:
            raise ShapeError(f"expected a waveform (B, more than {n_fft // 2} samples), got {tuple(waveform.shape)}")
        # Half precision has no FFT on the CPU, and log-mels near the floor need float32 everywhere.
        with torch.autocast(waveform.device.type, enabled=False):
            spectrum = torch.stft(
                waveform.float(), n_fft, hop_length, window=self.window.float(), center=True, return_complex=True
            )
            # Clamped before the root rather than abs(): the gradient of abs() at silence is not finite in all backends.
            magnitude = (spectrum.real.square() + spectrum.imag.square()).clamp_min(1e-20).sqrt()
            mel = magnitude.transpose(1, 2) @ self.filters.float()
            frames = waveform.shape[1] // hop_length
            return mel[:, :frames].clamp_min(self.config["floor"]).log()


def full_band_mel(sample_rate: int) -> MelSpectrogram:
    """A front end for pictures of sounds, up to half the sample rate.

    Its windows are 1024 samples long at 16 kHz, and about as many seconds at other rates.
    """
    return MelSpectrogram(sample_rate, 2 ** round(log2(0.064 * sample_rate)), sample_rate // 100, f_max=sample_rate / 2)

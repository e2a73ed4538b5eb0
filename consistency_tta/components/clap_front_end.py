"""CLAP's log-mel spectrogram in torch.

The feature extractor of transformers works in numpy, crops at random and has no gradient.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from transformers import ClapFeatureExtractor

from consistency_tta.runtime.cut_inputs import warn_of_cut_sound
from consistency_tta.runtime.device import exact_dtype
from consistency_tta.runtime.errors import ConfigurationError, ShapeError


class ClapFrontEnd(nn.Module):
    """``transformers.ClapFeatureExtractor`` in torch: differentiable, on any device, and with nothing random.

    A waveform that is too long is cut at its end, where datamodules put the silence behind a short recording; the
    extractor would take a random part. A short one is lengthened as the extractor does.

    Args:
        extractor: whose settings to follow.

    Raises:
        ConfigurationError: if the extractor stacks four spectrograms (``truncation="fusion"``).
    """

    filters: Tensor

    def __init__(self, extractor: ClapFeatureExtractor) -> None:
        super().__init__()
        if extractor.truncation != "rand_trunc":
            raise ConfigurationError(
                f"expected a CLAP with truncation 'rand_trunc', got {extractor.truncation!r}: take one without feature "
                "fusion, such as laion/clap-htsat-unfused"
            )
        self.sample_rate: int = extractor.sampling_rate
        self.n_fft: int = extractor.fft_window_size
        self.hop_length: int = extractor.hop_length
        self.max_samples = int(extractor.nb_max_samples)
        self.padding: str = extractor.padding
        filters = torch.as_tensor(extractor.mel_filters_slaney, dtype=torch.float32)
        self.register_buffer("filters", filters, persistent=False)

    def fit_length(self, waveform: Tensor) -> Tensor:
        """(B, samples) -> (B, max_samples), cut or lengthened by repetition, silence or both."""
        warn_of_cut_sound("CLAP", waveform.shape[1], self.max_samples, self.sample_rate)
        whole = self.max_samples // waveform.shape[1]
        repeats = {"repeatpad": whole, "repeat": whole + 1, "pad": 1}[self.padding]
        waveform = waveform.repeat(1, max(1, repeats))[:, : self.max_samples]
        return F.pad(waveform, (0, self.max_samples - waveform.shape[1]))

    def forward(self, waveform: Tensor) -> Tensor:
        """Log-mel spectrograms.

        Args:
            waveform: (B, samples) at ``sample_rate``, in [-1, 1].

        Returns:
            (B, 1, frames, bins) in dB, at least -100; frames = 1 + max_samples // hop_length.
        """
        if waveform.ndim != 2 or not waveform.shape[1]:
            raise ShapeError(f"expected a waveform (B, samples), got {tuple(waveform.shape)}")
        # Next to a loud tone, float32's rounding errors would fill the silent bands up.
        exact = exact_dtype(waveform.device)
        with torch.autocast(waveform.device.type, enabled=False):
            window = torch.hann_window(self.n_fft, dtype=exact, device=waveform.device)
            spectrum = torch.stft(
                self.fit_length(waveform).to(exact), self.n_fft, self.hop_length, window=window, return_complex=True
            )
            power = spectrum.real.square() + spectrum.imag.square()
            mel = power.transpose(1, 2) @ self.filters.to(exact)
            return 10 * mel.clamp_min(1e-10).log10()[:, None].float()

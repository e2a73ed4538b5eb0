"""Vocoders in real numbers: ONNX has no complex ones, and few runtimes have an FFT."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from consistency_tta.components.griffin_lim import GriffinLimVocoder
from consistency_tta.components.inverse_stft import InverseSTFT
from consistency_tta.components.vocoder import FourierVocoder


def real_vocoder(vocoder: nn.Module, frames: int) -> nn.Module:
    """A vocoder with the same result that uses no complex numbers; the same one where it uses none.

    Args:
        vocoder: of a model folder.
        frames: of the mels that it will get.
    """
    if isinstance(vocoder, GriffinLimVocoder):
        return RealGriffinLim(vocoder, frames)
    if isinstance(vocoder, FourierVocoder) and vocoder.mel_matching is not None:
        return RealMelMatching(vocoder)
    return vocoder


class PhaseSearch(nn.Module):
    """The search for phases of a :class:`~consistency_tta.components.griffin_lim.GriffinLimVocoder`.

    Spectra are (B, n_fft + 2, frames): the real parts of all frequencies, then the imaginary parts. The transform is a
    convolution with cosines and sines.

    Args:
        griffin_lim: whose settings are used.
    """

    basis: Tensor

    def __init__(self, griffin_lim: GriffinLimVocoder) -> None:
        super().__init__()
        config = griffin_lim.config
        self.n_fft, self.hop_length, self.iterations = config["n_fft"], config["hop_length"], config["num_iterations"]
        self.momentum = config["momentum"] / (1 + config["momentum"])
        self.inverse_stft = InverseSTFT(self.n_fft, self.hop_length)
        window = torch.hann_window(self.n_fft, dtype=torch.float64)
        frequencies = torch.arange(self.n_fft // 2 + 1, dtype=torch.float64)
        angle = 2 * torch.pi / self.n_fft * frequencies[:, None] * torch.arange(self.n_fft, dtype=torch.float64)
        basis = torch.cat([angle.cos(), -angle.sin()]) * window
        self.register_buffer("basis", basis[:, None].float(), persistent=False)

    def spectrum(self, waveform: Tensor) -> Tensor:
        """Waveform (B, samples) -> spectrum, of samples // hop_length + 1 frames."""
        padded = F.pad(waveform[:, None], (self.n_fft // 2, self.n_fft // 2))
        return F.conv1d(padded, self.basis, stride=self.hop_length)

    def forward(self, magnitude: Tensor, phase: Tensor) -> Tensor:
        """Find phases that suit the magnitudes.

        Args:
            magnitude: (B, n_fft / 2 + 1, frames).
            phase: to start from, a spectrum of magnitude 1.

        Returns:
            Waveform (B, (frames - 1) * hop_length).
        """
        magnitude, previous = magnitude.repeat(1, 2, 1), torch.zeros_like(phase)
        for _ in range(self.iterations):
            consistent = self.spectrum(self.inverse_stft(magnitude * phase))
            phase = consistent - self.momentum * previous
            phase = phase / absolute(phase).clamp_min(1e-9).repeat(1, 2, 1)
            previous = consistent
        return self.inverse_stft(magnitude * phase)


class RealGriffinLim(nn.Module):
    """A :class:`~consistency_tta.components.griffin_lim.GriffinLimVocoder` for mels of one length.

    Args:
        vocoder: the original.
        frames: of the mels.
    """

    start: Tensor

    def __init__(self, vocoder: GriffinLimVocoder, frames: int) -> None:
        super().__init__()
        self.vocoder, self.search = vocoder, PhaseSearch(vocoder)
        start = vocoder.random_phase(torch.ones(1, vocoder.config["n_fft"] // 2 + 1, frames + 1))
        self.register_buffer("start", torch.cat([start.real, start.imag], dim=1))

    def forward(self, spectrogram: Tensor) -> Tensor:
        """Natural-log mel (B, frames, bins) -> waveform (B, frames * hop_length)."""
        magnitude = self.vocoder.fitted_magnitude(spectrogram)
        return self.search(magnitude, self.start.expand(magnitude.shape[0], -1, -1))


class RealMelMatching(nn.Module):
    """A :class:`~consistency_tta.components.vocoder.FourierVocoder` with ``mel_share``.

    Args:
        vocoder: the original.
    """

    def __init__(self, vocoder: FourierVocoder) -> None:
        super().__init__()
        assert vocoder.mel_matching is not None  # real_vocoder has looked
        self.vocoder, self.search = vocoder, PhaseSearch(vocoder.mel_matching.griffin_lim)

    def forward(self, spectrogram: Tensor) -> Tensor:
        """Natural-log mel (B, frames, bins) -> waveform (B, frames * hop_length)."""
        matching = self.vocoder.mel_matching
        assert matching is not None  # see above
        spectrum = self.search.spectrum(self.vocoder.network(spectrogram).float())
        own = absolute(spectrum).clamp_min(1e-6)
        fitted = matching.griffin_lim.fitted_magnitude(spectrogram).clamp_min(1e-6)
        magnitude = fitted**matching.share * own ** (1 - matching.share)
        return self.search(magnitude, spectrum / own.repeat(1, 2, 1))


def absolute(spectrum: Tensor) -> Tensor:
    """Magnitudes (B, F, frames) of real, then imaginary parts (B, 2 F, frames)."""
    real, imag = spectrum.chunk(2, dim=1)
    return (real.square() + imag.square()).sqrt()

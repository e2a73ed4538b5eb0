"""Distance between the phases of two sounds, where a phase has a meaning: its derivatives."""

from __future__ import annotations

import torch
from torch import Tensor

from consistency_tta.contracts import AudioOutput, Loss
from consistency_tta.runtime.errors import ConfigurationError


class PhaseDerivativeLoss(Loss):
    """One minus the cosine of the errors of group delay and instantaneous frequency.

    The absolute phase of a sound cannot be predicted from its mel spectrogram. Its derivative over frequency, the group
    delay, says where in a window an impulse lies, and its derivative over time which frequency a tone has. Both are
    phases of products of neighbouring bins, and compared by their cosine they need no unwrapping.

    Source: Ai and Ling, "APNet: An All-Frame-Level Neural Vocoder Incorporating Direct Prediction of Amplitude and
    Phase Spectra", 2023, https://arxiv.org/abs/2305.07952, section III-B, with 1 - cos as the distance, and bins
    weighted by the target's magnitude.

    Args:
        n_fft: length of transform and Hann window in samples.
        hop_length: samples between frames.
        power: of the target's magnitude, the weight of a bin.

    Raises:
        ConfigurationError: a number is out of range.
    """

    noise_weighted = False
    window: Tensor

    def __init__(self, n_fft: int = 512, hop_length: int = 64, power: float = 0.5) -> None:
        super().__init__()
        if not 0 < hop_length <= n_fft or power < 0:
            raise ConfigurationError(
                f"expected a hop_length in [1, n_fft] and a power >= 0, got {hop_length}, {n_fft} and {power}"
            )
        self.n_fft, self.hop_length, self.power = n_fft, hop_length, power
        self.register_buffer("window", torch.hann_window(n_fft), persistent=False)

    def forward(self, out: AudioOutput) -> Tensor:
        """Values (B,) in [0, 2]; about 0.5 for unrelated noise, as neighbouring bins share most of their window."""
        made, wanted = self.derivatives(out.student_waveform), self.derivatives(out.target_waveform)
        return torch.stack([self.distance(*pair) for pair in zip(made, wanted, strict=True)]).mean(0)

    def derivatives(self, waveform: Tensor) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        """Waveform (B, samples) -> products of bins that are neighbours in frequency, and in time.

        Each has real and imaginary parts (B, frequencies, frames).
        """
        spectrum = torch.view_as_real(
            torch.stft(waveform.float(), self.n_fft, self.hop_length, window=self.window, return_complex=True)
        )
        real, imag = spectrum.unbind(-1)
        return (
            _product((real[:, 1:], imag[:, 1:]), (real[:, :-1], imag[:, :-1])),
            _product((real[..., 1:], imag[..., 1:]), (real[..., :-1], imag[..., :-1])),
        )

    def distance(self, made: tuple[Tensor, Tensor], wanted: tuple[Tensor, Tensor]) -> Tensor:
        """Weighted mean (B,) of 1 - cos of the angles between complex numbers."""
        size = (wanted[0].square() + wanted[1].square()).clamp_min(1e-12).sqrt()
        own = (made[0].square() + made[1].square()).clamp_min(1e-12).sqrt()
        cosine = (made[0] * wanted[0] + made[1] * wanted[1]) / (own * size)
        # The product of two bins has the square of their magnitude.
        weight = size.pow(self.power / 2)
        return ((1 - cosine) * weight).flatten(1).sum(1) / weight.flatten(1).sum(1)


def _product(one: tuple[Tensor, Tensor], other: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """One complex number times the conjugate of another."""
    return one[0] * other[0] + one[1] * other[1], one[1] * other[0] - one[0] * other[1]

"""The log-spectral distance of a generated waveform and the real one it should equal.

    LSD = mean over frames of (mean over frequencies of (log10 P - log10 P')^2)^(1/2)

with the power spectra P and P', at least ``floor``: in units of 10 dB. For vocoders and autoencoders; two good clips of
one caption are far apart by it.

Source: Haohe Liu et al., "Neural Vocoder is All You Need for Speech Super-resolution", 2022,
https://arxiv.org/abs/2203.14941, whose program ssr_eval is what audioldm_eval calls for AudioLDM. From it come the
window of 46 ms and the hop of 10 ms. Instead of ``floor`` it adds 1e-12, once to a magnitude and once to a ratio, by
which two equal silent clips are 12 apart; where no power is below ``floor``, the two agree. audioldm_eval also shifts,
centres and scales waveforms before; here they are taken as they are.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from consistency_tta.metrics.states import ClipMean, check_rate, check_sounds, finite_rows
from consistency_tta.runtime.errors import ConfigurationError, ShapeError


class LogSpectralDistance(ClipMean):
    """Mean over clips of the LSD above; 0 is best. Constant memory.

    Spectra are those of ``torch.stft``: periodic Hann window, centred frames, reflected at the ends.

    Args:
        sample_rate: of all waveforms in Hz; the window has 2048 samples at 44100 Hz, the hop is 10 ms.
        floor: smallest power. 1e-8 is near what rounding to 16 bits leaves at 16 kHz.
        **kwargs: of :class:`torchmetrics.Metric`.

    Raises:
        ConfigurationError: sample_rate is below 100 Hz or floor is not positive.
    """

    higher_is_better = False
    plot_lower_bound = 0.0

    window: Tensor

    def __init__(self, sample_rate: int, floor: float = 1e-8, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        check_rate(sample_rate)
        if sample_rate < 100 or floor <= 0:
            raise ConfigurationError(f"expected sample_rate >= 100 Hz and floor > 0, got {sample_rate} and {floor}")
        self.n_fft, self.hop_length, self.floor = int(2048 * sample_rate / 44100), sample_rate // 100, floor
        self.register_buffer("window", torch.hann_window(self.n_fft, dtype=torch.float64), persistent=False)

    def update(self, waveform: Tensor, recording: Tensor) -> None:
        """Add waveforms (B, samples) and the real ones (B, samples) that belong to them, of the same length."""
        check_sounds(waveform, recording)
        if waveform.shape != recording.shape:
            raise ShapeError(
                f"expected pairs of equally long waveforms, got shapes {tuple(waveform.shape)} and "
                f"{tuple(recording.shape)}: cut them to the same samples; what to drop is not for a metric to guess"
            )
        if waveform.shape[-1] <= self.n_fft // 2:
            raise ShapeError(f"expected more than {self.n_fft // 2} samples, got {waveform.shape[-1]}: too short")
        ratio = self._power(waveform).div_(self._power(recording))  # one logarithm instead of two
        self._add(ratio.log10_().square_().mean(1).sqrt().mean(1))

    def _power(self, waveform: Tensor) -> Tensor:
        """(B, samples) -> power (B, frequencies, frames), at least ``floor``."""
        # In float64: with float32, loud tones leave rounding errors in quiet bins that change a distance by 1e-5.
        waveform = finite_rows(waveform, what="waveforms").double()
        spectrum = torch.stft(waveform, self.n_fft, self.hop_length, window=self.window, return_complex=True)
        # Six times faster than a sum over torch.view_as_real's last axis, which is too short to be vectorised.
        return spectrum.real.square().add_(spectrum.imag.square()).clamp_min_(self.floor)

"""Sample-rate conversion in plain torch: a polyphase windowed-sinc filter, differentiable, on any device.

The signal is rebuilt between its samples by a low-pass ``h`` and read at the new instants,

    y[n] = sum_k x[k] h(k - n orig / new),    h(u) = c sinc(c u) kaiser(c u / zeros),

with ``c`` the cutoff as a share of the old Nyquist frequency. The window's shape and the width of its transition
band are those of J. F. Kaiser, "Nonrecursive digital filter design using the I0-sinh window function", ISCAS 1974. The
interpolation is that of J. O. Smith, "Digital Audio Resampling", 2002, https://ccrma.stanford.edu/~jos/resample/.
"""

from __future__ import annotations

import math
from fractions import Fraction
from functools import lru_cache

import torch
from torch import Tensor, nn

from consistency_tta.runtime.errors import ConfigurationError

#: Zero crossings of the sinc on each side.
ZERO_CROSSINGS = 64
#: How far aliases and images lie below the signal, in dB.
ATTENUATION = 100.0
#: The largest number of filters kept. A ratio that needs more is rounded, by less than one part in a million.
MAX_PHASES = 1000
#: Output samples that one step of the convolution computes at least: fewer channels than this are slow.
BLOCK_SAMPLES = 16


class Resample(nn.Module):
    """Change the sample rate of waveforms.

    Passes frequencies up to 90 % of the lower Nyquist frequency unchanged and suppresses what lies above it by about
    100 dB. Output sample ``n`` is at the instant ``n / new_rate`` of the input: there is no delay.

    Args:
        orig_rate: sample rate of the input in Hz.
        new_rate: sample rate of the output in Hz.

    Raises:
        ConfigurationError: for a rate that is not positive.
    """

    kernel: Tensor

    def __init__(self, orig_rate: int, new_rate: int) -> None:
        super().__init__()
        if orig_rate <= 0 or new_rate <= 0:
            raise ConfigurationError(f"expected positive sample rates, got {orig_rate} Hz -> {new_rate} Hz")
        ratio = Fraction(new_rate, orig_rate)
        if ratio.numerator > MAX_PHASES:
            ratio = 1 / (1 / ratio).limit_denominator(MAX_PHASES)
        self.up, self.down = ratio.numerator, ratio.denominator
        kernel, self.half_width = _kernel(self.up, self.down)
        # Ratios of few phases, such as 48 kHz to 16 kHz with one, compute several periods at once.
        self.periods = -(-BLOCK_SAMPLES // self.up)
        shifts = [self.down * period for period in range(self.periods)]
        kernel = torch.cat([nn.functional.pad(kernel, (shift, shifts[-1] - shift)) for shift in shifts])
        self.register_buffer("kernel", kernel.float(), persistent=False)

    def forward(self, waveform: Tensor) -> Tensor:
        """Resample.

        Args:
            waveform: (..., samples) at ``orig_rate``, floating point.

        Returns:
            (..., ceil(samples * new_rate / orig_rate)) at ``new_rate``.
        """
        if self.up == self.down:
            return waveform
        samples = waveform.shape[-1]
        length = -(-samples * self.up // self.down)
        produced, consumed = self.periods * self.up, self.periods * self.down
        blocks = -(-length // produced)
        flat = waveform.reshape(-1, 1, samples)
        needed = (blocks - 1) * consumed + self.kernel.shape[-1]
        padded = nn.functional.pad(flat, (self.half_width, max(0, needed - self.half_width - samples)))
        phases = nn.functional.conv1d(padded[..., :needed], self.kernel.to(waveform.dtype), stride=consumed)
        return phases.transpose(1, 2).reshape(*waveform.shape[:-1], blocks * produced)[..., :length]

    def extra_repr(self) -> str:
        """The reduced ratio, for ``print``."""
        return f"{self.down} samples -> {self.up} samples"


def resample(waveform: Tensor, orig_rate: int, new_rate: int) -> Tensor:
    """Change the sample rate of a waveform, as :class:`Resample` does; the package resamples here and nowhere else.

    Filters are computed once for each pair of rates and device. Autocast does not apply, since half precision would add
    noise.

    Args:
        waveform: (..., samples) at ``orig_rate``; half precision becomes float32.
        orig_rate: in Hz.
        new_rate: in Hz.

    Returns:
        (..., ceil(samples * new_rate / orig_rate)) at ``new_rate``, differentiable; the waveform itself where the rates
        are equal.

    Raises:
        ConfigurationError: for a rate that is not positive.
    """
    waveform = waveform.to(torch.promote_types(waveform.dtype, torch.float32))
    if orig_rate == new_rate > 0:
        return waveform
    with torch.autocast(waveform.device.type, enabled=False):
        return _resampler(orig_rate, new_rate, waveform.device)(waveform)


@lru_cache(maxsize=32)
def _resampler(orig_rate: int, new_rate: int, device: torch.device) -> Resample:
    # A filter made in inference mode could not be used in training afterwards.
    with torch.inference_mode(False), torch.device("cpu"):
        return Resample(orig_rate, new_rate).to(device)


def _kernel(up: int, down: int) -> tuple[Tensor, int]:
    """The filters (up, 1, taps), one per output phase, float64, and how many taps lie before the block."""
    transition = (ATTENUATION - 7.95) / (2.285 * 2 * ZERO_CROSSINGS * math.pi)  # share of Nyquist (Kaiser's formula)
    beta = 0.1102 * (ATTENUATION - 8.7)
    cutoff = min(1.0, up / down) * (1 - transition / 2)
    half_width = math.ceil(ZERO_CROSSINGS / cutoff)
    taps = torch.arange(-half_width, half_width + down, dtype=torch.float64)
    instants = torch.arange(up, dtype=torch.float64) * down / up
    offset = cutoff * (taps[None, :] - instants[:, None])
    inside = (1 - (offset / ZERO_CROSSINGS) ** 2).clamp(min=0)
    window = torch.special.i0(beta * inside.sqrt()) / torch.special.i0(torch.tensor(beta, dtype=torch.float64))
    kernel = torch.sinc(offset) * window * (inside > 0)
    # Every phase passes a constant with a gain of exactly one.
    return (kernel / kernel.sum(dim=1, keepdim=True))[:, None, :], half_width

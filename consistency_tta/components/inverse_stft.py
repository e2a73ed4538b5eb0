"""The inverse short-time Fourier transform in real numbers, for networks that shall run without torch."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from consistency_tta.components.float32_buffers import Float32Buffers
from consistency_tta.components.short_time_fourier import ShortTimeFourier
from consistency_tta.runtime.errors import ConfigurationError


class InverseSTFT(Float32Buffers, nn.Module):
    """``torch.istft`` with a centred Hann window, as one matrix product and an overlap-add, or by an FFT.

    The matrix product needs no complex numbers and no FFT, which ONNX converters do not support.

    Source: Griffin and Lim, "Signal estimation from modified short-time Fourier transform", 1984,
    https://doi.org/10.1109/TASSP.1984.1164317, eq. 6.

    Args:
        n_fft: window and transform length in samples, even.
        hop_length: samples between frames, at most half of ``n_fft``.

    Raises:
        ConfigurationError: if a number is out of range.
    """

    basis: Tensor
    envelope: Tensor
    window: Tensor
    #: Whether an FFT takes the matrix product's place, a third of the time on a CPU; generation sets it.
    use_fft = False

    def __init__(self, n_fft: int, hop_length: int) -> None:
        super().__init__()
        if n_fft % 2 or not 0 < hop_length <= n_fft // 2:
            raise ConfigurationError(
                f"expected an even n_fft and a hop_length in [1, n_fft / 2], got {n_fft} and {hop_length}"
            )
        self.n_fft, self.hop_length = n_fft, hop_length
        #: Frames that one window reaches; it is filled up with zeros to whole hops.
        self.reach = -(-n_fft // hop_length)
        window = torch.hann_window(n_fft, dtype=torch.float64)
        frequencies = torch.arange(n_fft // 2 + 1, dtype=torch.float64)
        angle = 2 * torch.pi / n_fft * frequencies[:, None] * torch.arange(n_fft, dtype=torch.float64)
        # The frequencies between the first and the last stand for their mirror images, too.
        weight = torch.full((n_fft // 2 + 1, 1), 2.0, dtype=torch.float64)
        weight[0] = weight[-1] = 1.0
        basis = torch.cat([angle.cos(), -angle.sin()]) * weight.repeat(2, 1) / n_fft * window
        filling = (0, self.reach * hop_length - n_fft)
        self.register_buffer("basis", F.pad(basis, filling).float(), persistent=False)
        self.register_buffer("window", window.float(), persistent=False)
        self.register_buffer("envelope", F.pad(window.square(), filling).float(), persistent=False)

    def forward(self, spectrum: Tensor) -> Tensor:
        """Invert a spectrum.

        Args:
            spectrum: (B, n_fft + 2, frames) the real parts of all frequencies, then the imaginary parts.

        Returns:
            (B, (frames - 1) * hop_length) waveform in float32, in float64 where the buffers are.
        """
        spectrum = spectrum.to(self.basis.dtype)
        with torch.autocast(spectrum.device.type, enabled=False):
            if self.use_fft:
                transform = ShortTimeFourier(self.window, self.hop_length, spectrum.shape[2])
                frames = torch.complex(*spectrum.transpose(1, 2).chunk(2, dim=2))
                return transform.waveform(frames)[:, transform.sound]
            windows = spectrum.transpose(1, 2) @ self.basis
            total = self.overlap_add(windows)
            weight = self.overlap_add(self.envelope.expand(1, spectrum.shape[2], -1))
            start, samples = self.n_fft // 2, (spectrum.shape[2] - 1) * self.hop_length
            return total[:, start : start + samples] / weight[:, start : start + samples]

    def overlap_add(self, windows: Tensor) -> Tensor:
        """Windows (B, frames, reach * hop_length) -> their sum, each a hop later (B, samples)."""
        hops = windows.unflatten(2, (self.reach, self.hop_length))
        return (
            torch.stack([F.pad(hops[:, :, k], (0, 0, k, self.reach - 1 - k)) for k in range(self.reach)])
            .sum(0)
            .flatten(1)
        )

"""The short-time Fourier transform and its inverse, frame by frame, for algorithms that alternate between them."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812


class ShortTimeFourier:
    """``torch.stft`` and ``torch.istft`` with centred windows and silence around the sound, without copies between.

    Spectra are (B, frames, n_fft / 2 + 1), the layout in which the FFT works. Waveforms are padded, (B, samples):
    n_fft / 2 samples of silence, the sound of (frames - 1) * hop_length samples, and silence up to the last window's
    end.

    Source: Griffin and Lim, "Signal estimation from modified short-time Fourier transform", 1984,
    https://doi.org/10.1109/TASSP.1984.1164317, eq. 6.

    Args:
        window: (n_fft,).
        hop_length: samples between frames.
        frames: of the spectra.
    """

    def __init__(self, window: Tensor, hop_length: int, frames: int) -> None:
        self.window, self.hop_length = window, hop_length
        start, samples = len(window) // 2, (frames - 1) * hop_length
        energy = overlap_add(window.square().expand(1, frames, -1), hop_length)
        #: What the overlapping windows must be multiplied by: zero outside the sound.
        self.gain = torch.zeros_like(energy)
        self.sound = slice(start, start + samples)
        self.gain[:, self.sound] = 1 / energy[:, self.sound]

    def waveform(self, spectrum: Tensor) -> Tensor:
        """The padded waveform whose spectrum is the nearest to this one (B, frames, frequencies)."""
        windows = torch.fft.irfft(spectrum, len(self.window)).mul_(self.window)
        return overlap_add(windows, self.hop_length) * self.gain

    def padded(self, waveform: Tensor) -> Tensor:
        """A sound (B, samples) with silence around it; what is beyond the last whole hop is cut."""
        samples = self.sound.stop - self.sound.start
        return F.pad(waveform[:, :samples], (self.sound.start, self.gain.shape[1] - self.sound.stop))

    def spectrum(self, waveform: Tensor) -> Tensor:
        """The spectrum of a padded waveform, as :meth:`waveform` returns it."""
        return torch.fft.rfft(waveform.unfold(1, len(self.window), self.hop_length) * self.window)


def overlap_add(windows: Tensor, hop_length: int) -> Tensor:
    """Sum of windows (B, frames, width), each a hop later than the one before.

    Returns:
        (B, frames * hop_length + samples), where ``samples`` fills the last window up to whole hops, less one hop.
    """
    batch_size, frames, width = windows.shape
    reach = -(-width // hop_length)
    total = windows.new_zeros(batch_size, frames + reach - 1, hop_length)
    for hop in range(reach):
        part = windows[..., hop * hop_length : (hop + 1) * hop_length]
        total[:, hop : hop + frames, : part.shape[-1]] += part
    return total.flatten(1)

"""Distances between short-time Fourier magnitudes."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from consistency_tta.contracts import AudioOutput, Loss
from consistency_tta.runtime.errors import ConfigurationError


class MultiResolutionSTFTLoss(Loss):
    """Spectral convergence + log-magnitude distance of waveforms, averaged over resolutions and channels.

    Of stereo sound it compares left, right, half their sum and half their difference, so that the stereo image counts.

    Sources: Yamamoto, Song and Kim, "Parallel WaveGAN", 2020, https://arxiv.org/abs/1910.11480, eqs. 3 to 6. The paper
    divides by the target's loudness over a batch of speech. Per example, a silent target would make the convergence
    a hundred thousand times that of any other, so a target counts as at least ``quiet``. For sum and difference:
    Steinmetz, Pons, Pascual and Serra, "Automatic multitrack mixing with a differentiable mixing console of neural
    audio effects", 2021, https://arxiv.org/abs/2010.10291, section 2.3.

    Args:
        n_ffts: transform lengths in samples.
        hop_lengths: samples between frames.
        win_lengths: Hann window lengths in samples.
        floor: smallest magnitude before the logarithm.
        quiet: root mean square of a waveform; softer targets do not make the spectral convergence larger.
    """

    noise_weighted = False

    def __init__(
        self,
        n_ffts: Sequence[int] = (1024, 2048, 512),
        hop_lengths: Sequence[int] = (120, 240, 50),
        win_lengths: Sequence[int] = (600, 1200, 240),
        floor: float = 1e-5,
        quiet: float = 1e-2,
    ) -> None:
        super().__init__()
        if not len(n_ffts) == len(hop_lengths) == len(win_lengths) > 0:
            raise ConfigurationError(
                "expected as many n_ffts as hop_lengths and win_lengths, "
                f"got {len(n_ffts)}, {len(hop_lengths)} and {len(win_lengths)}"
            )
        self.resolutions = list(zip(n_ffts, hop_lengths, win_lengths, strict=True))
        if min(floor, quiet) <= 0:
            raise ConfigurationError(f"expected floor > 0 and quiet > 0, got {floor} and {quiet}")
        self.floor = floor
        self.quiet = quiet
        for win_length in set(win_lengths):
            self.register_buffer(f"window_{win_length}", torch.hann_window(win_length), persistent=False)

    def magnitude(self, waveform: Tensor, n_fft: int, hop_length: int, win_length: int) -> Tensor:
        """Waveform (B, samples) -> (B, frequencies, frames), at least ``floor``."""
        window = getattr(self, f"window_{win_length}")
        spectrum = torch.stft(waveform, n_fft, hop_length, win_length, window, return_complex=True)
        # Clamped before the root, whose slope at 0 is infinite.
        return (spectrum.real.square() + spectrum.imag.square()).clamp_min(self.floor**2).sqrt()

    def forward(self, out: AudioOutput) -> Tensor:
        """Values (B,), >= 0."""
        made, wanted = channel_views(out.student_audio.float()), channel_views(out.target_audio.float())
        values = self.distance(made.flatten(0, 1), wanted.flatten(0, 1))
        return values.unflatten(0, made.shape[:2]).mean(1)

    def distance(self, student: Tensor, target: Tensor) -> Tensor:
        """Values (N,), >= 0, of waveforms (N, samples)."""
        total = student.new_zeros(len(student))
        for resolution in self.resolutions:
            made, wanted = self.magnitude(student, *resolution), self.magnitude(target, *resolution)
            # White noise of standard deviation 1 has magnitudes of the window's norm, in root mean square.
            window = getattr(self, f"window_{resolution[2]}")
            least = self.quiet * window.norm() * math.sqrt(wanted[0].numel())
            convergence = (made - wanted).flatten(1).norm(dim=1) / wanted.flatten(1).norm(dim=1).clamp_min(least)
            total = total + convergence + (made.log() - wanted.log()).abs().flatten(1).mean(1)
        return total / len(self.resolutions)


def channel_views(audio: Tensor) -> Tensor:
    """The channels of sound (B, channels, samples); of stereo also half the sum and half the difference."""
    if audio.shape[1] != 2:
        return audio
    left, right = audio.unbind(1)
    return torch.stack([left, right, (left + right) / 2, (left - right) / 2], dim=1)

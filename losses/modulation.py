"""Distance between textures: how strongly a mel spectrogram flutters, not when."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from consistency_tta.contracts import AudioOutput, Loss
from consistency_tta.losses.mel import mels_of
from consistency_tta.runtime.errors import ConfigurationError, ShapeError


class MelModulationLoss(Loss):
    """Mean absolute difference of the spectro-temporal modulations' magnitudes, on overlapping patches of log-mels.

    Where the grain of rain or an engine cannot be predicted, a distance between mels is least without any grain. Here
    the Fourier phases of each patch are left out, so that it is least with about the right amount of it.

    Source: McDermott and Simoncelli, "Sound Texture Perception via Statistics of the Auditory Periphery", 2011,
    https://doi.org/10.1016/j.neuron.2011.06.032: modulation power distinguishes textures. For patches of several sizes
    see also :class:`consistency_tta.losses.MultiResolutionSTFTLoss`.

    Args:
        patches: sizes (frames, bins) of Hann-windowed patches, which overlap by half; one bin is no window.
        front_end: see :class:`consistency_tta.losses.MelL1Loss`.
    """

    noise_weighted = False

    def __init__(
        self, patches: Sequence[tuple[int, int]] = ((16, 16), (64, 1)), front_end: nn.Module | None = None
    ) -> None:
        super().__init__()
        if not patches or min(map(min, patches)) < 1 or min(frames for frames, _ in patches) < 4:
            raise ConfigurationError(f"expected patches of at least four frames and one bin, got {list(patches)}")
        self.patches = [(frames, bins) for frames, bins in patches]
        self.front_end = front_end

    def forward(self, out: AudioOutput) -> Tensor:
        """Values (B,), >= 0, in nepers."""
        made, wanted = mels_of(out, self.front_end)
        distances = []
        for frames, bins in self.patches:
            if made.shape[1] < frames or made.shape[2] < bins:
                raise ShapeError(
                    f"expected mels of at least {frames} frames and {bins} bins, got {tuple(made.shape[1:])}: "
                    "give a longer crop, or smaller patches"
                )
            distance = self.modulations(made, frames, bins) - self.modulations(wanted, frames, bins)
            distances.append(distance.abs().flatten(1).mean(1))
        return torch.stack(distances).mean(0)

    @staticmethod
    def modulations(mel: Tensor, frames: int, bins: int) -> Tensor:
        """Magnitudes (B, patches in time, patches in frequency, frames, bins // 2 + 1) of a mel (B, T, F).

        Scaled so that white noise of standard deviation 1 has a root mean square of 1.
        """
        windows = [
            torch.hann_window(size, device=mel.device) if size > 1 else mel.new_ones(1) for size in (frames, bins)
        ]
        window = windows[0][:, None] * windows[1]
        patches = mel.unfold(1, frames, frames // 2).unfold(2, bins, max(1, bins // 2))
        spectrum = torch.fft.rfft2(patches * (window / window.norm()))
        # The root's slope at 0 is infinite.
        return (spectrum.real.square() + spectrum.imag.square() + 1e-6).sqrt()

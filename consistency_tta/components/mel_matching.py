"""Draws a vocoder's sound towards the mel that it was made of."""

from __future__ import annotations

from torch import Tensor, nn

from consistency_tta.components.griffin_lim import GriffinLimVocoder


class MelMatching(nn.Module):
    """Gives a waveform magnitudes between its own and those that have the given mel, then searches for their phases.

    A network's magnitudes have the texture of noise, but miss pulses and harmonics that the mel still shows; magnitudes
    that least squares find have these, but are smooth. Their weighted geometric mean has both. Phases start at those
    of the waveform, so a single iteration suffices.

    Sources: Griffin and Lim, "Signal estimation from modified short-time Fourier transform", 1984,
    https://doi.org/10.1109/TASSP.1984.1164317, section III, for the phases; the mean is this project's, measured in
    docs/tiny_trials.md.

    Args:
        griffin_lim: its magnitudes and its search for phases.
        share: weight of the mel's magnitudes, in (0, 1].
    """

    def __init__(self, griffin_lim: GriffinLimVocoder, share: float) -> None:
        super().__init__()
        self.griffin_lim, self.share = griffin_lim, share
        # Computed from the settings, so not saved with the network that this is a part of.
        griffin_lim.register_buffer("filters", griffin_lim.filters, persistent=False)

    def forward(self, waveform: Tensor, spectrogram: Tensor) -> Tensor:
        """Match the sound to the mel.

        Args:
            waveform: (B, frames * hop_length).
            spectrogram: (B, frames, bins) natural-log mel.

        Returns:
            (B, frames * hop_length) in float32.
        """
        spectrum = self.griffin_lim.spectrum(waveform.float())
        own = spectrum.abs().clamp_min(1e-6)
        fitted = self.griffin_lim.fitted_magnitude(spectrogram).clamp_min(1e-6)
        magnitude = fitted**self.share * own ** (1 - self.share)
        phase = self.griffin_lim.phase(magnitude.detach(), start=spectrum / own)
        return self.griffin_lim.waveform(magnitude * phase)

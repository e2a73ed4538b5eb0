"""A vocoder that needs no training: mel magnitudes to linear ones, phases by Griffin and Lim's algorithm."""

from __future__ import annotations

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import Tensor

from consistency_tta.components.float32_buffers import Float32Buffers
from consistency_tta.components.mel import MelSpectrogram
from consistency_tta.components.short_time_fourier import ShortTimeFourier
from consistency_tta.runtime.device import to_device
from consistency_tta.runtime.errors import ConfigurationError

#: The smallest magnitude before the last update, which could not raise it from zero.
SMALLEST = 1e-8
#: Of the magnitudes' search: with 0.8, 8 updates fit the mel as well as 50 multiplicative ones.
MAGNITUDE_MOMENTUM = 0.8


class GriffinLimVocoder(Float32Buffers, ModelMixin, ConfigMixin):
    """Inverts :class:`~consistency_tta.components.mel.MelSpectrogram`, with the same parameters.

    Few iterations sound better than many. Phases start at random, which leaves noise in the sound. Rain and sea waves
    need that noise; more iterations would find a waveform as smooth as the mel.

    Gradients flow through the magnitudes and treat phases as constants.

    Sources: Griffin and Lim, "Signal estimation from modified short-time Fourier transform", 1984,
    https://doi.org/10.1109/TASSP.1984.1164317; Perraudin, Balazs and Søndergaard, "A fast Griffin-Lim algorithm", 2013,
    https://doi.org/10.1109/WASPAA.2013.6701851, algorithm 2; for the magnitudes Polyak, "Some methods of speeding up
    the convergence of iteration methods", 1964, https://doi.org/10.1016/0041-5553(64)90137-5; for the last update Lee
    and Seung, "Algorithms for non-negative matrix factorization", 2000, eq. 4.

    Args:
        model_in_dim: mel bins (named as in ``SpeechT5HifiGanConfig``).
        sampling_rate: in Hz.
        n_fft: window and transform length in samples.
        hop_length: samples per mel frame.
        f_min: lowest frequency of the mel filters in Hz.
        f_max: highest frequency of the mel filters in Hz.
        num_iterations: of the search for phases; 0 leaves them random.
        momentum: of the search, in [0, 1).
        num_updates: of the magnitudes, which are non-negative.

    Raises:
        ConfigurationError: if a number is out of range.
    """

    filters: Tensor
    inverse: Tensor
    window: Tensor

    @register_to_config
    def __init__(
        self,
        model_in_dim: int = 64,
        sampling_rate: int = 16000,
        n_fft: int = 1024,
        hop_length: int = 160,
        f_min: float = 0.0,
        f_max: float = 8000.0,
        num_iterations: int = 8,
        momentum: float = 0.99,
        num_updates: int = 8,
    ) -> None:
        super().__init__()
        if num_iterations < 0 or num_updates < 1 or not 0 <= momentum < 1:
            raise ConfigurationError(
                "expected num_iterations >= 0, num_updates >= 1 and a momentum in [0, 1), "
                f"got {num_iterations}, {num_updates} and {momentum}"
            )
        front_end = MelSpectrogram(sampling_rate, n_fft, hop_length, model_in_dim, f_min, f_max)
        # The filters are saved, too: diffusers does not load a component that has no tensor.
        self.register_buffer("filters", front_end.filters)
        self.register_buffer("inverse", torch.linalg.pinv(self.filters), persistent=False)
        self.register_buffer("window", front_end.window, persistent=False)

    def forward(self, spectrogram: Tensor) -> Tensor:
        """Natural-log mel (B, frames, bins) -> waveform (B, frames * hop_length)."""
        # Half precision has no FFT on the CPU.
        with torch.autocast(spectrogram.device.type, enabled=False):
            magnitude = self.fitted_magnitude(spectrogram)
            return self.waveform(magnitude * self.phase(magnitude.detach()))

    def fitted_magnitude(self, spectrogram: Tensor) -> Tensor:
        """Natural-log mel (B, frames, bins) -> magnitudes (B, frequencies, frames + 1) whose mel it is.

        One frame more than the mel has: a centred inverse STFT of n + 1 frames has n hops.
        """
        mel = torch.cat([spectrogram, spectrogram[:, -1:]], dim=1).float().exp()
        return self.magnitude(mel).transpose(1, 2)

    def magnitude(self, mel: Tensor) -> Tensor:
        """Mel magnitudes (B, frames, bins) -> magnitudes >= 0 whose mel they are (B, frames, frequencies).

        Projected gradient descent with momentum, preconditioned by the pseudo-inverse. The last update is
        multiplicative, so that magnitudes are proportional to the mel in the backward pass, too.
        """
        filters, inverse = self.filters.float(), self.inverse.float()  # loaded in half precision, they are of it
        target = mel.flatten(0, 1)  # matrices: their products can add to what there is, without a copy
        with torch.no_grad():
            magnitude = extrapolated = (target @ inverse).clamp_min_(SMALLEST)
            for _ in range(self.config["num_updates"] - 1):
                before, residual = magnitude, torch.addmm(target, extrapolated, filters, alpha=-1)
                magnitude = torch.addmm(extrapolated, residual, inverse).clamp_min_(SMALLEST)
                extrapolated = magnitude.lerp(before, -MAGNITUDE_MOMENTUM)
            ratio = magnitude / ((magnitude @ filters) @ filters.T).add_(1e-9)
        return (ratio * (target @ filters.T)).unflatten(0, mel.shape[:2])

    @torch.no_grad()
    def phase(self, magnitude: Tensor, start: Tensor | None = None) -> Tensor:
        """Unit complex numbers (B, frequencies, frames) that suit the magnitudes; the same at every call.

        Args:
            magnitude: (B, frequencies, frames).
            start: of the search, unit complex numbers of the same shape; random ones if None.
        """
        phase = (self.random_phase(magnitude) if start is None else start).transpose(1, 2)
        momentum = self.config["momentum"] / (1 + self.config["momentum"])
        magnitude = magnitude.transpose(1, 2)
        transform, previous = self._transform(magnitude.shape[1]), torch.zeros((), device=magnitude.device)
        for _ in range(self.config["num_iterations"]):
            consistent = transform.spectrum(transform.waveform(magnitude * phase))
            phase = consistent.sub(previous, alpha=momentum).sgn_()
            previous = consistent
        return phase.transpose(1, 2)

    def random_phase(self, magnitude: Tensor) -> Tensor:
        """Unit complex numbers of the shape of the magnitudes (B, frequencies, frames)."""
        # Drawn frame after frame, on the CPU, by sixteen frames (torch draws by sixteens): a longer sound begins as a
        # shorter one, on every device.
        generator, frames = torch.Generator().manual_seed(0), -(-magnitude.shape[2] // 16) * 16
        angle = torch.rand(frames, magnitude.shape[1], generator=generator, dtype=torch.float32)[: magnitude.shape[2]]
        angle = 2 * torch.pi * angle
        return to_device(torch.polar(torch.ones_like(angle), angle).T, magnitude.device).expand(magnitude.shape)

    def waveform(self, spectrum: Tensor) -> Tensor:
        """Complex spectrum (B, frequencies, frames) -> waveform (B, (frames - 1) * hop_length)."""
        transform = self._transform(spectrum.shape[2])
        return transform.waveform(spectrum.transpose(1, 2))[:, transform.sound]

    def spectrum(self, waveform: Tensor) -> Tensor:
        """Waveform (B, samples) -> complex spectrum (B, frequencies, samples // hop_length + 1)."""
        transform = self._transform(waveform.shape[1] // self.config["hop_length"] + 1)
        return transform.spectrum(transform.padded(waveform)).transpose(1, 2)

    def _transform(self, frames: int) -> ShortTimeFourier:
        return ShortTimeFourier(self.window.float(), self.config["hop_length"], frames)

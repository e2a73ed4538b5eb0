"""A vocoder that needs no training: mel magnitudes to linear ones, phases by Griffin and Lim's algorithm."""

from __future__ import annotations

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from consistency_tta.components.float32_buffers import Float32Buffers
from consistency_tta.components.mel import MelSpectrogram
from consistency_tta.runtime.device import to_device
from consistency_tta.runtime.errors import ConfigurationError


class GriffinLimVocoder(Float32Buffers, ModelMixin, ConfigMixin):
    """Inverts :class:`~consistency_tta.components.mel.MelSpectrogram`, with the same parameters.

    Few iterations sound better than many. Phases start at random, which leaves noise in the sound. Rain and sea waves
    need that noise; more iterations would find a waveform as smooth as the mel.

    Gradients flow through the magnitudes and treat phases as constants.

    Sources: Griffin and Lim, "Signal estimation from modified short-time Fourier transform", 1984,
    https://doi.org/10.1109/TASSP.1984.1164317; Perraudin, Balazs and Søndergaard, "A fast Griffin-Lim algorithm", 2013,
    https://doi.org/10.1109/WASPAA.2013.6701851, algorithm 2; for the magnitudes Lee and Seung, "Algorithms for
    non-negative matrix factorization", 2000, eq. 4.

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
        num_updates: int = 50,
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
        hop_length: int = self.config["hop_length"]
        # Half precision has no FFT on the CPU.
        with torch.autocast(spectrogram.device.type, enabled=False):
            magnitude = self.fitted_magnitude(spectrogram)
            phase = self.phase(magnitude.detach(), hop_length * spectrogram.shape[1])
            return self.waveform(magnitude * phase, hop_length * spectrogram.shape[1])

    def fitted_magnitude(self, spectrogram: Tensor) -> Tensor:
        """Natural-log mel (B, frames, bins) -> magnitudes (B, frequencies, frames + 1) whose mel it is.

        One frame more than the mel has: a centred inverse STFT of n + 1 frames has n hops.
        """
        mel = F.pad(spectrogram.float().transpose(1, 2), (0, 1), mode="replicate").transpose(1, 2).exp()
        return self.magnitude(mel).transpose(1, 2)

    def magnitude(self, mel: Tensor) -> Tensor:
        """Mel magnitudes (B, frames, bins) -> magnitudes >= 0 whose mel they are (B, frames, frequencies)."""
        filters = self.filters.float()  # loaded in half precision, they are of it
        with torch.no_grad():
            magnitude = (mel @ self.inverse.float()).clamp_min(1e-8)
            target = mel @ filters.T
            for _ in range(self.config["num_updates"] - 1):
                magnitude = magnitude * target / ((magnitude @ filters) @ filters.T + 1e-9)
            fitted = (magnitude @ filters) @ filters.T + 1e-9
        return magnitude * (mel @ filters.T) / fitted

    @torch.no_grad()
    def phase(self, magnitude: Tensor, samples: int, start: Tensor | None = None) -> Tensor:
        """Unit complex numbers (B, frequencies, frames) that suit the magnitudes; the same at every call.

        Args:
            magnitude: (B, frequencies, frames).
            samples: of the waveform.
            start: of the search, unit complex numbers of the same shape; random ones if None.
        """
        phase = self.random_phase(magnitude) if start is None else start
        momentum = self.config["momentum"] / (1 + self.config["momentum"])
        previous = torch.zeros_like(phase)
        for _ in range(self.config["num_iterations"]):
            consistent = self.spectrum(self.waveform(magnitude * phase, samples))
            phase = consistent - momentum * previous
            phase = phase / phase.abs().clamp_min(1e-9)
            previous = consistent
        return phase

    def random_phase(self, magnitude: Tensor) -> Tensor:
        """Unit complex numbers of the shape of the magnitudes (B, frequencies, frames)."""
        # Drawn frame after frame, on the CPU, by sixteen frames (torch draws by sixteens): a longer sound begins as a
        # shorter one, on every device.
        generator, frames = torch.Generator().manual_seed(0), -(-magnitude.shape[2] // 16) * 16
        angle = torch.rand(frames, magnitude.shape[1], generator=generator, dtype=torch.float32)[: magnitude.shape[2]]
        angle = 2 * torch.pi * angle
        phase = torch.polar(torch.ones_like(angle), angle).T
        return to_device(phase, magnitude.device).expand(magnitude.shape)

    def waveform(self, spectrum: Tensor, samples: int) -> Tensor:
        """Complex spectrum (B, frequencies, frames) -> waveform (B, samples)."""
        n_fft, hop_length = self.config["n_fft"], self.config["hop_length"]
        if spectrum.device.type == "cpu":
            return torch.istft(spectrum, n_fft, hop_length, window=self.window.float(), length=samples)
        return centred_istft(spectrum, self.window.float(), hop_length, samples)

    def spectrum(self, waveform: Tensor) -> Tensor:
        """Waveform (B, samples) -> complex spectrum (B, frequencies, samples // hop_length + 1)."""
        n_fft, hop_length = self.config["n_fft"], self.config["hop_length"]
        return torch.stft(
            waveform, n_fft, hop_length, window=self.window.float(), pad_mode="constant", return_complex=True
        )


def centred_istft(spectrum: Tensor, window: Tensor, hop_length: int, samples: int) -> Tensor:
    """``torch.istft`` without its check that windows cover every sample, for which it waits for the device.

    Args:
        spectrum: of centred frames, (B, frequencies, frames).
        window: (n_fft,).
        hop_length: samples between frames.
        samples: of the waveform.

    Returns:
        Waveform (B, samples).
    """
    frames = torch.fft.irfft(spectrum, len(window), dim=1) * window[:, None]
    envelope = _overlap_add(window.square()[None, :, None].expand(-1, -1, frames.shape[2]), hop_length)
    start = len(window) // 2
    return (_overlap_add(frames, hop_length) / envelope)[:, start : start + samples]


def _overlap_add(frames: Tensor, hop_length: int) -> Tensor:
    """Frames (B, samples, frames), each a hop after the one before -> their sum (B, samples)."""
    length = frames.shape[1] + hop_length * (frames.shape[2] - 1)
    return F.fold(frames, (1, length), (1, frames.shape[1]), stride=(1, hop_length))[:, 0, 0]

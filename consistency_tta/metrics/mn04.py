"""The audio tagger mn04_as: class logits and an embedding of a waveform.

Source: Florian Schmid, Khaled Koutini, Gerhard Widmer, "Efficient Large-Scale Audio Tagging via Transformer-to-CNN
Knowledge Distillation", ICASSP 2023, https://arxiv.org/abs/2211.04772; weights ``mn04_as_mAP_432.pt`` from the
releases of https://github.com/fschmid56/EfficientAT (MIT), 527 AudioSet classes, mean average precision 0.432. The body
is MobileNetV3-large (Andrew Howard et al., "Searching for MobileNetV3", 2019, https://arxiv.org/abs/1905.02244,
table 1) at 0.4 of its width, on a log-mel spectrogram at 32 kHz.

It is differentiable in the waveform, so that it can serve in metrics and in losses.
"""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from consistency_tta.audio.resample import resample
from consistency_tta.metrics.kaldi_mel import kaldi_mel_filters
from consistency_tta.metrics.mobilenet import InvertedResidual, convolution
from consistency_tta.runtime.errors import CheckpointError, ShapeError

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Self

#: In Hz, of the waveforms that the network embeds.
SAMPLE_RATE = 32_000
#: The shortest waveform that it embeds, 32 ms: one Fourier transform.
MIN_SAMPLES = 1024
#: AudioSet classes, in the order of the logits.
NUM_CLASSES = 527
#: Width of the embedding.
EMBEDDING_DIM = 384

#: The blocks: (expanded channels, output channels, kernel size, stride, squeeze width or 0, activation).
_BLOCKS: list[tuple[int, int, int, int, int, type[nn.Module]]] = [
    (8, 8, 3, 1, 0, nn.ReLU),
    (24, 16, 3, 2, 0, nn.ReLU),
    (32, 16, 3, 1, 0, nn.ReLU),
    (32, 16, 5, 2, 8, nn.ReLU),
    (48, 16, 5, 1, 16, nn.ReLU),
    (48, 16, 5, 1, 16, nn.ReLU),
    (96, 32, 3, 2, 0, nn.Hardswish),
    (80, 32, 3, 1, 0, nn.Hardswish),
    (72, 32, 3, 1, 0, nn.Hardswish),
    (72, 32, 3, 1, 0, nn.Hardswish),
    (192, 48, 3, 1, 48, nn.Hardswish),
    (272, 48, 3, 1, 72, nn.Hardswish),
    (272, 64, 5, 2, 72, nn.Hardswish),
    (384, 64, 5, 1, 96, nn.Hardswish),
    (384, 64, 5, 1, 96, nn.Hardswish),
]
_STEM_CHANNELS = 8


class LogMel(nn.Module):
    """The tagger's front end: waveform at 32 kHz (B, samples) -> log-mel (B, 1, 128, frames), 100 frames a second.

    Pre-emphasis x[n + 1] - 0.97 x[n], power spectrum (1024 points, symmetric Hann window of 800, hop 320, centred), 128
    Kaldi mel filters up to 15 kHz, natural logarithm of the power + 1e-5, then shifted and scaled.
    """

    window: Tensor
    mel_filters: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("window", torch.hann_window(800, periodic=False), persistent=False)
        self.register_buffer("mel_filters", kaldi_mel_filters(128, 1024, SAMPLE_RATE, 0.0, 15_000.0), persistent=False)

    def forward(self, waveform: Tensor) -> Tensor:
        """(B, samples) -> (B, 1, 128, frames)."""
        if waveform.shape[-1] < MIN_SAMPLES:
            raise ShapeError(
                f"the tagger needs at least {MIN_SAMPLES} samples at {SAMPLE_RATE} Hz (32 ms), got "
                f"{waveform.shape[-1]}: pad the waveform with silence"
            )
        emphasised = waveform[:, 1:] - 0.97 * waveform[:, :-1]
        spectrum = torch.stft(
            emphasised, n_fft=1024, hop_length=320, win_length=800, window=self.window, center=True, return_complex=True
        )
        power = torch.view_as_real(spectrum).square().sum(-1)
        log_mel = torch.log(self.mel_filters.T @ power + 1e-5)
        return ((log_mel + 4.5) / 5.0).unsqueeze(1)


class AudioTagger(nn.Module):
    """mn04_as, always in evaluation mode: the running statistics of its batch normalisation are part of the weights.

    A new object has random weights; :meth:`from_checkpoint` gives the trained, frozen tagger.
    """

    def __init__(self) -> None:
        super().__init__()
        self.log_mel = LogMel()
        layers: list[nn.Module] = [convolution(1, _STEM_CHANNELS, 3, 2, 1, nn.Hardswish)]
        channels = _STEM_CHANNELS
        for expanded, out_channels, kernel_size, stride, squeezed, activation in _BLOCKS:
            layers.append(InvertedResidual(channels, expanded, out_channels, kernel_size, stride, squeezed, activation))
            channels = out_channels
        layers.append(convolution(channels, EMBEDDING_DIM, 1, 1, 1, nn.Hardswish))
        self.features = nn.Sequential(*layers)
        # The places of pooling, flattening and dropout are those of the weights' names.
        self.classifier = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(EMBEDDING_DIM, 512),
            nn.Hardswish(),
            nn.Dropout(0.2),
            nn.Linear(512, NUM_CLASSES),
        )
        self.eval()

    @classmethod
    def from_checkpoint(cls, path: str | Path) -> Self:
        """Load EfficientAT's ``mn04_as_mAP_432.pt``, frozen.

        Args:
            path: the file, a plain state dict.

        Raises:
            CheckpointError: the file is truncated, or its keys or shapes are not those of mn04_as.
        """
        try:
            weights = torch.load(path, map_location="cpu", weights_only=True)
        except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
            raise CheckpointError(
                f"expected EfficientAT's mn04_as_mAP_432.pt in {path}, but it is truncated or no file of torch "
                f"({str(error)[:80]!r}): fetch it again from https://github.com/fschmid56/EfficientAT/releases"
            ) from None
        if not isinstance(weights, dict):
            raise CheckpointError(
                f"expected a state dict of EfficientAT's mn04_as in {path}, got {type(weights).__name__}"
            )
        tagger = cls()
        # EfficientAT can gate along several axes at once; this network gates along the first (the channels) only.
        renamed = {name.replace(".conc_se_layers.0.", "."): value for name, value in weights.items()}
        expected = tagger.state_dict()
        problems = [f"missing {name}" for name in expected if name not in renamed]
        problems += [f"unexpected {name}" for name in renamed if name not in expected]
        problems += [
            f"{name} has shape {tuple(renamed[name].shape)}, expected {tuple(value.shape)}"
            for name, value in expected.items()
            if name in renamed and renamed[name].shape != value.shape
        ]
        if problems:
            raise CheckpointError(
                f"{path} does not hold the weights of EfficientAT's mn04_as (expected mn04_as_mAP_432.pt from its "
                f"releases): {'; '.join(problems)}"
            )
        tagger.load_state_dict(renamed)
        return tagger.requires_grad_(False)

    def train(self, mode: bool = True) -> Self:
        """Stays in evaluation mode, also inside a module that goes into training."""
        return super().train(False)

    def forward(self, waveform: Tensor, sample_rate: int) -> tuple[Tensor, Tensor]:
        """Embed and classify waveforms.

        Args:
            waveform: (B, samples) in [-1, 1], at least 32 ms.
            sample_rate: of the waveform in Hz; resampled to 32 kHz where it differs.

        Returns:
            Logits (B, 527) of independent classes, sigmoid for probabilities, and embedding (B, 384).
        """
        if waveform.ndim != 2:
            raise ShapeError(f"expected a waveform of shape (B, samples), got {tuple(waveform.shape)}")
        waveform = resample(waveform, sample_rate, SAMPLE_RATE)
        embedding = self.classifier[:2](self.features(self.log_mel(waveform)))
        return self.classifier[2:](embedding), embedding

"""VGGish: the network of the Fréchet audio distance.

Source: Shawn Hershey et al., "CNN Architectures for Large-Scale Audio Classification", 2017,
https://arxiv.org/abs/1609.09430; weights by https://github.com/harritaylor/torchvggish from those of
https://github.com/tensorflow/models/tree/master/research/audioset/vggish. ``frechet_audio_distance`` fetches code and
weights by ``torch.hub``, hence the network here. It is used as there: without the last ReLU, and without the principal
components and the 8 bits of AudioSet's released features.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from consistency_tta.contracts import AudioEmbedding
from consistency_tta.metrics.encoders.window_encoder import WindowEncoder
from consistency_tta.metrics.kaldi_mel import kaldi_mel_filters
from consistency_tta.runtime.device import exact_dtype
from consistency_tta.storage.checksum import checksum
from consistency_tta.storage.published_weights import Published, load, locate, read

PUBLISHED = Published(
    "vggish-10086976.pth", "https://github.com/harritaylor/torchvggish/releases/download/v0.1/vggish-10086976.pth"
)
SAMPLE_RATE = 16_000
#: Frames, 10 ms apart, of one window.
FRAMES = 96


class VGGishNetwork(nn.Module):
    """Waveform (B, samples) at 16 kHz -> (B, W, 128), one vector for each whole 0.96 s.

    Log-mel spectrogram: magnitude (512 points, periodic Hann window of 400, hop 160, not centred), 64 mel filters of
    125 to 7500 Hz, natural logarithm of the magnitude + 0.01.

    A new object has no weights, only their shapes: to draw 72 million numbers takes longer than to load them.
    """

    window: Tensor
    mel_filters: Tensor

    def __init__(self) -> None:
        super().__init__()
        # torch would put a window of 400 in the middle of the 512.
        window = nn.functional.pad(torch.hann_window(400), (0, 112))
        self.register_buffer("window", window, persistent=False)
        filters = kaldi_mel_filters(64, 512, SAMPLE_RATE, 125.0, 7500.0)
        self.register_buffer("mel_filters", filters, persistent=False)
        layers: list[nn.Module] = []
        channels = 1
        with torch.device("meta"):
            for width, convolutions in ((64, 1), (128, 1), (256, 2), (512, 2)):
                for _ in range(convolutions):
                    layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()]
                    channels = width
                layers.append(nn.MaxPool2d(2))
            self.features = nn.Sequential(*layers)
            self.embeddings = nn.Sequential(
                nn.Linear(6 * 4 * 512, 4096), nn.ReLU(), nn.Linear(4096, 4096), nn.ReLU(), nn.Linear(4096, 128)
            )

    def log_mel(self, waveform: Tensor) -> Tensor:
        """(B, samples) -> (B, W, 96, 64); samples after the last whole window are left out."""
        # As the original, which is numpy's.
        exact = exact_dtype(waveform.device)
        padded = nn.functional.pad(waveform.to(exact), (0, 112))
        spectrum = torch.stft(padded, 512, 160, window=self.window.to(exact), center=False, return_complex=True)
        log_mel = (spectrum.abs().mT @ self.mel_filters.to(exact) + 0.01).log().float()
        windows = log_mel.shape[1] // FRAMES
        return log_mel[:, : windows * FRAMES].unflatten(1, (windows, FRAMES))

    def forward(self, waveform: Tensor) -> Tensor:
        """(B, samples) -> (B, W, 128)."""
        log_mel = self.log_mel(waveform)
        # The weights are of a network whose channels come last.
        maps = self.features(log_mel.flatten(0, 1)[:, None]).permute(0, 2, 3, 1).flatten(1)
        return self.embeddings(maps).unflatten(0, log_mel.shape[:2])


class VGGish(WindowEncoder):
    """A vector (D = 128) for each whole 0.96 s of a sound, at 16 kHz; each is a sample of the Fréchet audio distance.

    Args:
        weights: ``vggish-10086976.pth``, or the folder that has it; the cache of ``torch.hub`` if None.

    Raises:
        FileNotFoundError: it is not there; nothing is downloaded.
        CheckpointError: it is another file.
    """

    name = "vggish"
    sample_rate = SAMPLE_RATE
    num_features = 128
    min_samples = (FRAMES - 1) * 160 + 400

    def __init__(self, weights: str | Path | None = None) -> None:
        path = locate(weights, PUBLISHED)
        network = VGGishNetwork()
        load(network, read(path, PUBLISHED), path, PUBLISHED)
        super().__init__(network)
        self.checksum = checksum(path)

    def windows(self, waveform: Tensor) -> AudioEmbedding:
        """See :class:`WindowEncoder`."""
        return AudioEmbedding(self.network(waveform))

"""PANNs' Cnn14 at 16 kHz, by the package ``frechet_audio_distance`` (extra ``laion``).

Source: Qiuqiang Kong et al., "PANNs: Large-Scale Pretrained Audio Neural Networks for Audio Pattern Recognition", 2020,
https://arxiv.org/abs/1912.10211, section III-A; weights at https://zenodo.org/records/3987831. Only the package's
network is used: its distance takes the 2048 coordinates of a vector for as many samples of one number.
"""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from consistency_tta.components.laion_package import import_extra
from consistency_tta.contracts import AudioEmbedding
from consistency_tta.metrics.encoders.window_encoder import WindowEncoder
from consistency_tta.storage.checksum import checksum
from consistency_tta.storage.published_weights import Published, load, locate, read

PUBLISHED = Published(
    "Cnn14_16k_mAP=0.438.pth",
    "https://zenodo.org/records/3987831/files/Cnn14_16k_mAP=0.438.pth",
    also=("Cnn14_16k_mAP%3D0.438.pth",),  # as frechet_audio_distance keeps it
)


class PANNs(WindowEncoder):
    """One vector (D = 2048) and the logits of AudioSet's 527 classes for each sound of any length, at 16 kHz.

    Args:
        weights: ``Cnn14_16k_mAP=0.438.pth``, or the folder that has it; the cache of ``torch.hub`` if None.

    Raises:
        MissingExtraError: the package is not installed.
        FileNotFoundError: the file is not there; nothing is downloaded.
        CheckpointError: it is another file.
    """

    name = "panns"
    sample_rate = 16_000
    num_features = 2048
    min_samples = 31 * 160  # 32 frames, which are halved five times

    def __init__(self, weights: str | Path | None = None) -> None:
        models = import_extra("frechet_audio_distance.models.pann", type(self).__name__)
        path = locate(weights, PUBLISHED)
        network = models.Cnn14_16k(
            sample_rate=16_000, window_size=512, hop_size=160, mel_bins=64, fmin=50, fmax=8000, classes_num=527
        )
        load(network, read(path, PUBLISHED).get("model", {}), path, PUBLISHED)
        super().__init__(network)
        self.checksum = checksum(path)

    def windows(self, waveform: Tensor) -> AudioEmbedding:
        """See :class:`WindowEncoder`."""
        vectors = self.network(waveform)["embedding"]
        # The network itself gives only their sigmoid, which rounds to 0 and 1.
        return AudioEmbedding(vectors[:, None], self.network.fc_audioset(vectors))

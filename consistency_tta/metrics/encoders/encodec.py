"""EnCodec's encoder at 24 kHz, by the package ``encodec`` (extra ``laion``).

Source: Alexandre Défossez et al., "High Fidelity Neural Audio Compression", 2022, https://arxiv.org/abs/2210.13438,
section 3.1; as the embedding of a Fréchet distance, before quantisation, in ``frechet_audio_distance``.
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
    "encodec_24khz-d7cc33bc.th", "https://dl.fbaipublicfiles.com/encodec/v0/encodec_24khz-d7cc33bc.th"
)


class Encodec(WindowEncoder):
    """A vector (D = 128) for each 320 samples at 24 kHz, 75 a second.

    It describes the texture of a sound rather than its source.

    Args:
        weights: ``encodec_24khz-d7cc33bc.th``, or the folder that has it; the cache of ``torch.hub`` if None.

    Raises:
        MissingExtraError: the package is not installed.
        FileNotFoundError: the file is not there; nothing is downloaded.
        CheckpointError: it is another file.
    """

    name = "encodec"
    sample_rate = 24_000
    num_features = 128

    def __init__(self, weights: str | Path | None = None) -> None:
        package = import_extra("encodec", type(self).__name__)
        path = locate(weights, PUBLISHED)
        model = package.EncodecModel.encodec_model_24khz(pretrained=False)
        load(model, read(path, PUBLISHED), path, PUBLISHED)
        super().__init__(model.encoder)
        self.checksum = checksum(path)

    def windows(self, waveform: Tensor) -> AudioEmbedding:
        """See :class:`WindowEncoder`."""
        return AudioEmbedding(self.network(waveform[:, None]).mT)

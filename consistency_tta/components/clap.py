"""CLAP encoders by ``transformers``, for losses and metrics."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from consistency_tta.audio.resample import resample
from consistency_tta.components.clap_model import Clap, clap_folder, load_clap, load_laion
from consistency_tta.contracts import AudioEncoder
from consistency_tta.runtime.frozen import Frozen
from consistency_tta.storage.bundled import TRANSFORMERS, resolve
from consistency_tta.storage.checksum import checksum


class TransformersClap(AudioEncoder):
    """A frozen CLAP from a folder, a fetched model of the Hugging Face hub, or a checkpoint of ``laion_clap``.

    It embeds the beginning of a sound, as long as its front end specifies, and repeats a shorter one. Nothing is
    downloaded: compute nodes often cannot reach the hub, and would find out after half a minute.

    Args:
        model: folder that ``ContrastiveTraining`` exported, ``tiny-clap``, a hub id (``laion/clap-htsat-unfused``, with
            D = 512 at 48 kHz), or a file of ``laion_clap`` (``music_audioset_epoch_15_esc_90.14.pt``).
        tokenizer: folder or fetched hub id of the tokenizer for such a file; ignored for anything else.

    Raises:
        FileNotFoundError: if it is not there.
        ValueError: if it is not a CLAP, or one with feature fusion; one of the classes of
            :mod:`consistency_tta.runtime.errors`.
    """

    name = "clap"
    checksum: str

    def __init__(self, model: str | Path = "laion/clap-htsat-unfused", tokenizer: str | Path = "roberta-base") -> None:
        super().__init__()
        clap = load_laion(model, tokenizer) if Path(model).is_file() else load_clap(model)
        self.frozen = Frozen(clap=clap)
        self.sample_rate = clap.front_end.sample_rate
        self.num_features = clap.model.config.projection_dim
        self.checksum = checksum(*_files(model))

    @property
    def clap(self) -> Clap:
        """The networks, with tokenizer and front end."""
        return self.frozen.clap

    def embed(self, waveform: Tensor, sample_rate: int) -> Tensor:
        """See :class:`consistency_tta.contracts.AudioEncoder`."""
        return self.clap.embed_audio(resample(waveform, sample_rate, self.sample_rate))

    def layer_features(self, waveform: Tensor, sample_rate: int) -> list[Tensor]:
        """See :class:`consistency_tta.contracts.AudioEncoder`: the embeddings of the patches, then of each level."""
        return self.clap.audio_features(resample(waveform, sample_rate, self.sample_rate))

    def embed_text(self, captions: Sequence[str]) -> Tensor:
        """See :class:`consistency_tta.contracts.AudioEncoder`."""
        return self.clap.embed_text(captions)


class TinyClap(TransformersClap):
    """The bundled CLAP, with D = 128 at 16 kHz.

    It was trained on ESC-10 for the demo and needs no checkpoint. Its values mean nothing beyond such sounds
    (docs/tiny.md).

    Args:
        model: another folder.
    """

    name = "tiny-clap"

    def __init__(self, model: str | Path = "tiny-clap") -> None:
        super().__init__(model)


def _files(model: str | Path) -> list[Path]:
    """The weights that ``transformers`` loads."""
    if Path(model).is_file():
        return [Path(model)]
    folder = clap_folder(resolve(model, TRANSFORMERS))
    kinds = ("model.safetensors", "model-*.safetensors", "pytorch_model.bin", "pytorch_model-*.bin")
    return next(files for kind in kinds if (files := sorted(folder.glob(kind))))

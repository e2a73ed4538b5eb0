"""CLAP's audio networks: of ``transformers``, and of the package ``laion_clap``.

Source: Wu et al., "Large-Scale Contrastive Language-Audio Pretraining with Feature Fusion and Keyword-to-Caption
Augmentation", 2023, https://arxiv.org/abs/2211.06687.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor

from consistency_tta.components.clap import TransformersClap
from consistency_tta.components.laion import LaionClap, import_laion
from consistency_tta.contracts import AudioTextEncoder
from consistency_tta.metrics.embedder import AudioEmbedding
from consistency_tta.metrics.embedders.frozen import FrozenEmbedder
from consistency_tta.metrics.embedders.weights import Published, locate

#: The judge of the ConsistencyTTA paper.
PUBLISHED = Published(
    "music_audioset_epoch_15_esc_90.14.pt",
    "https://huggingface.co/lukewys/laion_clap/resolve/main/music_audioset_epoch_15_esc_90.14.pt",
)


class _ClapEmbedder(FrozenEmbedder):
    """Vectors of length 1, one a sound; of a long sound only the beginning is heard (see docs/clap.md)."""

    def __init__(self, encoder: TransformersClap | LaionClap, num_features: int) -> None:
        super().__init__(encoder)
        self.sample_rate = encoder.sample_rate
        self.num_features = num_features
        self.checksum = encoder.checksum

    @property
    def encoder(self) -> AudioTextEncoder:
        """The whole CLAP, for the CLAP score: it need not be loaded twice."""
        return self.network

    def hear(self, waveform: Tensor) -> AudioEmbedding:
        """See :class:`FrozenEmbedder`."""
        return AudioEmbedding(self.encoder.embed_audio(waveform)[:, None])


class TransformersCLAP(_ClapEmbedder):
    """The CLAP of a folder, of a fetched model of the Hugging Face hub, or of a file of ``laion_clap``.

    Args:
        model: as for :class:`consistency_tta.components.clap.TransformersClap`; ``laion/clap-htsat-unfused`` is D = 512
            at 48 kHz.
        tokenizer: for a file of ``laion_clap``; not looked at for anything else.

    Raises:
        FileNotFoundError: it is not there; no hub is asked.
        ValueError: it is not a CLAP, or one with feature fusion.
    """

    name = "clap"

    def __init__(self, model: str | Path = "laion/clap-htsat-unfused", tokenizer: str | Path = "roberta-base") -> None:
        encoder = TransformersClap(model, tokenizer)
        super().__init__(encoder, encoder.clap.model.config.projection_dim)


class TinyCLAP(TransformersCLAP):
    """The bundled CLAP (D = 128 at 16 kHz), trained on ESC-10 for the demo: no checkpoint is needed, and no figure of
    it means anything beyond such sounds (docs/tiny.md).

    Args:
        model: another folder.
    """

    name = "tiny-clap"

    def __init__(self, model: str | Path = "tiny-clap") -> None:
        super().__init__(model)


class LaionCLAP(_ClapEmbedder):
    """The same checkpoints by the package ``laion_clap`` itself (extra ``laion``); D = 512 at 48 kHz.

    Args:
        weights: a file of ``laion_clap``, or the folder that has the paper's; the cache of ``torch.hub`` if None.
        tokenizer: folder or fetched hub id of RoBERTa's tokenizer.

    Raises:
        ModuleNotFoundError: the package is not installed.
        FileNotFoundError: the checkpoint or the tokenizer is not there; no hub is asked.
        ValueError: the checkpoint is another than expected.
    """

    name = "laion-clap"

    def __init__(self, weights: str | Path | None = None, tokenizer: str | Path = "roberta-base") -> None:
        import_laion()
        path = locate(weights, PUBLISHED)
        encoder = LaionClap(path, tokenizer)
        model: Any = encoder.module.model
        super().__init__(encoder, model.audio_projection[-1].out_features)

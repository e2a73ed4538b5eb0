"""CLAP by the package ``laion_clap``, with which the ConsistencyTTA paper evaluates and fine-tunes.

Source: Wu et al., "Large-Scale Contrastive Language-Audio Pretraining with Feature Fusion and Keyword-to-Caption
Augmentation", 2023, https://arxiv.org/abs/2211.06687; https://github.com/LAION-AI/CLAP.

:class:`consistency_tta.components.clap.TransformersClap` reads the same checkpoints and agrees to 1e-5 without this
package: use it, unless you need the package's own numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import RobertaConfig

from consistency_tta.audio.resample import resample
from consistency_tta.components.laion_checkpoint import read_laion
from consistency_tta.components.laion_package import import_laion, untrained_module
from consistency_tta.components.laion_settings import text_settings
from consistency_tta.components.laion_tokenizer import MAX_TOKENS, laion_tokenizer
from consistency_tta.contracts import AudioEncoder
from consistency_tta.runtime.cut_inputs import warn_of_cut_captions, warn_of_cut_sound
from consistency_tta.runtime.errors import CheckpointError, ShapeError
from consistency_tta.runtime.frozen import Frozen
from consistency_tta.storage.checksum import checksum
from consistency_tta.storage.published_weights import Published, locate

#: The checkpoint with which the ConsistencyTTA paper evaluates.
PUBLISHED = Published(
    "music_audioset_epoch_15_esc_90.14.pt",
    "https://huggingface.co/lukewys/laion_clap/resolve/main/music_audioset_epoch_15_esc_90.14.pt",
)

#: What laion_clap calls its audio networks, by the width of their first level.
AUDIO_NETWORKS = {96: "HTSAT-tiny", 128: "HTSAT-base", 256: "HTSAT-large"}
SAMPLE_RATE = 48000
#: 10 s; laion_clap takes a random part of what is longer.
MAX_SAMPLES = 480_000


class LaionClap(AudioEncoder):
    """A frozen CLAP, computed by the package ``laion_clap`` (extra ``laion``); D = 512 at 48 kHz.

    Nothing is random: a waveform of more than 10 s is cut at its end, as in ``TransformersClap`` and in the official
    ConsistencyTTA, where the package would take a random part. Nothing is quantised: given numbers rather than tensors,
    the package rounds waveforms to 16 bits first, which has no gradient, and moves embeddings slightly.

    Args:
        weights: a file of ``laion_clap``, or the folder that has the paper's
            (``music_audioset_epoch_15_esc_90.14.pt``); the cache of ``torch.hub`` if None.
        tokenizer: folder or fetched hub id of RoBERTa's tokenizer.
        checkpoint: the name that ``weights`` had in earlier versions.

    Raises:
        MissingExtraError: if the package is not installed.
        FileNotFoundError: if the checkpoint or the tokenizer is not there; nothing is downloaded.
        CheckpointError: if the checkpoint is not a CLAP of HTSAT and RoBERTa without feature fusion, or not whole.
    """

    name = "laion-clap"
    sample_rate = SAMPLE_RATE
    checksum: str

    def __init__(
        self,
        weights: str | Path | None = None,
        tokenizer: str | Path = "roberta-base",
        checkpoint: str | Path | None = None,
    ) -> None:
        super().__init__()
        import_laion()
        path = locate(checkpoint if weights is None else weights, PUBLISHED)
        tensors = read_laion(path)
        settings = text_settings(tensors)
        self.tokenizer = laion_tokenizer(tokenizer, settings["vocab_size"])
        width = tensors["audio_branch.patch_embed.proj.weight"].shape[0]
        if width not in AUDIO_NETWORKS:
            raise CheckpointError(
                f"expected an HTSAT of width {' or '.join(map(str, AUDIO_NETWORKS))}, got {width} in {path}"
            )
        module: Any = untrained_module(AUDIO_NETWORKS[width], RobertaConfig(**settings))
        # Positions are counted, not learnt; transformers ceased to save them.
        tensors.pop("text_branch.embeddings.position_ids", None)
        try:
            module.model.load_state_dict(tensors)
        except RuntimeError as error:
            raise CheckpointError(f"expected a whole CLAP of laion_clap in {path}: {error}") from None
        self.frozen = Frozen(module=module)
        self.num_features = module.model.audio_projection[-1].out_features
        self.checksum = checksum(path)

    @property
    def module(self) -> Any:
        """The package's ``CLAP_Module``."""
        return self.frozen.module

    def embed(self, waveform: Tensor, sample_rate: int) -> Tensor:
        """See :class:`consistency_tta.contracts.AudioEncoder`."""
        if waveform.ndim != 2 or not waveform.shape[1]:
            raise ShapeError(f"expected a waveform (B, samples), got {tuple(waveform.shape)}")
        waveform = resample(waveform, sample_rate, SAMPLE_RATE)
        warn_of_cut_sound(self.name, waveform.shape[1], MAX_SAMPLES, SAMPLE_RATE)
        waveform = waveform[:, :MAX_SAMPLES].float()
        with torch.autocast(waveform.device.type, enabled=False):
            return self.module.get_audio_embedding_from_data(waveform, use_tensor=True)

    def embed_text(self, captions: Sequence[str]) -> Tensor:
        """See :class:`consistency_tta.contracts.AudioEncoder`."""
        return self.module.get_text_embedding(list(captions), tokenizer=self._tokens, use_tensor=True)

    def _tokens(self, captions: list[str]) -> Any:
        tokens = self.tokenizer(captions, padding=True, truncation=True, max_length=MAX_TOKENS, return_tensors="pt")
        warn_of_cut_captions(self.tokenizer, captions, tokens.attention_mask, MAX_TOKENS)
        return tokens

"""Networks of published shapes and random weights, for models that a recipe names and that are not on this machine."""

from __future__ import annotations

from typing import Any

from transformers import (
    ByT5Tokenizer,
    ClapConfig,
    ClapFeatureExtractor,
    ClapModel,
    PreTrainedTokenizerBase,
    T5Config,
    T5EncoderModel,
)

from consistency_tta.components.clap_model import Clap
from consistency_tta.components.mel import MelSpectrogram
from consistency_tta.components.networks import autoencoder, hifigan

#: FLAN-T5's sizes by the end of the hub id; Chung et al., "Scaling Instruction-Finetuned Language Models", 2022,
#: https://arxiv.org/abs/2210.11416: T5 1.1's, https://github.com/google-research/text-to-text-transfer-transformer.
T5_SIZES: dict[str, dict[str, int]] = {
    "small": {"d_model": 512, "d_kv": 64, "d_ff": 1024, "num_layers": 8, "num_heads": 6},
    "base": {"d_model": 768, "d_kv": 64, "d_ff": 2048, "num_layers": 12, "num_heads": 12},
    "large": {"d_model": 1024, "d_kv": 64, "d_ff": 2816, "num_layers": 24, "num_heads": 16},
    "xl": {"d_model": 2048, "d_kv": 64, "d_ff": 5120, "num_layers": 24, "num_heads": 32},
}


def byte_tokenizer() -> PreTrainedTokenizerBase:
    """A tokenizer without files."""
    return ByT5Tokenizer(extra_ids=0)


def t5_encoder(name: str) -> T5EncoderModel:
    """FLAN-T5's encoder of the size that the name ends in; ``large``, which TANGO and AudioLDM take, for others."""
    size = T5_SIZES.get(name.rpartition("-")[2], T5_SIZES["large"])
    return T5EncoderModel(
        T5Config(vocab_size=32128, feed_forward_proj="gated-gelu", tie_word_embeddings=False, dropout_rate=0.1, **size)
    )


def audioldm_codec() -> dict[str, Any]:
    """Front end, autoencoder and vocoder of AudioLDM's sizes: parts of a ``TextToAudioPipeline``."""
    return {"mel": MelSpectrogram(), "vae": autoencoder(), "vocoder": hifigan()}


def htsat_clap() -> Clap:
    """A CLAP of the sizes of ``laion/clap-htsat-unfused``: HTSAT-tiny and RoBERTa-base."""
    return Clap(
        ClapModel(ClapConfig()),
        byte_tokenizer(),
        ClapFeatureExtractor(truncation="rand_trunc", padding="repeatpad"),
    )


def captions_of(tokens: int, tokenizer: PreTrainedTokenizerBase, rows: int) -> list[str]:
    """As many captions, each of at least that many tokens."""
    caption = "sound"
    while len(tokenizer(caption).input_ids) < tokens:
        caption += " of"
    return [caption] * rows

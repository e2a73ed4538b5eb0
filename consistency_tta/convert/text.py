"""FLAN-T5, of a checkpoint or of the hub, with its tokenizer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor
from transformers import AutoModelForTextEncoding, AutoTokenizer, T5Config, T5EncoderModel

from consistency_tta.components.text import TextEncoder, load_at_once
from consistency_tta.convert.exact import build_matching, count, shape
from consistency_tta.runtime.errors import ConfigurationError


def text_parts(tensors: Mapping[str, Tensor], name: str, width: int, origin: object) -> dict[str, Any]:
    """Tokenizer and text encoder as components of a pipeline.

    Args:
        tensors: the encoder's weights, where a checkpoint has them; else none, and the named model's are taken.
        name: hub id or folder of the tokenizer, such as ``google/flan-t5-large``.
        width: of the embeddings that the network reads.
        origin: where the weights come from, in messages.

    Raises:
        ConfigurationError: if the named model is not there, or does not fit.
    """
    try:
        tokenizer = load_at_once(AutoTokenizer.from_pretrained, name)
        encoder = (
            t5_encoder(tensors, origin)
            if tensors
            else load_at_once(AutoModelForTextEncoding.from_pretrained, name).float()
        )
    except OSError:
        lacking = "tokenizer" if tensors else "text encoder and tokenizer"
        raise ConfigurationError(
            f"{origin} goes with the {lacking} of {name}, which is neither a folder here nor a model of the hub that "
            "is cached or can be reached: give the folder of a copy with --text_encoder FOLDER, or leave the text "
            "encoder out with --without_text true (the model folder then cannot generate)"
        ) from None
    if encoder.config.hidden_size != width:
        raise ConfigurationError(
            f"the network reads text embeddings of width {width}, but those of {name} have "
            f"{encoder.config.hidden_size}: set --text_encoder to the model it was trained with"
        )
    if len(tokenizer) > encoder.config.vocab_size:
        raise ConfigurationError(
            f"the text encoder of {origin} knows {encoder.config.vocab_size} tokens, but the tokenizer of {name} has "
            f"{len(tokenizer)}: set --text_encoder to the model it was trained with"
        )
    TextEncoder(tokenizer, encoder)  # refuses a tokenizer without a vocabulary, and sets where captions are cut
    return {"tokenizer": tokenizer, "text_encoder": encoder}


def t5_encoder(tensors: Mapping[str, Tensor], origin: object) -> T5EncoderModel:
    """A T5 encoder whose form is read from its weights, so that nothing needs to be downloaded.

    Source: Raffel et al., "Exploring the Limits of Transfer Learning with a Unified Text-to-Text Transformer", 2020,
    https://arxiv.org/abs/1910.10683; T5 1.1 and FLAN-T5 have gated feed-forward layers (``wi_0``, ``wi_1``).
    """
    what = "a T5 text encoder"
    block = "encoder.block.0.layer."
    query, width = shape(tensors, f"{block}0.SelfAttention.q.weight", what, origin)
    buckets, heads = shape(tensors, f"{block}0.SelfAttention.relative_attention_bias.weight", what, origin)
    gated = f"{block}1.DenseReluDense.wi_0.weight" in tensors
    # Both names are one tensor, of which some versions of transformers save only the one or the other.
    words = tensors.get("shared.weight", tensors.get("encoder.embed_tokens.weight"))
    if words is not None:
        tensors = {"shared.weight": words, "encoder.embed_tokens.weight": words} | dict(tensors)
    config = T5Config(
        vocab_size=shape(tensors, "shared.weight", what, origin)[0],
        d_model=width,
        d_kv=query // heads,
        d_ff=shape(tensors, f"{block}1.DenseReluDense.wo.weight", what, origin)[1],
        num_layers=count(tensors, "encoder.block.{}.layer.0.SelfAttention.q.weight"),
        num_heads=heads,
        relative_attention_num_buckets=buckets,
        feed_forward_proj="gated-gelu" if gated else "relu",
    )
    encoder = build_matching(lambda: T5EncoderModel(config), tensors, what, origin)
    encoder.tie_weights()
    return encoder

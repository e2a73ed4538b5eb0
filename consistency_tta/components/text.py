"""Captions to text embeddings."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from huggingface_hub import model_info, try_to_load_from_cache
from torch import nn
from transformers import (
    AutoModelForTextEncoding,
    AutoTokenizer,
    ByT5Tokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    T5Config,
    T5EncoderModel,
)
from transformers.tokenization_utils_base import VERY_LARGE_INTEGER

from consistency_tta.components.attention_mask import attention_mask
from consistency_tta.components.without_code import load_without_code
from consistency_tta.contracts import TextEmbedding
from consistency_tta.runtime.cut_inputs import warn_of_cut_captions
from consistency_tta.runtime.device import to_device
from consistency_tta.runtime.errors import ConfigurationError, ModelFolderError


def load_at_once(load: Callable[..., Any], name: str) -> Any:
    """Load a folder or model of the hub; fail at once where the hub cannot be reached and nothing is cached.

    The libraries themselves retry for most of a minute.

    Args:
        load: such as ``AutoTokenizer.from_pretrained``.
        name: folder or hub id.

    Raises:
        OSError: if it cannot be found.
        UntrustedClassError: if it cannot be loaded without code of its own.
    """
    try:
        if not Path(name).exists() and not isinstance(try_to_load_from_cache(name, "config.json"), str):
            model_info(name, timeout=10)
    except Exception as error:  # requests' or httpx's, by the version of huggingface_hub
        raise OSError(f"{name} is neither a folder nor cached, and the hub does not answer: {error}") from None
    return load_without_code(load, name)


def max_tokens(tokenizer: PreTrainedTokenizerBase) -> int:
    """The tokenizer's own limit, or 512 where it has none: T5's, of relative positions, is often written as 1e30."""
    return tokenizer.model_max_length if tokenizer.model_max_length < VERY_LARGE_INTEGER else 512


class TextEncoder(nn.Module):
    """A tokenizer and a Hugging Face text encoder.

    Args:
        tokenizer: of the encoder.
        encoder: any model that maps ``input_ids`` and ``attention_mask`` to ``last_hidden_state``.
        max_length: tokens after which captions are cut, never more than the tokenizer's own limit, which it becomes: so
            a model folder keeps it. None for the tokenizer's own limit, or 512 where it has none.
    """

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, encoder: PreTrainedModel, max_length: int | None = None
    ) -> None:
        super().__init__()
        letters = tokenizer("a", add_special_tokens=False).input_ids
        if not letters or tokenizer.unk_token_id in letters:
            raise ModelFolderError(
                f"{type(tokenizer).__name__} knows no token for 'a': its vocabulary was not loaded; "
                "check the tokenizer's folder, or load it with AutoTokenizer"
            )
        self.tokenizer = tokenizer
        self.encoder = encoder
        max_length = max_tokens(tokenizer) if max_length is None else max_length
        self.max_length = tokenizer.model_max_length = min(max_length, tokenizer.model_max_length)

    def forward(self, captions: Sequence[str]) -> TextEmbedding:
        """Embed captions; padded to the longest, and cut with a warning where they have too many tokens.

        Args:
            captions: B captions; the empty one stands for "no caption".

        Returns:
            Embedding (B, tokens, width) and mask (B, tokens).
        """
        tokens = self.tokenizer(
            list(captions), padding=True, truncation=True, max_length=self.max_length, return_tensors="pt"
        )
        warn_of_cut_captions(self.tokenizer, captions, tokens.attention_mask, self.max_length)
        device = self.encoder.device
        hidden = self.encoder(
            input_ids=to_device(tokens.input_ids, device),
            attention_mask=attention_mask(self.encoder, tokens.attention_mask, device),
        ).last_hidden_state
        # Offloading moves the encoder, and so what it returns, but not its device before that.
        return TextEmbedding(hidden, to_device(tokens.attention_mask.bool(), hidden.device))


class PretrainedTextEncoder(TextEncoder):
    """A text encoder of the Hugging Face hub, or of a folder.

    Args:
        name: hub id or folder, such as ``google/flan-t5-large``.
        max_length: tokens after which captions are cut; kept in the model folder.

    Raises:
        FileNotFoundError: if it is not there.
    """

    def __init__(self, name: str, max_length: int = 512) -> None:
        try:
            # AutoTokenizer: the class-specific ones return an empty tokenizer where the hub is out of reach.
            tokenizer = load_at_once(AutoTokenizer.from_pretrained, name)
            encoder = load_at_once(AutoModelForTextEncoding.from_pretrained, name)
        except OSError as error:
            raise FileNotFoundError(
                f"expected a text encoder with its tokenizer, but {name} is neither a whole folder here nor a model of "
                f"the hub that is cached or can be reached: fetch it with `hf download {name}`, or name a folder "
                f"({str(error).partition(chr(10))[0]})"
            ) from None
        super().__init__(tokenizer, encoder, max_length)


class ByteTextEncoder(TextEncoder):
    """An untrained T5 encoder over bytes, to be trained along with a small teacher: no vocabulary, no download.

    Source: Xue et al., "ByT5: Towards a Token-Free Future with Pre-trained Byte-to-Byte Models", 2022,
    https://arxiv.org/abs/2105.13626

    Args:
        width: of the embeddings; the U-Net's ``cross_attention_dim``.
        num_layers: transformer layers.
        num_heads: attention heads; ``width`` must be a multiple.
        max_length: bytes after which captions are cut.
    """

    def __init__(self, width: int = 128, num_layers: int = 3, num_heads: int = 4, max_length: int = 256) -> None:
        if width % num_heads:
            raise ConfigurationError(f"expected a width that num_heads={num_heads} divides, got {width}")
        # No sentinel tokens: 256 bytes and 3 special tokens.
        tokenizer = ByT5Tokenizer(extra_ids=0)
        config = T5Config(
            vocab_size=len(tokenizer),
            d_model=width,
            d_kv=width // num_heads,
            d_ff=2 * width,
            num_layers=num_layers,
            num_heads=num_heads,
            dropout_rate=0.0,
            feed_forward_proj="gated-gelu",
            tie_word_embeddings=False,
        )
        super().__init__(tokenizer, T5EncoderModel(config), max_length)

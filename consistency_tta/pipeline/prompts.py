"""Prompts, and negative ones, as embeddings."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from consistency_tta.contracts import TextEmbedding
from consistency_tta.pipeline.arguments import as_prompts
from consistency_tta.runtime.errors import ConfigurationError, ShapeError

#: A caption, or one for each prompt; or embeddings (B, tokens, width) and their mask (B, tokens), which may be None.
Encode = Callable[[Sequence[str]], TextEmbedding]
Given = tuple[str | Sequence[str] | None, Tensor | None, Tensor | None]


@dataclass(frozen=True)
class Prompts:
    """What B sounds should be, and what not.

    Attributes:
        text: of the prompts.
        negative: of the negative prompts; None for none.
    """

    text: TextEmbedding
    negative: TextEmbedding | None = None

    def __len__(self) -> int:
        return len(self.text.mask)

    def to(self, device: torch.device) -> Prompts:
        """The same on a device."""
        negative = None if self.negative is None else _moved(self.negative, device)
        return Prompts(_moved(self.text, device), negative)


def embed_prompts(
    encode: Encode,
    prompt: str | Sequence[str] | None,
    prompt_embeds: Tensor | None = None,
    attention_mask: Tensor | None = None,
    negative_prompt: str | Sequence[str] | None = None,
    negative_prompt_embeds: Tensor | None = None,
    negative_attention_mask: Tensor | None = None,
    num_waveforms_per_prompt: int = 1,
) -> Prompts:
    """Embed prompts, each repeated for its waveforms.

    Args:
        encode: captions to their embedding: the model's text encoder.
        prompt: captions.
        prompt_embeds, attention_mask: instead, their embeddings (B, tokens, width) and a mask (B, tokens).
        negative_prompt: what the sounds should not be: one caption for all prompts, or one for each.
        negative_prompt_embeds, negative_attention_mask: instead, their embeddings and a mask.
        num_waveforms_per_prompt: at least 1.

    Raises:
        ConfigurationError: if there is no prompt, one is no text, or both captions and embeddings are given.
        ShapeError: if embeddings and masks do not go together, or negative prompts with the prompts.
    """
    repeats = num_waveforms_per_prompt
    if isinstance(repeats, bool) or not isinstance(repeats, int) or repeats < 1:
        raise ConfigurationError(f"expected num_waveforms_per_prompt of at least 1, got {repeats!r}")
    text = _embed(encode, (prompt, prompt_embeds, attention_mask), "prompt")
    rows = torch.arange(len(text.mask), device=text.mask.device).repeat_interleave(repeats)
    negative = (negative_prompt, negative_prompt_embeds, negative_attention_mask)
    if all(value is None for value in negative):
        return Prompts(text.rows(rows))
    away = _embed(encode, negative, "negative_prompt")
    if len(away.mask) not in (1, len(text.mask)):
        raise ShapeError(
            f"expected one negative_prompt, or {len(text.mask)}, one for each prompt, got {len(away.mask)}"
        )
    return Prompts(text.rows(rows), away.rows(rows if len(away.mask) > 1 else torch.zeros_like(rows)))


def _moved(text: TextEmbedding, device: torch.device) -> TextEmbedding:
    return TextEmbedding(text.embedding.to(device), text.mask.to(device))


def _embed(encode: Encode, given: Given, name: str) -> TextEmbedding:
    captions, embedding, mask = given
    embeds, masks = f"{name}_embeds", f"{name.removesuffix('prompt')}attention_mask"
    if captions is not None and embedding is not None:
        raise ConfigurationError(f"expected {name} or {embeds}, got both: leave one out")
    if embedding is None:
        if mask is not None:
            raise ConfigurationError(f"expected {embeds} with {masks}, got the mask alone: give both")
        if captions is None:
            raise ConfigurationError(f"expected a {name}, or {embeds}, got neither")
        return encode(as_prompts(captions))
    if mask is None:
        mask = torch.ones(embedding.shape[:2], dtype=torch.bool, device=embedding.device)
    if embedding.ndim != 3 or mask.shape != embedding.shape[:2] or not len(mask):
        raise ShapeError(
            f"expected {embeds} (B, tokens, width) and {masks} (B, tokens), got {tuple(embedding.shape)} and "
            f"{tuple(mask.shape)}: `pipeline.encode_prompt` makes both"
        )
    return TextEmbedding(embedding, mask.to(embedding.device, torch.bool))

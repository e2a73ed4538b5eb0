"""Checks of what a caller gives to the pipeline."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from numbers import Real
from typing import Any

import torch
from torch import Tensor

from consistency_tta.runtime.errors import ConfigurationError, DataError, ShapeError
from consistency_tta.storage.caption_text import NO_TEXT, has_no_words

logger = logging.getLogger(__name__)


def as_prompts(prompt: str | Sequence[str]) -> list[str]:
    """Captions as a list; warns of those without words; a blank one stands for "no caption".

    Raises:
        ConfigurationError: if there is no caption, or one has a NUL or half a character.
    """
    prompts = [prompt] if isinstance(prompt, str) else prompt
    if not isinstance(prompts, list | tuple) or not prompts or not all(isinstance(one, str) for one in prompts):
        raise ConfigurationError(f"expected a prompt, or a list of one or more prompts, got {prompt!r:.80}")
    for one in prompts:
        if NO_TEXT.search(one):
            raise ConfigurationError(
                f"expected prompts of text, got a NUL or half a character in {one!a:.80}: remove it"
            )
    blank = [number for number, one in enumerate(prompts) if has_no_words(one)]
    if blank:
        logger.warning(f"prompt {blank[0]} has no words, {prompts[blank[0]]!r:.40}: its sound follows no caption")
    return list(prompts)


def check_not_blank(prompt: object) -> None:
    """Check that a prompt, or one of several, is more than spaces; what is no text is for :func:`as_prompts`.

    Raises:
        ConfigurationError: if all are blank.
    """
    prompts = [prompt] if isinstance(prompt, str) else prompt
    if not isinstance(prompts, list | tuple) or not prompts:
        return
    if all(isinstance(one, str) and not one.strip() for one in prompts):
        raise ConfigurationError(f"expected a prompt, such as 'a dog barks', got {prompt!r:.80}, which is blank")


def check_finite(**numbers: float) -> None:
    """Check that options are finite numbers.

    Raises:
        ConfigurationError: if one is not.
    """
    for name, value in numbers.items():
        if isinstance(value, bool) or not isinstance(value, Real) or not math.isfinite(value):
            raise ConfigurationError(f"expected a finite number as {name}, got {value!r}")


def as_generators(generator: Any, batch_size: int) -> torch.Generator | list[torch.Generator] | None:
    """None, one generator for the batch, or a list with one for each prompt.

    Raises:
        ConfigurationError: if it is something else, such as a seed.
        ShapeError: if there are more or fewer than prompts.
    """
    several = list(generator) if isinstance(generator, list | tuple) else None
    for one in [generator] if several is None else several:
        if (one is not None and not isinstance(one, torch.Generator)) or (one is None and several is not None):
            raise ConfigurationError(
                f"expected torch.Generator objects as generator, got {one!r}: use torch.Generator().manual_seed(seed)"
            )
    if several is not None and len(several) != batch_size:
        raise ShapeError(f"expected one generator for each of {batch_size} prompts, got {len(several)}")
    return generator if several is None else several


def check_latents(latents: Tensor, batch_size: int, latent_shape: tuple[int, ...]) -> None:
    """Check starting noise (B, C, *); a U-Net takes noise of another length than it was trained with.

    Raises:
        ShapeError: if it has another number of examples, dimensions or channels.
        DataError: if it is not finite.
    """
    if not isinstance(latents, Tensor):
        raise ShapeError(f"expected a tensor as latents, got {type(latents).__name__}: torch.as_tensor makes one")
    if latents.ndim != 1 + len(latent_shape) or latents.shape[:2] != (batch_size, latent_shape[0]):
        raise ShapeError(
            f"expected latents {(batch_size, *latent_shape)} for {batch_size} prompts, got {tuple(latents.shape)}"
        )
    if not latents.isfinite().all():
        raise DataError("expected finite latents as starting noise, got NaN or infinity")


def check_sampled(latents: Tensor, dtype: torch.dtype) -> None:
    """Check what a network made.

    Args:
        latents: (B, C, *).
        dtype: of the network's weights.

    Raises:
        DataError: if it is not finite.
    """
    if not latents.isfinite().all():
        remedy = "check its weights" if dtype == torch.float32 else "load it in float32 or bfloat16"
        raise DataError(f"the network, in {str(dtype).removeprefix('torch.')}, computed NaN or infinity: {remedy}")


def check_decoded(waveform: Tensor) -> None:
    """Raise a DataError if decoders made a waveform (B, channels, samples) that is not finite of finite latents."""
    if not waveform.isfinite().all():
        raise DataError("the codec or vocoder computed NaN or infinity of finite latents: check their weights")

"""Warnings of input that is longer than a network takes: it is cut, and a warning is logged once."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from torch import Tensor

log = logging.getLogger(__name__)

#: Captions and lengths of sound that were warned of in this process.
_warned: set[tuple[str, str | int]] = set()


def warn_of_cut_captions(tokenizer: Any, captions: Sequence[str], mask: Tensor, max_length: int) -> None:
    """Warn, once for each, of captions that have more tokens than a network reads.

    Args:
        tokenizer: of transformers, which has cut the captions.
        captions: B.
        mask: (B, tokens), nonzero where there is a token.
        max_length: tokens that the network reads.
    """
    full = (mask != 0).sum(1).tolist()
    for caption, length in zip(captions, full, strict=True):
        if length < max_length or ("caption", caption) in _warned:
            continue
        tokens = len(tokenizer(caption, verbose=False).input_ids)
        if tokens > max_length:
            _warned.add(("caption", caption))
            log.warning(
                "a caption has %d tokens and is cut to %d, which is all that %s reads: %r...",
                tokens,
                max_length,
                type(tokenizer).__name__,
                caption[:60],
            )


def warn_of_cut_sound(network: str, samples: int, limit: int, sample_rate: int) -> None:
    """Warn, once for each network and length, of sounds that are longer than a network's window.

    Args:
        network: its name.
        samples: of the sounds.
        limit: samples of the window.
        sample_rate: of both, in Hz.
    """
    if samples > limit and (network, samples) not in _warned:
        _warned.add((network, samples))
        log.warning(
            "sounds of %.2f s are cut to %.2f s, the window of %s: what follows has no influence",
            samples / sample_rate,
            limit / sample_rate,
            network,
        )

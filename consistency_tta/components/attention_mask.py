"""Attention masks of text encoders, prepared on the CPU.

transformers looks into a mask for padding, to leave it out where there is none. Of a mask on a device that is known
only after all work of the device is done; so it looks while the mask is still on the CPU.
"""

from __future__ import annotations

import sys
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from consistency_tta.runtime.device import to_device

#: Models whose tokens attend to all others, later ones included.
BIDIRECTIONAL = ("t5", "mt5", "umt5", "bert", "roberta", "clap_text_model")


def attention_mask(encoder: PreTrainedModel, mask: Tensor, device: torch.device) -> Tensor | None:
    """What a text encoder on a device is given as its ``attention_mask``.

    Args:
        encoder: the text encoder.
        mask: (B, tokens) on the CPU, 1 where there is a token, 0 where there is padding.
        device: of the encoder.

    Returns:
        The mask on the device, in the form in which the encoder's attention uses it, (B, 1, tokens, tokens); None where
        that attention needs none. For other encoders, and for releases of transformers that do not look into the mask,
        (B, tokens).
    """
    config: Any = encoder.config
    prepare = getattr(sys.modules[type(encoder).__module__], "create_bidirectional_mask", None)
    if prepare is None or config.model_type not in BIDIRECTIONAL or getattr(config, "is_decoder", False):
        return to_device(mask, device)
    # Of the embeddings it reads the shape, the type and the device.
    embeddings = torch.empty(*mask.shape, 0, dtype=encoder.dtype)
    prepared = prepare(config=config, inputs_embeds=embeddings, attention_mask=mask)
    return None if prepared is None else to_device(prepared, device)

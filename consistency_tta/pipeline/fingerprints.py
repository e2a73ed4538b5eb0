"""SHA-256 of networks whose results are kept on disk, to recognise the same network again.

Weights are rounded to bfloat16 first: a frozen network in half the precision is still the same. Where a network's
folder lies, and its version of the file format, do not count.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from consistency_tta.components.mel_encoding import MelEncoding
from consistency_tta.components.text import TextEncoder
from consistency_tta.contracts import Codec, Denoiser

#: Parts of a codec that decode, which leave latents as they are; the mel front end follows from its settings.
DECODERS = ("vocoder.", "vae.decoder.", "vae.post_quant_conv.", "mel.")
#: Which a tokenizer splits, to recognise it.
CAPTION = "A dog barks, then rain is falling on 3 roofs."


def codec_fingerprint(codec: Codec) -> str:
    """Of what encodes, in hexadecimal."""
    state = {name: tensor for name, tensor in codec.state_dict().items() if not name.startswith(DECODERS)}
    return _digest(state, _settings(codec.mel.config) if isinstance(codec, MelEncoding) else {})


def text_fingerprint(text: TextEncoder) -> str:
    """Of tokenizer and text encoder, in hexadecimal."""
    return _digest(text.state_dict(), {"tokens": text.tokenizer(CAPTION).input_ids, "max_length": text.max_length})


def teacher_fingerprint(teacher: Denoiser) -> str:
    """Of a guided teacher's network and noise schedule, in hexadecimal."""
    denoiser: Any = getattr(teacher, "denoiser", teacher)
    return _digest(denoiser.state_dict(), {"returns": getattr(denoiser, "prediction_type", None)})


def _settings(config: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in config.items() if not key.startswith("_")}


def _digest(state: Mapping[str, Tensor], settings: Mapping[str, Any]) -> str:
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True, default=str).encode())
    for name, tensor in sorted(state.items()):
        name = name.replace("_orig_mod.", "")  # of torch.compile
        if tensor.is_floating_point():
            tensor = tensor.to(torch.bfloat16)
        digest.update(f"{name} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()

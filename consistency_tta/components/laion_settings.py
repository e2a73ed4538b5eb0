"""Sizes of the networks in a checkpoint of ``laion_clap``, found from the shapes of its tensors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor


def text_settings(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """What ``RobertaConfig`` and ``ClapTextConfig`` need to know of the text network."""
    table = tensors["text_branch.embeddings.word_embeddings.weight"]
    widest = tensors.get("text_branch.encoder.layer.0.intermediate.dense.weight", table)
    positions = tensors.get("text_branch.embeddings.position_embeddings.weight", table)
    return {
        "vocab_size": table.shape[0],
        "hidden_size": table.shape[1],
        "num_hidden_layers": _count(tensors, "text_branch.encoder.layer."),
        "num_attention_heads": table.shape[1] // 64,
        "intermediate_size": widest.shape[0],
        "max_position_embeddings": positions.shape[0],
        "type_vocab_size": 1,
        "layer_norm_eps": 1e-5,  # roberta-base's; not ClapTextConfig's default
        "pad_token_id": 1,
    }


def audio_settings(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """What ``ClapAudioConfig`` needs to know of the audio network."""
    width = tensors["audio_branch.patch_embed.proj.weight"].shape[0]
    stages = [f"audio_branch.layers.{i}.blocks." for i in range(_count(tensors, "audio_branch.layers."))]
    tables = [tensors.get(f"{stage}0.attn.relative_position_bias_table") for stage in stages]
    return {
        "patch_embeds_hidden_size": width,
        "hidden_size": width * 2 ** max(0, len(stages) - 1),
        "depths": [_count(tensors, stage) for stage in stages],
        "num_attention_heads": [1 if table is None else table.shape[1] for table in tables],
    }


def _count(tensors: Mapping[str, Tensor], prefix: str) -> int:
    return len({name.removeprefix(prefix).split(".")[0] for name in tensors if name.startswith(prefix)})

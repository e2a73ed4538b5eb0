"""Checkpoints as ``laion_clap`` saves them, and tokenizers for them, made by code.

Names and shapes are written down from the package's modules; ``tests/laion`` compares them with the package itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from torch import Tensor
from transformers import PreTrainedTokenizerFast
from transformers.audio_utils import mel_filter_bank

Shapes = dict[str, tuple[int, ...]]


def linear(name: str, inside: int, outside: int) -> Shapes:
    return {f"{name}.weight": (outside, inside), f"{name}.bias": (outside,)}


def norm(name: str, width: int) -> Shapes:
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def audio_shapes(width: int, depths: Sequence[int], heads: Sequence[int]) -> Shapes:
    """Of HTSAT: 256 x 256 pixels in patches of 4 x 4, windows of 8 x 8."""
    top = width * 2 ** (len(depths) - 1)
    shapes: Shapes = {
        "spectrogram_extractor.stft.conv_real.weight": (513, 1, 1024),
        "spectrogram_extractor.stft.conv_imag.weight": (513, 1, 1024),
        "logmel_extractor.melW": (513, 64),
        "bn0.running_mean": (64,),
        "bn0.running_var": (64,),
        "bn0.num_batches_tracked": (),
        "patch_embed.proj.weight": (width, 1, 4, 4),
        "patch_embed.proj.bias": (width,),
        "tscam_conv.weight": (527, top, 16 // 2 ** (len(depths) - 1), 3),
        "tscam_conv.bias": (527,),
    }
    shapes |= norm("bn0", 64) | norm("patch_embed.norm", width) | norm("norm", top) | linear("head", 527, 527)
    for level, (depth, head) in enumerate(zip(depths, heads, strict=True)):
        dim, windows = width * 2**level, (64 // 2**level // 8) ** 2
        for i in range(depth):
            block = f"layers.{level}.blocks.{i}"
            shapes |= norm(f"{block}.norm1", dim) | norm(f"{block}.norm2", dim)
            shapes |= linear(f"{block}.attn.qkv", dim, 3 * dim) | linear(f"{block}.attn.proj", dim, dim)
            shapes |= linear(f"{block}.mlp.fc1", dim, 4 * dim) | linear(f"{block}.mlp.fc2", 4 * dim, dim)
            shapes[f"{block}.attn.relative_position_bias_table"] = (225, head)
            shapes[f"{block}.attn.relative_position_index"] = (64, 64)
            if i % 2 and windows > 1:
                shapes[f"{block}.attn_mask"] = (windows, 64, 64)
        if level < len(depths) - 1:
            shapes |= norm(f"layers.{level}.downsample.norm", 4 * dim)
            shapes[f"layers.{level}.downsample.reduction.weight"] = (2 * dim, 4 * dim)
    return {f"audio_branch.{name}": shape for name, shape in shapes.items()}


def text_shapes(width: int, layers: int, inner: int, vocabulary: int, positions: int) -> Shapes:
    """Of RoBERTa, saved by a version of transformers that still saved the positions."""
    shapes: Shapes = {
        "embeddings.position_ids": (1, positions),
        "embeddings.word_embeddings.weight": (vocabulary, width),
        "embeddings.position_embeddings.weight": (positions, width),
        "embeddings.token_type_embeddings.weight": (1, width),
    }
    shapes |= norm("embeddings.LayerNorm", width) | linear("pooler.dense", width, width)
    for i in range(layers):
        layer = f"encoder.layer.{i}"
        for part in ("query", "key", "value"):
            shapes |= linear(f"{layer}.attention.self.{part}", width, width)
        shapes |= linear(f"{layer}.attention.output.dense", width, width)
        shapes |= norm(f"{layer}.attention.output.LayerNorm", width) | norm(f"{layer}.output.LayerNorm", width)
        shapes |= linear(f"{layer}.intermediate.dense", width, inner) | linear(f"{layer}.output.dense", inner, width)
    return {f"text_branch.{name}": shape for name, shape in shapes.items()}


def laion_shapes(audio: dict[str, Any], text: dict[str, Any]) -> Shapes:
    """Of a whole CLAP with embeddings of width 512."""
    shapes = audio_shapes(**audio) | text_shapes(**text) | {"logit_scale_a": (), "logit_scale_t": ()}
    for side, width in (("audio", audio["width"] * 2 ** (len(audio["depths"]) - 1)), ("text", text["width"])):
        shapes |= linear(f"{side}_projection.0", width, 512) | linear(f"{side}_projection.2", 512, 512)
        shapes |= linear(f"{side}_transform.sequential.0", 512, 512)
        shapes |= linear(f"{side}_transform.sequential.3", 512, 512)
    return shapes


def laion_tensors(shapes: Shapes) -> dict[str, Tensor]:
    """Random weights that let differences through, and the front end's true filters."""
    tensors = {name: 0.1 * torch.randn(shape) for name, shape in shapes.items()}
    for name in tensors:
        if ("norm" in name.lower() and name.endswith("weight")) or name.endswith("running_var"):
            tensors[name] += 1
    tensors["audio_branch.logmel_extractor.melW"] = torch.as_tensor(
        mel_filter_bank(513, 64, 50.0, 14000.0, 48000, norm="slaney", mel_scale="slaney"), dtype=torch.float32
    )
    return tensors


def byte_tokenizer(folder: Path) -> int:
    """RoBERTa's tokenizer without its merges, saved in a folder; returns the number of its tokens."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = ["<s>", "<pad>", "</s>", "<unk>", *letters, "<mask>"]
    tokenizer = Tokenizer(models.BPE({word: i for i, word in enumerate(words)}, [], unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), add_prefix_space=False)
    special = {
        "bos_token": "<s>",
        "eos_token": "</s>",
        "pad_token": "<pad>",
        "unk_token": "<unk>",
        "mask_token": "<mask>",
    }
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special).save_pretrained(folder)
    return len(words)

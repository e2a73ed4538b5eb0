"""Checkpoints of the package ``laion_clap``, such as the one that the ConsistencyTTA paper uses.

Source: Wu et al., "Large-Scale Contrastive Language-Audio Pretraining with Feature Fusion and Keyword-to-Caption
Augmentation", 2023, https://arxiv.org/abs/2211.06687; files at https://huggingface.co/lukewys/laion_clap.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from consistency_tta.runtime.errors import CheckpointError
from consistency_tta.storage.published_weights import numpy_globals
from consistency_tta.storage.torch_file import is_mappable

FETCH = "`hf download lukewys/laion_clap music_audioset_epoch_15_esc_90.14.pt --local-dir .`"


def read_laion(path: str | Path) -> dict[str, Tensor]:
    """The networks' tensors by name, without executing what the file may contain.

    Args:
        path: a file that ``laion_clap`` saved, with or without the state of its training.

    Raises:
        FileNotFoundError: if the file does not exist.
        CheckpointError: if it is not a CLAP of HTSAT and RoBERTa without feature fusion.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"expected a checkpoint of laion_clap at {path}, where there is none: fetch it with {FETCH}"
        )
    try:
        with torch.serialization.safe_globals(numpy_globals()):
            # By memory mapping, the optimizer's state in the file is not read.
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=is_mappable(path))
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, LookupError, ValueError) as error:
        cause = next((line for line in str(error).split("\n") if "GLOBAL" in line), str(error).split("\n")[0]).strip()
        raise CheckpointError(
            f"expected a checkpoint of laion_clap in {path}, but it is truncated, or holds more than tensors and "
            f"numbers, which is not loaded since it could run code of its author ({cause}): fetch it again with {FETCH}"
        ) from None
    content = content.get("state_dict", content) if isinstance(content, Mapping) else {}
    tensors = {name.removeprefix("module."): value for name, value in content.items() if isinstance(value, Tensor)}
    if any(".mel_conv2d." in name or ".fusion_model." in name for name in tensors):
        raise CheckpointError(
            f"expected a CLAP without feature fusion, got one with it in {path}: take another, with {FETCH}"
        )
    for name in ("audio_branch.patch_embed.proj.weight", "text_branch.embeddings.word_embeddings.weight"):
        if name not in tensors:
            raise CheckpointError(
                f"expected a CLAP of HTSAT and RoBERTa in {path}, but it has no {name} (its first tensors: "
                f"{', '.join(list(tensors)[:3]) or 'none'}): fetch another with {FETCH}"
            )
    return tensors

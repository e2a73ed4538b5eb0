"""The combinations of settings that are counted."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import nullcontext
from typing import Any, cast

import torch
from lightning.pytorch import LightningDataModule

from consistency_tta.contracts import Batch, Codec
from consistency_tta.planning.counted_step import StepPeaks, counted_steps
from consistency_tta.planning.cuda_autocast import cuda_formats
from consistency_tta.planning.memory import Counted, counted
from consistency_tta.planning.parts import all_modules, parts
from consistency_tta.planning.sharded import divided_networks, largest_block, networks, sharded_bytes
from consistency_tta.planning.stand_ins import captions_of
from consistency_tta.training.base import TrainingModule
from consistency_tta.training.callbacks.frozen_in_bfloat16 import FrozenInBfloat16
from consistency_tta.training.callbacks.gradient_checkpointing import GradientCheckpointing
from consistency_tta.training.frozen_networks import rounded_layers, to_round

#: Lightning's names.
PRECISIONS = ("32-true", "bf16-mixed")


def count_variants(
    module: TrainingModule, data: LightningDataModule, settings: dict[str, Any], tokens: int
) -> dict[tuple[str, bool], Counted]:
    """Count steps at the recipe's batch and at twice as many, in each precision, without and with checkpointing.

    Args:
        module: of the recipe.
        data: of the recipe.
        settings: the recipe's ``trainer``.
        tokens: of captions.

    Returns:
        By precision, and whether activations are computed again wherever that is possible.
    """
    size = getattr(data, "batch_size", 1)
    found = parts(module)
    trained = sum(part.size for name, part in found.items() if name.startswith("trained"))

    divided = divided_networks(module, settings.get("strategy"))
    # Of an overlay such as cluster/low_memory; other callbacks keep nothing in a step.
    callbacks = settings.get("callbacks") or ()
    own = [callback for callback in callbacks if isinstance(callback, GradientCheckpointing)]
    rounded = [kind for callback in callbacks if isinstance(callback, FrozenInBfloat16) for kind in callback.kinds]
    batches = [example_batch(module, data, rows, tokens) for rows in (size, 2 * size)]

    def peaks(precision: str) -> list[StepPeaks]:
        module.zero_grad(set_to_none=True)
        with cuda_formats() if precision == "bf16-mixed" else nullcontext():
            return counted_steps(module, batches, precision, settings, own)

    variants = {}
    for checkpointing in (False, True):
        if checkpointing:
            enable_checkpointing(module)
        for precision in PRECISIONS:
            for network in networks(module):
                network.float()  # a step in bf16-mixed has cast the teacher
            keep_frozen_in(torch.bfloat16 if precision == "bf16-mixed" else torch.float32, module, rounded)
            one, twice = peaks(precision)
            sharded, block = sharded_bytes(divided), largest_block(divided)
            variants[precision, checkpointing] = counted(size, one, twice, trained, sharded, block)
    return variants


def keep_frozen_in(dtype: torch.dtype, module: TrainingModule, kinds: Iterable[str]) -> None:
    """Cast what :class:`FrozenInBfloat16` rounds; it would keep the original weights too, which are not on a device."""
    for kind in kinds:
        for network in to_round(module, kind):
            for layer in rounded_layers(network):
                layer.to(dtype)


def example_batch(module: TrainingModule, data: LightningDataModule, rows: int, tokens: int) -> Batch:
    """A batch of the shapes that the datamodule gives: waveforms, or moments of latents; all zeros.

    Args:
        module: of a recipe.
        data: of the recipe; one without ``num_samples`` gives latents.
        rows: B.
        tokens: the least number of each caption's tokens.
    """
    dataset = getattr(data, "train_dataset", None)
    tokenizers: list[Any] = [part.tokenizer for part in all_modules(module) if hasattr(part, "tokenizer")]
    captions = captions_of(tokens, tokenizers[0], rows) if tokenizers else ["sound"] * rows
    samples = getattr(data, "num_samples", getattr(dataset, "num_samples", None))
    if samples is None:
        channels, *size = cast(Any, module).latent_shape  # trainings on latents have it
        return Batch(captions, [""] * rows, moments=torch.zeros(rows, 2 * channels, *size))
    channels = getattr(data, "channels", 1)
    several = [channels] if channels > 1 else []
    return Batch(captions, [""] * rows, waveform=torch.zeros(rows, *several, samples))


def enable_checkpointing(module: TrainingModule) -> None:
    """Let every network that can compute its activations again on the way back."""
    parts: list[Any] = list(all_modules(module))
    for part in parts:
        if isinstance(part, Codec) or getattr(part, "_supports_gradient_checkpointing", False):
            part.enable_gradient_checkpointing()

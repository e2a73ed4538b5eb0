"""Low-rank adapters for a student's network, through ``peft``."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from diffusers.loaders import PeftAdapterMixin
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_info
from torch import nn

from consistency_tta.components.backbones import Backbone
from consistency_tta.runtime.errors import ConfigurationError, MissingExtraError
from consistency_tta.storage.atomic_directory import atomic_directory
from consistency_tta.storage.atomic_file import save_tensors
from consistency_tta.training.callbacks.best_under_constraints import exported_weights


@dataclass(frozen=True)
class LoRA:
    """Replaces each chosen weight W by W + alpha / rank B A; the narrow matrices A and B are trained, W is not.

    What reads the guidance scale is new in a student and is trained in full. The exported model has the products added
    to its weights, and is an ordinary one.

    Sources: Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", 2021, https://arxiv.org/abs/2106.09685;
    for consistency distillation Luo et al., "LCM-LoRA", 2023, https://arxiv.org/abs/2311.05556.

    Attributes:
        rank: width of the narrow matrices, at least 1.
        alpha: scale; the rank if not given.
        target_modules: ends of the names of the layers, linear or convolutional, that get an adapter. The default is
            the backbone's, all projections of attention; ``conv1`` and ``conv2`` are a U-Net's residual blocks'.
        adapter_folder: where the adapter and the layers that read scalars are left by themselves at the end of
            training, as ``pytorch_lora_weights.safetensors`` and, of a U-Net, ``class_embedding.safetensors``; nowhere
            if not given.
    """

    rank: int = 64
    alpha: float | None = None
    target_modules: tuple[str, ...] = ()
    adapter_folder: str | None = None

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise ConfigurationError(f"expected a rank of at least 1, got {self.rank}")

    def adapt(self, student: Backbone) -> None:
        """Put untrained adapters, which change nothing, into a student, and freeze all else but what reads scalars.

        Raises:
            MissingExtraError: if ``peft`` is not installed.
            ConfigurationError: if one of ``target_modules`` fits no layer, or the network takes no adapters.
        """
        try:
            from peft import LoraConfig
        except ModuleNotFoundError as error:
            raise MissingExtraError(
                "LoRA needs the package peft: pip install 'consistency-tta[lora]', or pip install peft"
            ) from error
        network = student.network
        if not isinstance(network, PeftAdapterMixin):
            raise ConfigurationError(
                f"LoRA needs a network with diffusers' PeftAdapterMixin, which {type(network).__name__} has not: "
                "train all of it"
            )
        targets = self.target_modules or student.lora_layers
        names = [f".{name}" for name, _ in network.named_modules()]
        for target in targets:
            if not any(name.endswith(f".{target}") for name in names):
                raise ConfigurationError(
                    f"expected target_modules to be ends of names of the network's layers, such as to_q, but no layer "
                    f"ends in {target!r}"
                )
        config = LoraConfig(
            r=self.rank,
            lora_alpha=self.rank if self.alpha is None else self.alpha,
            target_modules=list(targets),
            exclude_modules=rf"({'|'.join(student.scalar_layers)})\..*",  # trained in full
        )
        network.add_adapter(config)
        for layer in student.scalar_layers:
            network.get_submodule(layer).requires_grad_(True)


class SaveAdapter(Callback):
    """Reports how much of the student is trained, and leaves the averaged adapter by itself where that is configured.

    Args:
        lora: the adapters.
    """

    def __init__(self, lora: LoRA) -> None:
        self.lora = lora

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Report the number of trained parameters."""
        parameters = list(cast(nn.Module, pl_module.student).parameters())
        trained = sum(parameter.numel() for parameter in parameters if parameter.requires_grad)
        total = sum(parameter.numel() for parameter in parameters)
        rank_zero_info(f"LoRA: {trained:,} of {total:,} parameters of the student are trained")

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the averaged adapter."""
        if self.lora.adapter_folder is not None and trainer.is_global_zero:
            with exported_weights(trainer, pl_module):
                save_adapter(cast(Any, pl_module).average.module, self.lora.adapter_folder)


def merged(network: nn.Module) -> nn.Module:
    """The network without adapters, which are added to the weights of a copy; itself if it has none."""
    if not hasattr(network, "peft_config"):
        return network
    copy: Any = deepcopy(network)
    copy.fuse_lora()
    copy.unload_lora()
    return copy


def save_adapter(student: Backbone, folder: str | Path) -> None:
    """Write a student's adapter, for diffusers' ``load_lora_adapter(..., prefix=None)``, and what reads scalars."""
    with atomic_directory(Path(folder), last="pytorch_lora_weights.safetensors") as partial:
        student.network.save_lora_adapter(partial)
        for name in student.scalar_layers:
            save_tensors(student.network.get_submodule(name).state_dict(), partial / f"{name}.safetensors")

"""Low-rank adapters for a U-Net, through ``peft``."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from diffusers import UNet2DConditionModel
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_info
from safetensors.torch import save_file
from torch import nn


@dataclass(frozen=True)
class LoRA:
    """Trains the product of two narrow matrices beside each chosen weight W, W + alpha / rank B A, and W itself not.

    What reads the guidance scale is new in a student and is trained in full. The exported model has the products added
    to its weights, and is an ordinary one.

    Sources: Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", 2021, https://arxiv.org/abs/2106.09685;
    for consistency distillation Luo et al., "LCM-LoRA", 2023, https://arxiv.org/abs/2311.05556.

    Attributes:
        rank: width of the narrow matrices, at least 1.
        alpha: scale; the rank if not given.
        target_modules: ends of the names of the layers, linear or convolutional, that get an adapter. The default is
            all projections of attention; ``conv1`` and ``conv2`` are the residual blocks'.
        adapter_folder: where the adapter and the guidance layers are left by themselves at the end of training, as
            ``pytorch_lora_weights.safetensors`` and ``class_embedding.safetensors``; nowhere if not given.
    """

    rank: int = 64
    alpha: float | None = None
    target_modules: tuple[str, ...] = ("to_q", "to_k", "to_v", "to_out.0")
    adapter_folder: str | None = None

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise ValueError(f"expected a rank of at least 1, got {self.rank}")

    def adapt(self, unet: UNet2DConditionModel) -> None:
        """Put untrained adapters, which change nothing, into a U-Net, and freeze all but them and the guidance layers.

        Raises:
            ModuleNotFoundError: if ``peft`` is not installed.
            ValueError: if one of ``target_modules`` fits no layer.
        """
        try:
            from peft import LoraConfig
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(
                "LoRA needs the package peft: pip install 'consistency-tta[lora]', or pip install peft"
            ) from error
        names = [f".{name}" for name, _ in unet.named_modules()]
        for target in self.target_modules:
            if not any(name.endswith(f".{target}") for name in names):
                raise ValueError(
                    f"expected target_modules to be ends of names of the U-Net's layers, such as to_q, but no layer "
                    f"ends in {target!r}"
                )
        config = LoraConfig(
            r=self.rank,
            lora_alpha=self.rank if self.alpha is None else self.alpha,
            target_modules=list(self.target_modules),
            exclude_modules=r"class_embedding\..*",  # trained in full
        )
        unet.add_adapter(config)
        unet.class_embedding.requires_grad_(True)


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
            save_adapter(cast(Any, pl_module).average.module.unet, self.lora.adapter_folder)


def merged(unet: UNet2DConditionModel) -> UNet2DConditionModel:
    """The U-Net without adapters, which are added to the weights of a copy; itself if it has none."""
    if not hasattr(unet, "peft_config"):
        return unet
    copy = deepcopy(unet)
    copy.fuse_lora()
    copy.unload_lora()
    return copy


def save_adapter(unet: UNet2DConditionModel, folder: str | Path) -> None:
    """Write a U-Net's adapter, for diffusers' ``load_lora_adapter(..., prefix=None)``, and its guidance layers."""
    unet.save_lora_adapter(folder)
    layers = {name: value.contiguous() for name, value in unet.class_embedding.state_dict().items()}
    save_file(layers, Path(folder) / "class_embedding.safetensors")

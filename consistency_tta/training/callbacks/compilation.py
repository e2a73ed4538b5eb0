"""``torch.compile`` for a training: the repeated blocks of all networks, in place."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_info
from torch import nn

from consistency_tta.runtime.errors import ConfigurationError
from consistency_tta.runtime.frozen import Frozen

#: Classes of the blocks that U-Nets, transformers, autoencoders and vocoders repeat.
BLOCKS = (
    "BasicTransformerBlock",
    "ConvNeXtBlock",
    "FluxSingleTransformerBlock",
    "FluxTransformerBlock",
    "HifiGanResidualBlock",
    "OobleckResidualUnit",
    "ResnetBlock2D",
    "StableAudioDiTBlock",
)


class CompileBlocks(Callback):
    """Compiles the repeated blocks of student, target, teacher, averages, codec and of what else is in the training.

    Blocks of one kind share their compiled code, so that the first step takes seconds where whole networks take
    minutes. A block stays the same module: checkpoints, exported folders, averages, LoRA and DDP see no difference, and
    a run may be resumed with or without. Results differ by rounding. Directional derivatives (``MeanFlow``,
    ``ContinuousConsistency``) are computed without compilation.

        consistency-tta fit --config ... --trainer.callbacks+=consistency_tta.training.CompileBlocks

    Source: "Regional compilation", https://docs.pytorch.org/tutorials/recipes/regional_compilation.html

    Args:
        backend: of ``torch.compile``.
        blocks: further class names of blocks, such as those of a network of your own.
    """

    #: Variants of a block's code: widths, batch sizes, with and without gradients.
    most_variants = 64

    def __init__(self, backend: str = "inductor", blocks: tuple[str, ...] = ()) -> None:
        self.backend = backend
        self.names = {*BLOCKS, *blocks}

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Compile; the code is made when a block is first called.

        Raises:
            ConfigurationError: if no network has such blocks.
        """
        config = torch._dynamo.config
        config.recompile_limit = max(config.recompile_limit, self.most_variants)
        found = set(_outermost(pl_module, self.names))  # a frozen network may have several owners
        if not found:
            raise ConfigurationError(
                f"expected networks with blocks among {', '.join(sorted(self.names))}, got none: name the class of "
                "your network's blocks as `blocks`, or leave CompileBlocks out"
            )
        for block in found:
            block.compile(backend=self.backend)
        rank_zero_info(f"torch.compile: {len(found)} blocks in {len({type(block) for block in found})} classes")


def _outermost(module: nn.Module, names: set[str]) -> Iterator[nn.Module]:
    """The blocks of a module, frozen networks included, that lie in no other block."""
    if type(module).__name__ in names:
        yield module
        return
    for child in module.children():
        yield from _outermost(child, names)
    if isinstance(module, Frozen):
        for held in module.held.values():
            yield from _outermost(held, names)

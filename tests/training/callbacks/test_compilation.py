"""Compiled blocks change nothing but the time: no graph breaks, the same loss, gradients and keys; resumable."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import LightningModule
from torch import nn
from torch._dynamo.utils import counters

from consistency_tta.diffusion.solve import DDIM
from consistency_tta.runtime.errors import ConfigurationError
from consistency_tta.runtime.frozen import Frozen
from consistency_tta.training import CompileBlocks, LoRA, MeanFlow
from tests.training.runs import (
    autoencoder,
    batch,
    data,
    distil,
    distillation,
    equal,
    in_training,
    rng,
    snapshot,
    trainer,
)


def pair(folder: Path, make: Any, **kwargs: Any) -> list[Any]:
    """A training twice, from the same weights; the second is compiled."""
    modules = []
    for _ in range(2):
        torch.manual_seed(0)
        modules.append(in_training(make(**kwargs), folder))
    torch._dynamo.reset()
    counters.clear()
    # Graphs are made as for any backend, and run without code generation.
    CompileBlocks(backend="eager").on_fit_start(modules[1].trainer, modules[1])
    return modules


@pytest.mark.long
def test_a_compiled_step_is_the_same_without_graph_breaks(teacher_folder: Path, tmp_path: Path) -> None:
    options = {"solver": DDIM(), "num_discretization_steps": 3, "lora": LoRA(rank=2)}  # the teacher has none
    plain, compiled = pair(tmp_path, lambda: distillation(teacher_folder, **options))
    for index in range(2):  # with other numbers of rows for teacher and target
        losses = [module.loss(batch(), rng(index)) for module in (plain, compiled)]
        torch.testing.assert_close(*losses)
    for loss in losses:
        loss.backward()
    for one, other in zip(plain.student.parameters(), compiled.student.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad)
    assert counters["frames"]["ok"] > 0
    assert not counters["graph_break"]
    assert plain.state_dict().keys() == compiled.state_dict().keys()
    assert plain.pipeline().unet.state_dict().keys() == compiled.pipeline().unet.state_dict().keys()


@pytest.mark.long
def test_derivatives_are_taken_without_compilation(teacher_folder: Path, tmp_path: Path) -> None:
    plain, compiled = pair(tmp_path, lambda: distil(MeanFlow, teacher_folder))
    torch.testing.assert_close(compiled.loss(batch(), rng()), plain.loss(batch(), rng()))


def test_a_compiled_run_is_resumed(tmp_path: Path) -> None:
    def fit(steps: int, **kwargs: Any) -> Any:
        torch.manual_seed(0)
        module = autoencoder(tmp_path, seed=0)
        run = trainer(tmp_path, max_steps=steps, callbacks=[CompileBlocks(backend="eager")])
        run.fit(module, data(), **kwargs)
        run.save_checkpoint(tmp_path / f"{steps}.ckpt")
        return snapshot(module, run)

    fit(1)
    resumed = fit(2, ckpt_path=str(tmp_path / "1.ckpt"), weights_only=True)
    assert equal(resumed, fit(2))


def test_a_training_without_such_blocks_is_refused(tmp_path: Path) -> None:
    callback = CompileBlocks()
    callback.names = {"NoBlock"}
    with pytest.raises(ConfigurationError, match="NoBlock"):
        callback.on_fit_start(trainer(tmp_path), autoencoder(tmp_path))


class Block(nn.Module):
    """Notes how it is compiled."""

    def __init__(self, *inner: nn.Module) -> None:
        super().__init__()
        self.inner = nn.ModuleList(inner)
        self.compiled: list[str] = []

    def compile(self, backend: str) -> None:  # type: ignore[override]
        self.compiled.append(backend)


class ResnetBlock2D(Block):
    """By its name one of those that U-Nets repeat."""


@pytest.mark.parametrize("blocks", [(), ("Block",)])
def test_each_block_is_compiled_once_where_no_other_has_it(
    blocks: tuple[str, ...], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    inner, further = ResnetBlock2D(), Block()
    outer, frozen = ResnetBlock2D(inner), ResnetBlock2D()
    module = LightningModule()
    module.network, module.other = nn.Sequential(outer, further), outer
    module.owners = nn.ModuleList([Frozen(network=nn.Sequential(frozen)) for _ in range(2)])
    before = torch._dynamo.config.recompile_limit
    try:
        torch._dynamo.config.recompile_limit = 8
        with caplog.at_level("INFO"):
            CompileBlocks(backend="mine", blocks=blocks).on_fit_start(trainer(tmp_path), module)
        assert [text for text in caplog.messages if f"{2 + len(blocks)} blocks" in text]
        assert torch._dynamo.config.recompile_limit == 64
        assert [block.compiled for block in (outer, frozen, inner)] == [["mine"], ["mine"], []]
        assert further.compiled == ["mine"] * len(blocks)
        torch._dynamo.config.recompile_limit = 100
        CompileBlocks().on_fit_start(trainer(tmp_path), module)
        assert torch._dynamo.config.recompile_limit == 100
        assert outer.compiled == ["mine", "inductor"]
    finally:
        torch._dynamo.config.recompile_limit = before

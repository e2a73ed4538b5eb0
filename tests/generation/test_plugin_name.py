"""Names that tell two plugins apart, the same in every process."""

from __future__ import annotations

import torch
from torch import Tensor

from consistency_tta.contracts import Schedule, TimeGrid
from consistency_tta.diffusion.grid import KarrasGrid, LinspaceGrid
from consistency_tta.generation.plugin_name import plugin_name


class WarpedGrid(TimeGrid):
    """Of a third party, with settings of several kinds."""

    def __init__(self, power: float, inner: TimeGrid, offsets: Tensor) -> None:
        super().__init__()
        self._power = power
        self.inner = inner
        self.log = object()
        self.register_buffer("offsets", offsets)

    def forward(self, schedule: Schedule, num_steps: int) -> Tensor:
        return self.inner(schedule, num_steps)


def test_settings_are_in_the_name() -> None:
    assert plugin_name(LinspaceGrid()) == "LinspaceGrid"
    assert plugin_name(KarrasGrid(3.0)) == "KarrasGrid(rho=3.0)"


def test_private_settings_tensors_and_modules_count_and_addresses_do_not() -> None:
    def name(power: float = 2.0, rho: float = 7.0, offset: float = 0.0) -> str:
        return plugin_name(WarpedGrid(power, KarrasGrid(rho), torch.tensor([offset])))

    assert name() == name()
    assert name().startswith(f"{__name__}.WarpedGrid(")
    assert len({name(), name(power=3.0), name(rho=1.0), name(offset=0.5)}) == 4

"""Where networks run."""

from __future__ import annotations

import torch
from torch import nn


def best_device(name: str | None = None) -> torch.device:
    """The named device, or else the accelerator, or else the CPU; a ValueError for one that is not there."""
    if name is not None:
        try:
            return torch.empty(0, device=name).device
        except (RuntimeError, AssertionError) as error:  # the latter is of a torch that was built without
            raise ValueError(
                f"expected a device that torch finds here, got {name} ({str(error).splitlines()[0]}): leave it out for "
                "the best there is, or say cpu"
            ) from None
    accelerator = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    return accelerator or torch.device("cpu")


def device_of(network: nn.Module) -> torch.device:
    """Where its first weight is, be it of a module that is kept as a plain attribute, as frozen ones are here."""
    for module in (network, *vars(network).values()):
        if isinstance(module, nn.Module) and (weight := next(module.parameters(), None)) is not None:
            return weight.device
    return torch.device("cpu")

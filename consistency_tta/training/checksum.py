"""What tells one network's weights from another's."""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor, nn


def checksum(network: nn.Module) -> str:
    """SHA-256, in hexadecimal, of all weights and buffers with their names, shapes and types.

    Also of modules that are kept as plain attributes and so are in no ``state_dict()``, as frozen networks are here. A
    network's own ``checksum`` is believed.

    Raises:
        ValueError: there are no weights.
    """
    own = getattr(network, "checksum", None)
    if isinstance(own, str):
        return own
    digest, tensors = hashlib.sha256(), _tensors(network)
    if not tensors:
        raise ValueError(f"{type(network).__name__} has no weights to tell it by: give it an attribute `checksum`")
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _tensors(network: nn.Module) -> dict[str, Tensor]:
    """Those of the module and of the modules among its plain attributes."""
    tensors = dict(network.state_dict())
    for name, value in vars(network).items():
        if isinstance(value, nn.Module):
            tensors |= {f"{name}.{key}": tensor for key, tensor in value.state_dict().items()}
    return tensors

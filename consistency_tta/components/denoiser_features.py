"""Intermediate features of a frozen denoiser: what discriminators and distances of latents compare."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from consistency_tta.components.backbones import Backbone
from consistency_tta.contracts import Conditioning, Denoiser
from consistency_tta.runtime.errors import ConfigurationError


class DenoiserFeatures:
    """What chosen blocks of a denoiser's network hand on, as tokens.

    One that is guided in two queries is queried once, without guidance; one that reads w gets the conditioning's. The
    network is neither copied nor registered. Gradients reach z_t; to keep them from its weights, freeze it.

    Args:
        denoiser: a backbone, or a guided one.
        blocks: names among :meth:`Backbone.blocks`; all if not given.

    Attributes:
        channels: of each block's tokens.

    Raises:
        ConfigurationError: if there is no such block, or the denoiser has no backbone.
    """

    def __init__(self, denoiser: Denoiser, blocks: Sequence[str] | None = None) -> None:
        backbone = getattr(denoiser, "denoiser", denoiser)
        if not isinstance(backbone, Backbone):
            raise ConfigurationError(f"expected a denoiser with a backbone, got {type(backbone).__name__}")
        found = backbone.blocks()
        names = list(found) if blocks is None else list(blocks)
        if not names or (unknown := [name for name in names if name not in found]):
            raise ConfigurationError(f"expected blocks among {', '.join(found)}, got {', '.join(unknown) or 'none'}")
        self.backbone = backbone
        self.modules = {name: found[name][0] for name in names}
        self.channels = [found[name][1] for name in names]

    def __call__(self, z_t: Tensor, t: Tensor, conditioning: Conditioning) -> list[Tensor]:
        """Tokens (B, N, channels) of each block for z_t (B, C, *) at t (B,), in float32."""
        outputs: dict[str, Tensor] = {}

        def keep(name: str) -> Any:
            def hook(_module: nn.Module, _inputs: Any, output: Any) -> None:
                outputs[name] = self.backbone.block_features(output)

            return hook

        handles = [module.register_forward_hook(keep(name)) for name, module in self.modules.items()]
        try:
            self.backbone(z_t, t, conditioning)
        finally:
            for handle in handles:
                handle.remove()
        return [tokens(outputs[name]) for name in self.modules]


def tokens(features: Tensor) -> Tensor:
    """(B, channels, T, F) -> (B, T F, channels); (B, N, channels) stays."""
    return (features.flatten(2).transpose(1, 2) if features.ndim == 4 else features).float()

"""Any set of loss plugins, weighted and summed."""

from __future__ import annotations

import difflib
from typing import cast

from torch import Tensor, nn

from consistency_tta.components.reward_lineage import RewardLineage
from consistency_tta.contracts import AudioEncoder, AudioOutput, Loss
from consistency_tta.runtime.frozen import Frozen


class WeightedLosses(nn.Module):
    """The weighted sum of loss plugins, and its parts by name.

    Args:
        losses: by name; the name is also the key of the weight and of the log, ``train/loss/<name>``.
        weights: by name; 1 where none is given.

    Raises:
        ValueError: if there is no loss, or a weight without a loss.
    """

    def __init__(self, losses: dict[str, Loss], weights: dict[str, float] | None = None) -> None:
        super().__init__()
        weights = weights or {}
        if not losses:
            raise ValueError("expected at least one loss, got none")
        for name in weights:
            if name not in losses:
                nearest = difflib.get_close_matches(name, losses, 1)
                hint = f"; did you mean {nearest[0]!r}?" if nearest else ""
                raise ValueError(f"loss_weights has {name!r}, but the losses are {sorted(losses)}{hint}")
        # Frozen: a loss is moved along, but is neither trained nor saved.
        self.losses = Frozen(**losses)
        self.weights = {name: float(weights.get(name, 1.0)) for name in losses}

    def forward(self, out: AudioOutput, noise_weight: Tensor | None = None) -> dict[str, Tensor]:
        """Scalars: ``loss``, the weighted sum, and the unweighted mean ``loss/<name>`` of each plugin.

        Args:
            out: what the losses are given.
            noise_weight: (B,), applied to losses with ``noise_weighted``.
        """
        return self.combine(self.values(out), noise_weight)

    @property
    def rewards(self) -> RewardLineage:
        """The plugins' encoders."""
        encoders = (getattr(self.losses[name], "encoder", None) for name in self.weights)
        return RewardLineage.by(encoder for encoder in encoders if isinstance(encoder, AudioEncoder))

    def values(self, out: AudioOutput) -> dict[str, Tensor]:
        """The plugins' values (B,) by name, neither weighted nor averaged."""
        values = {}
        for name in self.weights:
            values[name] = cast(Loss, self.losses[name])(out)
            if values[name].shape != (len(out.batch),):
                raise ValueError(
                    f"loss {name!r} must return one value per example, ({len(out.batch)},), "
                    f"got {tuple(values[name].shape)}"
                )
        return values

    def combine(self, values: dict[str, Tensor], noise_weight: Tensor | None = None) -> dict[str, Tensor]:
        """The scalars of :meth:`forward` from the plugins' values (B,)."""
        parts, total = {}, None
        for name, weight in self.weights.items():
            noise_weighted = cast(Loss, self.losses[name]).noise_weighted
            weighted = values[name] * noise_weight if noise_weight is not None and noise_weighted else values[name]
            parts[f"loss/{name}"] = values[name].detach().mean()
            total = weight * weighted.mean() + (0 if total is None else total)
        assert total is not None  # __init__ asks for at least one loss
        return {"loss": total, **parts}

"""Any set of loss plugins, weighted and summed."""

from __future__ import annotations

import math
from typing import cast

from torch import Tensor, nn

from consistency_tta.components.reward_lineage import RewardLineage
from consistency_tta.contracts import AudioEncoder, AudioOutput, Learner, Loss
from consistency_tta.runtime.errors import ConfigurationError, ShapeError
from consistency_tta.runtime.frozen import Frozen
from consistency_tta.runtime.suggest import nearest
from consistency_tta.training.optimizer import is_learnable


class WeightedLosses(nn.Module):
    """The weighted sum of loss plugins, and its parts by name.

    Losses with parameters are trained and saved with their owner; all others are only moved along.

    Args:
        losses: by name; the name is also the key of the weight and of the log, ``train/loss/<name>``.
        weights: by name; 1 where none is given.

    Raises:
        ConfigurationError: if there is a weight without a loss, or one that is not finite.
    """

    def __init__(self, losses: dict[str, Loss], weights: dict[str, float] | None = None) -> None:
        super().__init__()
        weights = weights or {}
        for name in weights:
            if name not in losses:
                near = nearest(name, list(losses))
                hint = f"; did you mean {near!r}?" if near else ""
                raise ConfigurationError(f"loss_weights has {name!r}, but the losses are {sorted(losses)}{hint}")
        if wrong := {name: weight for name, weight in weights.items() if not math.isfinite(weight)}:
            raise ConfigurationError(f"expected loss_weights that are finite, got {wrong}")
        learnable = {name: loss for name, loss in losses.items() if is_learnable(loss)}
        self.frozen = Frozen(**{name: loss for name, loss in losses.items() if name not in learnable})
        # Keys of a ModuleDict are neither names of its methods nor have dots.
        self.learnable = nn.ModuleDict({f"loss {name}".replace(".", "_"): loss for name, loss in learnable.items()})
        self.weights = {name: float(weights.get(name, 1.0)) for name in losses}
        # Not registered a second time.
        self.__dict__["losses"] = dict(losses)

    def __getitem__(self, name: str) -> Loss:
        """The plugin of that name."""
        return cast(dict[str, Loss], self.__dict__["losses"])[name]

    def forward(self, out: AudioOutput, noise_weight: Tensor | None = None, training: bool = True) -> dict[str, Tensor]:
        """Scalars: ``loss``, the weighted sum, and the unweighted mean ``loss/<name>`` of each plugin.

        Args:
            out: what the losses are given.
            noise_weight: (B,), applied to losses with ``noise_weighted``.
            training: whether losses that are ``training_only`` take part.
        """
        return self.combine(self.values(out, training), noise_weight) | self.scalars(training)

    @property
    def rewards(self) -> RewardLineage:
        """The plugins' encoders."""
        encoders = (getattr(self[name], "encoder", None) for name in self.weights)
        return RewardLineage.by(encoder for encoder in encoders if isinstance(encoder, AudioEncoder))

    def learners(self) -> dict[str, Learner]:
        """The plugins with parameters, by ``loss/<name>``, with the settings that they bring."""
        return {
            f"loss/{name}": Learner(self[name], self[name].optimization())
            for name in self.weights
            if is_learnable(self[name])
        }

    def names(self, training: bool) -> list[str]:
        """The plugins that take part in training, or in validation."""
        return [name for name in self.weights if training or not self[name].training_only]

    def values(self, out: AudioOutput, training: bool = True) -> dict[str, Tensor]:
        """The plugins' values (B,) by name, neither weighted nor averaged.

        Raises:
            ShapeError: if a plugin returns anything else.
        """
        values = {}
        for name in self.names(training):
            value: object = self[name](out)
            if not isinstance(value, Tensor):
                got = f"a {type(value).__name__}"
            elif value.shape != (len(out.batch),) or not value.is_floating_point():
                got = f"{tuple(value.shape)} of {value.dtype}"
            else:
                values[name] = value
                continue
            raise ShapeError(
                f"loss {name!r} must return a tensor with one floating-point value per example, ({len(out.batch)},), "
                f"got {got}"
            )
        return values

    def combine(self, values: dict[str, Tensor], noise_weight: Tensor | None = None) -> dict[str, Tensor]:
        """The scalars of :meth:`forward` from the plugins' values (B,)."""
        parts, total = {}, None
        for name, value in values.items():
            weighted = value * noise_weight if noise_weight is not None and self[name].noise_weighted else value
            parts[f"loss/{name}"] = value.detach().mean()
            total = self.weights[name] * weighted.mean() + (0 if total is None else total)
        if total is None:
            names = ", ".join(self.weights) or "none"
            raise ConfigurationError(f"expected a loss that is not training_only, got {names}: add one to `losses`")
        return {"loss": total, **parts}

    def require_weight(self) -> None:
        """Raise if all weights are 0, where the losses are all that is minimised: nothing would be trained."""
        if self.weights and not any(self.weights.values()):
            raise ConfigurationError(
                f"expected a loss with a weight other than 0, got loss_weights {self.weights}: nothing would be trained"
            )

    def scalars(self, training: bool = True) -> dict[str, Tensor]:
        """What the plugins log of their last call, ``loss/<name>/<scalar>``."""
        return {
            f"loss/{name}/{scalar}": value.detach()
            for name in self.names(training)
            for scalar, value in self[name].scalars().items()
        }

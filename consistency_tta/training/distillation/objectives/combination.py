"""Several objectives at once: their losses add, and what the student generates is computed once for all of them."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, Literal, cast

from torch import Tensor, nn

from consistency_tta.contracts import Learner, Networks, Objective, Prediction, Schedule, Step
from consistency_tta.runtime.errors import ConfigurationError
from consistency_tta.runtime.suggest import nearest
from consistency_tta.training.distillation.objectives.ramp import Ramp, at_step


class CombinedObjective(Objective):
    """The weighted sum of objectives.

        loss = sum over objectives of weight(step) * (loss plugins of its latents + losses of its own)

    Losses of networks that learn along, such as a fake score's, are multiplied by the weight as well, which AdamW does
    not notice. The loss plugins compare the latents of the one objective that needs it, or else those of the first that
    allows it, such as :class:`Anchor`. Where objectives read :meth:`Step.generate`, the student is queried once for all
    of them. An objective of weight 0 is not computed, and its networks wait: a :class:`Ramp` from 0 lets one join
    later, and its fake score or discriminator learn first.

    Score-regularised consistency (rCM: Zheng et al., "Large Scale Diffusion Distillation via Score-Regularized
    Continuous-Time Consistency", 2025, https://arxiv.org/abs/2510.08431) is ``ContinuousConsistency`` and an
    ``alternating`` ``DistributionMatching``, with ``student_updates: all``; ``tools/arena/contestants/rcm.yaml`` has
    its numbers. DMD2 (https://arxiv.org/abs/2405.14867) is ``DistributionMatching`` and ``AdversarialDistillation``,
    whose heads read the frozen teacher instead of the fake score.

    Args:
        objectives: by name, which prefixes their losses and networks.
        weights: by name: a number, or a :class:`Ramp`; 1 where none is given.
        student_updates: ``any``: the student learns at a step from each objective that updates it there. ``all``: only
            at steps at which all objectives do, those of weight 0 left out; so one whose fake score learns alone at
            some steps keeps the others from these.

    Raises:
        ConfigurationError: if there are no objectives, a weight belongs to none, or they declare what cannot be had
            together: targets of unequal decay, or one query and many. At a step of which the latents of two objectives
            would have to be compared: all but one would be lost.
    """

    def __init__(
        self,
        objectives: dict[str, Objective],
        weights: dict[str, float | Ramp] | None = None,
        student_updates: Literal["any", "all"] = "any",
    ) -> None:
        super().__init__()
        if student_updates not in ("any", "all"):
            raise ConfigurationError(f"expected student_updates to be any or all, got {student_updates!r}")
        self.student_updates = student_updates
        if not objectives:
            raise ConfigurationError("expected at least one objective, got none")
        for name in weights or {}:
            if name not in objectives:
                near = nearest(name, list(objectives))
                hint = f"; did you mean {near!r}?" if near else ""
                raise ConfigurationError(f"weights has {name!r}, but the objectives are {list(objectives)}{hint}")
        self.objectives = nn.ModuleDict(objectives)
        self.weights: dict[str, float | Ramp] = {**dict.fromkeys(objectives, 1.0), **(weights or {})}
        numbers = [weight for weight in self.weights.values() if not isinstance(weight, Ramp)]
        if not all(map(math.isfinite, numbers)) or not any(self.weights.values()):
            raise ConfigurationError(
                f"expected finite weights, not all of them 0, at which nothing would be trained, got {self.weights}"
            )
        parts = list(objectives.values())
        self.needs_teacher = any(part.needs_teacher for part in parts)
        self.one_query = bool(_the_one("one_query", objectives))
        self.second_time = any(part.second_time for part in parts)
        self.target_ema_decay = cast(float | None, _the_one("target_ema_decay", objectives, without=None))

    def build(self, networks: Networks, schedule: Schedule) -> None:
        """Let each of them prepare."""
        for objective in self._named().values():
            objective.build(networks, schedule)

    def forward(self, step: Step, networks: Networks) -> Prediction:
        """The predictions of all, as one."""
        predictions: dict[str, Prediction] = {}
        losses: dict[str, Tensor] = {}
        for name, objective in self._named().items():
            weight = self.weight(name, step.global_step, step.training)
            own = {learner.removeprefix(f"{name}/") for learner in step.active if learner.startswith(f"{name}/")}
            if "student" in step.active and (not step.training or "student" in objective.active(step.global_step)):
                own.add("student")
            if weight == 0 or not own:  # nothing would learn of it
                continue
            prediction = objective(step.for_objective(frozenset(own)), networks)
            losses |= {f"{name}/{loss}": weight * value for loss, value in prediction.losses.items()}
            if prediction.student_latent is not None:
                prediction.latent_weight *= weight
                prediction.weighting = prediction.weighting or getattr(objective, "weighting", None)
                predictions[name] = prediction
        if not predictions:
            return Prediction(losses=losses)
        return replace(_to_compare(predictions), losses=losses)

    def weight(self, name: str, step: int, training: bool = True) -> float:
        """The weight of an objective; in validation the last one, so that its curves can be compared."""
        return at_step(self.weights[name], step, training)

    def sampler(self) -> Any:
        """That of the first that has one."""
        return next((found for part in self._named().values() if (found := part.sampler()) is not None), None)

    def learners(self) -> dict[str, Learner]:
        """The networks of all, by ``<objective>/<network>``."""
        return {
            f"{name}/{learner}": found
            for name, objective in self._named().items()
            for learner, found in objective.learners().items()
        }

    def active(self, step: int) -> set[str]:
        """Whatever one of them updates; the student as ``student_updates`` specifies."""
        parts = {name: part.active(step) for name, part in self._named().items() if self.weight(name, step) != 0}
        learns = (all if self.student_updates == "all" else any)("student" in active for active in parts.values())
        own = {f"{name}/{learner}" for name, active in parts.items() for learner in active if learner != "student"}
        return own | {"student"} if learns else own

    def metrics(self, step: Step, networks: Networks) -> dict[str, Tensor]:
        """The metrics of all."""
        found: dict[str, Tensor] = {}
        for objective in self._named().values():
            found |= objective.metrics(step, networks)
        return found

    def _named(self) -> dict[str, Objective]:
        return {name: module for name, module in self.objectives.items() if isinstance(module, Objective)}


def _to_compare(predictions: dict[str, Prediction]) -> Prediction:
    """The one whose latents the loss plugins compare."""
    needed = [name for name, prediction in predictions.items() if not prediction.latents_optional]
    if len(needed) > 1:
        raise ConfigurationError(
            f"expected one objective whose latents the loss plugins compare, got {' and '.join(needed)}: of those, "
            "combine one with objectives that have losses of their own"
        )
    return predictions[needed[0] if needed else next(iter(predictions))]


_MISSING = object()


def _the_one(attribute: str, objectives: dict[str, Objective], without: object = _MISSING) -> object:
    """The value that all objectives have; those that have ``without`` do not count."""
    values = {name: getattr(objective, attribute) for name, objective in objectives.items()}
    counted = {value for value in values.values() if value is not without}
    if len(counted) > 1:
        raise ConfigurationError(f"expected objectives with one {attribute}, got {values}: they train one student")
    return counted.pop() if counted else without

"""What becomes of a model's sampler when its scheduler is replaced, as in ``pipeline.scheduler = ...``."""

from __future__ import annotations

from typing import Any

import diffusers

from consistency_tta.diffusion.sampler import ODESampler, Sampler
from consistency_tta.diffusion.scheduler_sampler import SchedulerSampler
from consistency_tta.runtime.errors import ConfigurationError


def sampler_for(scheduler: Any, before: Any, sampler: Sampler) -> Sampler:
    """The sampler that goes with a new scheduler.

    Args:
        scheduler: the new one; None for none.
        before: the one that it replaces.
        sampler: the present one, which stays where the two schedulers are alike.

    Raises:
        ConfigurationError: if it is no scheduler of diffusers, or the network is sampled by no ODE.
    """
    if scheduler is None or (type(scheduler) is type(before) and _settings(scheduler) == _settings(before)):
        return sampler
    name = type(scheduler).__name__
    if getattr(diffusers, name, None) is not type(scheduler):
        raise ConfigurationError(f"expected a scheduler of diffusers, got {name}: set pipeline.sampler instead")
    if not isinstance(sampler, ODESampler | SchedulerSampler):
        raise ConfigurationError(
            f"{type(sampler).__name__} samples this network, which needs no scheduler, so {name} cannot be used: "
            "choose the number of queries by num_inference_steps, and their times by grid"
        )
    return SchedulerSampler(name, _settings(scheduler), sampler.default_steps, sampler.classifier_free_guidance)


def _settings(scheduler: Any) -> dict[str, Any]:
    return {name: value for name, value in scheduler.config.items() if not name.startswith("_")}

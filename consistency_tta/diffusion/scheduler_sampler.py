"""A diffusers scheduler as a sampler: what ``pipeline.scheduler = ...`` chooses."""

from __future__ import annotations

import inspect
from typing import Any, cast

import diffusers
import torch
from diffusers import SchedulerMixin
from diffusers.configuration_utils import register_to_config
from torch import Tensor
from tqdm import tqdm

from consistency_tta.contracts import Conditioning, Denoiser, Schedule, Solver, TimeGrid
from consistency_tta.diffusion.noise import expand
from consistency_tta.diffusion.parametrisation import parametrisation
from consistency_tta.diffusion.sample import OnStep
from consistency_tta.diffusion.sampler import Sampler
from consistency_tta.diffusion.schedules import prediction_type_from_config
from consistency_tta.runtime.errors import ConfigurationError


class SchedulerSampler(Sampler):
    """Solves the probability-flow ODE, or an SDE, of a diffusion or flow-matching model by a scheduler of diffusers.

    Args:
        scheduler: name of its class, such as ``EulerDiscreteScheduler``.
        settings: of the scheduler.
        num_steps: where a caller gives none.
        classifier_free_guidance: see :class:`~consistency_tta.diffusion.sampler.Sampler`.

    Raises:
        ConfigurationError: if diffusers has no such scheduler, or it solves neither a variance-preserving diffusion nor
            a rectified flow.
    """

    @register_to_config
    def __init__(
        self,
        scheduler: str,
        settings: dict[str, Any] | None = None,
        num_steps: int = 50,
        classifier_free_guidance: bool = True,
    ) -> None:
        cls = getattr(diffusers, scheduler, None)
        if not (isinstance(cls, type) and issubclass(cls, SchedulerMixin)):
            raise ConfigurationError(f"expected a scheduler of diffusers, got {scheduler!r}")
        self.scheduler: Any = cast(Any, cls).from_config(settings or {})
        if not hasattr(self.scheduler, "alphas_cumprod") and not scheduler.startswith("FlowMatch"):
            raise ConfigurationError(
                "expected a scheduler of a variance-preserving diffusion, such as DPMSolverMultistepScheduler, or of "
                f"a rectified flow, such as FlowMatchEulerDiscreteScheduler, got {scheduler}"
            )
        self.default_steps = num_steps
        self.classifier_free_guidance = classifier_free_guidance

    def sample(
        self,
        denoiser: Denoiser,
        noise: Tensor,
        conditioning: Conditioning,
        num_steps: int | None = None,
        solver: Solver | None = None,
        grid: TimeGrid | None = None,
        generator: torch.Generator | list[torch.Generator] | None = None,
        progress: bool = False,
        on_step: OnStep | None = None,
    ) -> tuple[Tensor, int]:
        """See :class:`Sampler`.

        Raises:
            ConfigurationError: if a solver or time grid is given, in whose place the scheduler is.
        """
        if solver is not None or grid is not None:
            raise ConfigurationError(
                f"expected no solver or grid, since {type(self.scheduler).__name__} chooses steps and times: leave "
                "them out, or set pipeline.sampler = ODESampler()"
            )
        scheduler, schedule = self.scheduler, denoiser.schedule
        scheduler.set_timesteps(self.default_steps if num_steps is None else num_steps, device=noise.device)
        prediction_type = prediction_type_from_config(scheduler.config)
        meaning, flow = parametrisation(prediction_type), prediction_type == "flow_prediction"
        options = {"generator": generator} if "generator" in inspect.signature(scheduler.step).parameters else {}
        x = noise * getattr(scheduler, "init_noise_sigma", 1.0)
        for index, timestep in enumerate(tqdm(scheduler.timesteps, desc="diffusion", disable=not progress)):
            z_t = x if flow else scheduler.scale_model_input(x, timestep)
            t = _time(timestep, scheduler, schedule, flow).expand(len(noise)).to(noise.device)
            z_0 = denoiser(z_t, t, conditioning)
            alpha, sigma = expand(schedule.alpha(t), z_0), expand(schedule.sigma(t), z_0)
            output = meaning.from_clean(z_0, z_t, alpha, sigma).to(noise.dtype)
            x = scheduler.step(output, timestep, x, **options).prev_sample
            x = x if on_step is None else on_step(index, float(t[0]), x)
        return x, len(scheduler.timesteps)


def _time(timestep: Tensor, scheduler: Any, schedule: Schedule, flow: bool) -> Tensor:
    """Our t of a scheduler's timestep: k + 1 of a table's k; of a flow that whose sigma is timestep / T."""
    timestep = timestep.float()
    if not flow:
        return timestep + 1
    sigma = timestep / scheduler.config["num_train_timesteps"]
    return schedule.time(sigma / (1 - sigma))

"""Samplers: how a network makes a sound out of noise. A sampler is a part of a model folder, a configuration alone.

    sampler/sampler_config.json    {"_class_name": "ConsistencySampler", "num_steps": 1, ...}
    model_index.json               "sampler": ["consistency_tta.diffusion.sampler", "ConsistencySampler"]

A sampler of your own subclasses :class:`Sampler` in a module of an installed plugin, or one that the reader names with
``--trust``. It takes plain numbers, strings, lists and dictionaries, and decorates its ``__init__`` with diffusers'
``register_to_config``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
from diffusers import ConfigMixin, SchedulerMixin
from diffusers.configuration_utils import register_to_config
from torch import Tensor

from consistency_tta.contracts import Conditioning, Denoiser, Solver, TimeGrid
from consistency_tta.diffusion import grid as grids
from consistency_tta.diffusion import solve as solvers
from consistency_tta.diffusion.sample import (
    OnStep,
    consistency_times,
    sample_consistency,
    sample_diffusion,
    sample_trajectory,
)
from consistency_tta.runtime.class_path import build
from consistency_tta.runtime.errors import ConfigurationError

#: A class by its name or path, or ``{"class_path": ..., "init_args": {...}}``.
Plugin = str | dict[str, Any]


class Sampler(SchedulerMixin, ConfigMixin, ABC):
    """Makes latents of noise with a denoiser; see the module's docstring.

    Attributes:
        one_query: whether the network makes a sound in one query, as a consistency model does; false for one whose
            probability-flow ODE is solved.
        classifier_free_guidance: whether the guidance scale is applied by two queries in the place of each; false for a
            network that has learnt guidance.
        default_steps: steps where a caller gives none.
    """

    config_name = "sampler_config.json"
    has_compatibles = False
    one_query: bool = False
    classifier_free_guidance: bool = False
    default_steps: int = 1

    @abstractmethod
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
        """Sample latents.

        Args:
            denoiser: guided already.
            noise: standard normal (B, C, *).
            conditioning: for B examples.
            num_steps: ``default_steps`` if None.
            solver, grid: what to use instead of the sampler's own; samplers without any pass them over.
            generator: draws further noise; one for the batch, or one for each example.
            progress: whether to show a progress bar.
            on_step: see :data:`~consistency_tta.diffusion.sample.OnStep`; given only where a caller has one.

        Returns:
            z_0 (B, C, *), and how often the denoiser was queried.
        """


class ConsistencySampler(Sampler):
    """One query, or several with fresh noise before each but the first.

    Source: Song, Dhariwal, Chen, Sutskever, "Consistency Models", 2023, https://arxiv.org/abs/2303.01469, algorithm 1.

    Args:
        num_steps: queries where a caller gives none.
        grid: times of the queries, all but its last.
    """

    one_query = True

    @register_to_config
    def __init__(self, num_steps: int = 1, grid: Plugin = "UniformGrid") -> None:
        self.default_steps = num_steps
        self.grid: TimeGrid = build(grid, TimeGrid, grids)

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
        """See :class:`Sampler`; there is no solver."""
        steps = self.default_steps if num_steps is None else num_steps
        times = consistency_times(denoiser.schedule, steps, grid or self.grid)
        latent = sample_consistency(denoiser, noise, conditioning, times, generator, progress, on_step)
        return latent, len(times)


class TrajectorySampler(Sampler):
    """One query, or several jumps along the trajectory, of a network that reads a second time.

    Source: Kim et al., "Consistency Trajectory Models", 2023, https://arxiv.org/abs/2310.02279, algorithm 3; see
    :func:`~consistency_tta.diffusion.sample.sample_trajectory`.

    Args:
        num_steps: queries where a caller gives none.
        grid: times of the queries.
        gamma: in [0, 1]: how much of the noise is drawn anew between queries. 0 for none, so that the sound is a
            function of the starting noise; 1 for all of it, as :class:`ConsistencySampler` does.

    Raises:
        ConfigurationError: if gamma is not in [0, 1].
    """

    one_query = True

    @register_to_config
    def __init__(self, num_steps: int = 1, grid: Plugin = "UniformGrid", gamma: float = 0.0) -> None:
        if not 0 <= gamma <= 1:
            raise ConfigurationError(f"expected gamma in [0, 1], got {gamma}")
        self.default_steps = num_steps
        self.grid: TimeGrid = build(grid, TimeGrid, grids)
        self.gamma = gamma

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
        """See :class:`Sampler`; there is no solver."""
        times = (grid or self.grid)(denoiser.schedule, self.default_steps if num_steps is None else num_steps)
        latent = sample_trajectory(denoiser, noise, conditioning, times, self.gamma, generator, progress, on_step)
        return latent, len(times) - 1


class ODESampler(Sampler):
    """Solves the probability-flow ODE of a diffusion or flow-matching model.

    Args:
        num_steps: of the solver, where a caller gives none.
        solver: of the ODE.
        grid: times at which the solver stops.
        classifier_free_guidance: false for a network that has learnt guidance, as stage 1 leaves it.
    """

    @register_to_config
    def __init__(
        self,
        num_steps: int = 50,
        solver: Plugin = "DDIM",
        grid: Plugin = "UniformGrid",
        classifier_free_guidance: bool = True,
    ) -> None:
        self.default_steps = num_steps
        self.solver: Solver = build(solver, Solver, solvers)
        self.grid: TimeGrid = build(grid, TimeGrid, grids)
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
        """See :class:`Sampler`; nothing further is drawn."""
        solver = solver or self.solver
        times = (grid or self.grid)(denoiser.schedule, self.default_steps if num_steps is None else num_steps)
        latent = sample_diffusion(denoiser, solver, times, noise, conditioning, progress, on_step)
        return latent, (len(times) - 1) * solver.queries_per_step


def default_sampler(one_query: bool, second_time: bool) -> Sampler:
    """The sampler of a student that has learnt guidance.

    Args:
        one_query: whether the student makes a sound in one query; else its probability-flow ODE is solved.
        second_time: whether it reads a second time; it then makes a sound in one query or a few.
    """
    if second_time:
        return TrajectorySampler()
    return ConsistencySampler() if one_query else ODESampler(classifier_free_guidance=False)

"""Trajectories of a frozen guided teacher, solved once instead of in every training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from consistency_tta.contracts import Codec, Conditioning, Solver, TextEmbedding, TimeGrid
from consistency_tta.diffusion.grid import UniformGrid
from consistency_tta.diffusion.sample import sample_diffusion
from consistency_tta.diffusion.solve import Heun
from consistency_tta.generation.plugin_name import plugin_name
from consistency_tta.pipeline import TextToAudioPipeline
from consistency_tta.pipeline.fingerprints import teacher_fingerprint
from consistency_tta.pipeline.guided import guided
from consistency_tta.runtime.errors import ConfigurationError, ModelFolderError, ShapeError
from consistency_tta.storage.shards import noise_of_seed


@dataclass(frozen=True)
class TeacherConfig:
    """Whose trajectories are solved, and how.

    Attributes:
        model: the guided teacher's folder; that of ``--model`` if not given.
        guidance_scale: w, or the two ends of the range it is drawn from for each clip, within that of the student.
        solver: Heun if not given.
        grid: of the times; equal steps if not given.
        seed: of w and of the noise.
    """

    model: str | None = None
    guidance_scale: float | tuple[float, float] = (0.0, 6.0)
    solver: Solver | None = None
    grid: TimeGrid | None = None
    seed: int = 0

    @property
    def guidance_range(self) -> tuple[float, float]:
        """Both ends, equal ones if w is fixed.

        Raises:
            ConfigurationError: they are negative or fall.
        """
        given = self.guidance_scale
        low, high = given if isinstance(given, tuple | list) else (given, given)
        if not 0 <= low <= high:
            raise ConfigurationError(f"expected a guidance_scale of at least 0, or a range [low, high], got {given}")
        return float(low), float(high)


class TeacherTrajectories:
    """Solves the teacher's probability-flow ODE from noise, with a w for each clip.

    Args:
        config: whose and how.
        steps: of the solver.
        model: the folder where the configuration names none.
        codec: whose latents the clips have.
        device: of the work.

    Raises:
        ModelFolderError: the folder has a one-query student.
    """

    def __init__(self, config: TeacherConfig, steps: int, model: str, codec: Codec, device: torch.device) -> None:
        self.config, self.codec = config, codec
        name = config.model or model
        parts = TextToAudioPipeline.from_pretrained(name).to(device)
        parts.require("unet|transformer", "scheduler", "text_encoder", "tokenizer")
        if parts.sampler is not None and parts.sampler.one_query:
            raise ModelFolderError(
                f"expected a diffusion teacher, but {name} has a one-query student: name its teacher as --teacher.model"
            )
        self.text, self.denoiser = parts.text, guided(parts).eval()
        self.shape = parts.denoiser.latent_shape
        self.solver, grid = config.solver or Heun(), config.grid or UniformGrid()
        self.times = grid(self.denoiser.schedule, steps)
        self.about: dict[str, Any] = {
            "model": name,
            "sha256": teacher_fingerprint(self.denoiser),
            "steps": steps,
            "solver": plugin_name(self.solver),
            "grid": plugin_name(grid),
            "guidance_scale": list(config.guidance_range),
            "scaling_factor": codec.scaling_factor,
            "seed": config.seed,
        }

    def __call__(self, text: TextEmbedding, moments: Tensor, positions: list[tuple[int, int]]) -> dict[str, Tensor]:
        """``teacher_latent``, ``noise_seed`` and ``guidance_scale`` of :mod:`consistency_tta.storage.shards`.

        Args:
            text: embeddings of B captions by the teacher's text encoder.
            moments: (B, 2 C, *) of the clips, whose shape the latents must have.
            positions: (copy, number) of each clip, on which its noise and w depend.

        Raises:
            ShapeError: the teacher's latents have another shape.
        """
        shape = (moments.shape[1] // 2, *moments.shape[2:])
        if shape != tuple(self.shape):
            raise ShapeError(
                f"the teacher makes latents (C, *) of {tuple(self.shape)}, but the clips' are {shape}: set the "
                "datamodule's num_samples to agree"
            )
        draws = [np.random.SeedSequence((self.config.seed, *at)).generate_state(2, np.uint64) for at in positions]
        seeds = [int(first >> 1) for first, _ in draws]
        low, high = self.config.guidance_range
        w = torch.tensor([low + (high - low) * int(second) / 2**64 for _, second in draws])
        device = text.embedding.device
        noise = torch.stack([noise_of_seed(seed, shape) for seed in seeds]).to(device)
        start = noise.new_zeros(len(noise))
        seconds = shape[1] * self.codec.samples_per_frame / self.codec.sample_rate
        durations = {"seconds_start": start, "seconds_total": start + seconds}
        conditioning = Conditioning(text, w.to(device), scalars=durations)
        latent = sample_diffusion(self.denoiser, self.solver, self.times, noise, conditioning)
        return {"teacher_latent": latent.half().cpu(), "noise_seed": torch.tensor(seeds), "guidance_scale": w}

"""A teacher's own samples as training data, for distilling where only the teacher is available."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from tqdm import tqdm

from consistency_tta.contracts import LatentSource, Solver, TimeGrid
from consistency_tta.pipeline import TextToAudioPipeline
from consistency_tta.runtime.device import best_device


class TeacherSamples(LatentSource):
    """Guided samples of a teacher.

    Args:
        model: the teacher's folder.
        guidance_scale: w.
        num_inference_steps: solver steps.
        solver: the model's own if null, DDIM in most folders.
        grid: the model's own if null, uniform in most folders.
        batch_size: samples generated at a time.
        device: such as cuda or cpu; the best available if null.
        external_guidance_scale: w of classifier-free guidance on top of what the network has learnt of guidance, at
            twice the queries; 1 for none.
    """

    def __init__(
        self,
        model: str,
        guidance_scale: float = 3.0,
        num_inference_steps: int = 50,
        solver: Solver | None = None,
        grid: TimeGrid | None = None,
        batch_size: int = 16,
        device: str | None = None,
        external_guidance_scale: float = 1.0,
    ) -> None:
        self.model = model
        self.guidance_scale = guidance_scale
        self.num_inference_steps = num_inference_steps
        self.solver = solver
        self.grid = grid
        self.batch_size = batch_size
        self.device = device
        self.external_guidance_scale = external_guidance_scale

    def __call__(self, captions: Sequence[str], seed: int) -> Tensor:
        """See :class:`LatentSource`; each call loads the teacher, and drops it again."""
        pipeline = TextToAudioPipeline.from_pretrained(self.model).to(best_device(self.device))
        pipeline.set_progress_bar_config(disable=True)
        generator = torch.Generator().manual_seed(seed)
        latents = []
        for start in tqdm(range(0, len(captions), self.batch_size), desc="teacher samples", unit="batch"):
            chunk = captions[start : start + self.batch_size]
            latent, _ = pipeline.sample(
                chunk,
                self.guidance_scale,
                self.num_inference_steps,
                self.solver,
                self.grid,
                generator=generator,
                external_guidance_scale=self.external_guidance_scale,
            )
            latents.append(latent.cpu())
        return pipeline.codec.latent_to_moments(torch.cat(latents))

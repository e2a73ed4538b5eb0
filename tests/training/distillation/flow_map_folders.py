"""Model folders of students that read a second time."""

from __future__ import annotations

from pathlib import Path

import torch

from consistency_tta.diffusion.sampler import TrajectorySampler
from consistency_tta.pipeline import TextToAudioPipeline
from consistency_tta.training import Distillation


def generates_in_1_2_and_4_queries(module: Distillation, folder: Path) -> None:
    """The module's exported folder makes sounds in any of these numbers of queries."""
    module.pipeline().save_pretrained(folder / "model")
    student = TextToAudioPipeline.from_pretrained(folder / "model")
    assert isinstance(student.sampler, TrajectorySampler)
    assert student.sampler.one_query
    student.set_progress_bar_config(disable=True)
    noise, made = torch.randn(1, 4, 8, 4), []
    for queries in (1, 2, 4):
        sound = student("a tone", num_inference_steps=queries, latents=noise)
        assert sound.queries == queries
        assert sound.waveform.isfinite().all()
        again = student("a tone", num_inference_steps=queries, latents=noise)
        assert torch.equal(sound.waveform, again.waveform)
        made.append(sound.latent)
    assert not torch.allclose(made[0], made[1])

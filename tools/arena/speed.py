"""How many network passes a second a machine makes, from which budgets in seconds become budgets of passes."""

from __future__ import annotations

import time

import torch

from consistency_tta.contracts import Conditioning
from consistency_tta.pipeline import TextToAudioPipeline
from consistency_tta.runtime.device import best_device
from consistency_tta.runtime.precision import fastest_precision


@torch.no_grad()
def passes_a_second(model: str, batch_size: int, seconds: float = 1.0) -> float:
    """Forward passes of a model's network, in the number format of trainings.

    Args:
        model: model folder or bundled name.
        batch_size: clips of a query.
        seconds: for which it is measured, after one query that is not.
    """
    device = best_device()
    pipeline = TextToAudioPipeline.from_pretrained(model).to(device)
    denoiser = pipeline.denoiser
    text = pipeline.text(["A dog barks"] * batch_size)
    guidance = torch.full((batch_size,), 3.0, device=device) if denoiser.reads_guidance else None
    z_t = torch.randn(batch_size, *pipeline.latent_shape, device=device)
    t = torch.full((batch_size,), 500.0, device=device)
    queries, started = -1, 0.0
    with torch.autocast(device.type, torch.bfloat16, enabled=fastest_precision() == "bf16-mixed"):
        while queries < 1 or time.perf_counter() - started < seconds:
            denoiser(z_t, t, Conditioning(text, guidance)).sum().item()  # waits for the device
            queries += 1
            started = started or time.perf_counter()
    return queries * batch_size / (time.perf_counter() - started)

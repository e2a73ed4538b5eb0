"""What to generate: sounds, their captions and noise, and the settings."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from numbers import Integral
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from consistency_tta.contracts import TimeGrid
from consistency_tta.pipeline import TextToAudioOutput, TextToAudioPipeline
from consistency_tta.pipeline.arguments import check_finite
from consistency_tta.runtime.errors import ConfigurationError
from consistency_tta.storage.captions import read_clips


@dataclass(frozen=True)
class SamplingConfig:
    """How a model is sampled.

    Attributes:
        guidance_scale: w.
        steps: queries of a student, solver steps of a teacher; its default if None.
        seed: of the noise.
        external_guidance_scale: w of guidance on top of what the network has learnt of it; 1 for none.
        grid: times of the steps; uniform if None.
        seconds: length of each sound; the model's default if None.

    Raises:
        ConfigurationError: a number is out of range.
    """

    guidance_scale: float = 3.0
    steps: int | None = None
    seed: int = 0
    external_guidance_scale: float = 1.0
    grid: TimeGrid | None = None
    seconds: float | None = None

    def __post_init__(self) -> None:
        expect_at_least(1, steps=1 if self.steps is None else self.steps)
        expect_at_least(0, seed=self.seed)
        check_finite(guidance_scale=self.guidance_scale, external_guidance_scale=self.external_guidance_scale)
        if self.seconds is not None and not 0 < self.seconds < math.inf:
            raise ConfigurationError(f"expected seconds above 0, got {self.seconds:g}")


#: The settings that are numbers, which a sweep may go over; sounds of several lengths cannot be compared.
NUMBERS = [field for field in fields(SamplingConfig) if field.name not in ("grid", "seconds")]


class Sound(NamedTuple):
    """A sound to generate.

    Attributes:
        name: of its file, which may have folders of its own (``dog/1.wav``).
        caption: what it should be.
        position: what its noise depends on, with the seed.
        number: of the set it belongs to, where a clip has several sounds.
    """

    name: str
    caption: str
    position: tuple[int, ...]
    number: int | None = None

    @property
    def file(self) -> str:
        """Its path below the folder."""
        return self.name if self.number is None else f"{self.number}/{self.name}"


def expect_at_least(lowest: int, **numbers: int) -> None:
    """Raise a ConfigurationError that names the number that is too low, or is no integer."""
    for name, value in numbers.items():
        if isinstance(value, bool) or not isinstance(value, Integral):
            raise ConfigurationError(f"expected an integer as {name}, got {value!r}")
        if value < lowest:
            raise ConfigurationError(f"expected {name} of at least {lowest}, got {value}")


def sounds_of(captions: Path, num_samples: int = 1, all_captions: bool = False) -> list[Sound]:
    """The sounds of a caption file.

    Args:
        captions: of any form that :mod:`consistency_tta.storage.captions` knows.
        num_samples: sounds per caption.
        all_captions: of each clip, not only the first.
    """
    expect_at_least(1, num_samples=num_samples)
    clips = {name: texts if all_captions else texts[:1] for name, texts in read_clips(captions).items()}
    several = num_samples * max(map(len, clips.values())) > 1
    return [
        Sound(
            f"{name}.wav",
            texts[caption],
            (int.from_bytes(hashlib.sha256(name.encode()).digest()[:8]), caption, sample),
            caption * num_samples + sample if several else None,
        )
        for name, texts in clips.items()
        for caption in range(len(texts))
        for sample in range(num_samples)
    ]


def generate_batch(
    pipeline: TextToAudioPipeline, request: SamplingConfig, sounds: Sequence[Sound]
) -> TextToAudioOutput:
    """Make sounds in one batch; the tensors are of inference mode, of which nothing can learn."""
    prompts: dict[str, Any] = {"prompt": [sound.caption for sound in sounds]}
    with torch.inference_mode():
        if not any(caption.strip() for caption in prompts["prompt"]):
            # Batches divided them from others. A pipeline refuses blank prompts alone, but not their embeddings.
            prompts = dict(zip(("prompt_embeds", "attention_mask"), pipeline.encode_prompt(**prompts), strict=True))
        return pipeline(
            **prompts,
            guidance_scale=request.guidance_scale,
            num_inference_steps=request.steps,
            grid=request.grid,
            generator=[noise(request.seed, *sound.position) for sound in sounds],
            external_guidance_scale=request.external_guidance_scale,
            seconds=request.seconds,
        )


def noise(*position: int) -> torch.Generator:
    """Random numbers that depend on nothing but these."""
    return torch.Generator().manual_seed(int(np.random.SeedSequence(position).generate_state(1, np.uint64)[0] >> 1))

"""Captions to wav files."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import soundfile
import torch
from tqdm import tqdm

from consistency_tta.pipeline import TextToAudioPipeline, best_device


def generate(
    captions: list[str],
    model: str,
    output: Path = Path("out"),
    guidance_scale: float = 3.0,
    steps: int | None = None,
    num_samples: int = 1,
    batch_size: int = 8,
    seed: int = 0,
    device: str | None = None,
    external_guidance_scale: float = 1.0,
) -> list[Path]:
    """Write 16-bit wav files for captions, by a teacher or a one-query student.

    Args:
        captions: one or more texts; a path to a text file stands for its lines.
        model: model folder or hub id.
        output: folder for the wav files.
        guidance_scale: w; 1 is the plain conditional model, more follows the text more closely.
        steps: 1 for a student, 50 solver steps for a teacher, if not given.
        num_samples: sounds per caption.
        batch_size: sounds made at a time.
        seed: of the starting noise; sound k of a caption starts from the same noise whatever the model and batch size.
        device: such as cuda or cpu; the best there is if not given.
        external_guidance_scale: w of classifier-free guidance on top of what the U-Net has learnt of guidance, at twice
            the queries; 1 for none. Part of the files' names, as ``x3``, where it is not 1.

    Returns:
        The files written.
    """
    prompts = [line for caption in captions for line in _lines(caption)]
    least = {
        "num_samples": (num_samples, 1),
        "batch_size": (batch_size, 1),
        "steps": (1 if steps is None else steps, 1),
    }
    for name, (value, lowest) in (least | {"seed": (seed, 0), "captions": (len(prompts), 1)}).items():
        if value < lowest:
            raise ValueError(f"expected {name} of at least {lowest}, got {value}")
    pipeline = TextToAudioPipeline.from_pretrained(model).to(best_device(device))
    jobs = [(index, prompt, sample) for index, prompt in enumerate(prompts) for sample in range(num_samples)]
    output.mkdir(parents=True, exist_ok=True)

    external = "" if external_guidance_scale == 1 else f"_x{external_guidance_scale:g}"
    files, queries, seconds, audio_seconds = [], 0, {"latents": 0.0, "decoders": 0.0}, 0.0
    for start in tqdm(
        range(0, len(jobs), batch_size), desc="generating", unit="batch", disable=len(jobs) <= batch_size
    ):
        chunk = jobs[start : start + batch_size]
        generators = [_generator(seed, index, sample) for index, _, sample in chunk]
        made = pipeline(
            [prompt for _, prompt, _ in chunk],
            guidance_scale,
            steps,
            generator=generators,
            external_guidance_scale=external_guidance_scale,
        )
        queries = made.queries
        seconds = {name: seconds[name] + made.seconds[name] for name in seconds}
        audio_seconds += made.waveform.numel() / made.sample_rate
        for (index, prompt, sample), waveform in zip(chunk, made.waveform, strict=True):
            settings = f"w{guidance_scale:g}{external}_q{made.queries}_seed{seed}_{sample}"
            path = output / f"{index:03d}_{_slug(prompt)}_{settings}.wav"
            soundfile.write(path, waveform.numpy(), made.sample_rate, subtype="PCM_16")
            files.append(path)
    total = sum(seconds.values())
    sounds, asked = "sound" if len(files) == 1 else "sounds", "query" if queries == 1 else "queries"
    print(
        f"{len(files)} {sounds} in {output}: {queries} {asked} each, {total:.2f} s in all "
        f"(latents {seconds['latents']:.2f} s, decoders {seconds['decoders']:.2f} s), "
        f"real-time factor {total / audio_seconds:.3f}"
    )
    return files


def _generator(*position: int) -> torch.Generator:
    """Random numbers that depend on the seed, the caption's index and the sample's, not on the batch."""
    return torch.Generator().manual_seed(int(np.random.SeedSequence(position).generate_state(1, np.uint64)[0] >> 1))


def _lines(caption: str) -> list[str]:
    """The caption, or the lines of the text file it names."""
    if caption.endswith(".txt"):
        if not Path(caption).is_file():
            raise FileNotFoundError(f"expected a text file with one caption a line, but there is no {caption}")
        return [line.strip() for line in Path(caption).read_text(encoding="utf-8").splitlines() if line.strip()]
    return [caption]


def _slug(prompt: str) -> str:
    return re.sub(r"\W+", "-", prompt.lower()).strip("-")[:48] or "empty"

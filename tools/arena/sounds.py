"""Latents of sounds that a model samples for the ten classes, kept as files, and what a classifier makes of them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import soundfile
import torch
from safetensors.torch import load_file
from torch import Tensor

from consistency_tta.contracts import Codec
from consistency_tta.pipeline import TextToAudioPipeline
from consistency_tta.runtime.device import best_device
from consistency_tta.storage.atomic_file import save_tensors
from tools.arena.classifier import SoundClassifier
from tools.esc10_captions import captions_by_label
from tools.esc10_classes import CLASSES
from tools.esc10_generate import noise


@dataclass(frozen=True)
class Sampling:
    """How a model is sampled.

    Attributes:
        clips: of each class.
        seed: of the noise; a class's clip k starts from the same noise in every model.
        guidance_scale: w.
        steps: queries of a student, or steps of a teacher's solver.
    """

    clips: int = 40
    seed: int = 0
    guidance_scale: float = 3.0
    steps: int = 1

    @property
    def name(self) -> str:
        """Of files."""
        return f"w{self.guidance_scale:g}_steps{self.steps}_clips{self.clips}_seed{self.seed}"


class Model:
    """A model folder, loaded on the best device when something is sampled or decoded, and not before.

    Where latents were kept, as of a training on another machine, its weights need not be there.

    Args:
        folder: model folder or bundled name.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = folder

    @cached_property
    def pipeline(self) -> TextToAudioPipeline:
        """The model."""
        pipeline = TextToAudioPipeline.from_pretrained(self.folder).to(best_device())
        pipeline.set_progress_bar_config(disable=True)
        return pipeline

    @property
    def codec(self) -> Codec:
        """Its codec."""
        return self.pipeline.codec


def sample(model: Model, sampling: Sampling, file: Path, batch_size: int = 40) -> Tensor:
    """Latents (10, clips, C, *) in float16, classes in the order of ``CLASSES``; read from the file if it exists."""
    if file.exists():
        return load_file(file)["latents"]
    pipeline = model.pipeline
    captions, latents = captions_by_label(), []
    for index, label in enumerate(captions):
        start = noise(index, sampling.clips, pipeline.latent_shape, sampling.seed)
        texts = [captions[label][k % len(captions[label])] for k in range(sampling.clips)]
        # One generator for each clip: what a student of several queries draws does not depend on the batch either.
        seeds = (sampling.seed * 10**6 + index * 10**3 + k + 10**9 for k in range(len(texts)))
        generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        parts = []
        for first in range(0, len(texts), batch_size):
            rows = slice(first, first + batch_size)
            latent, _ = pipeline.sample(
                texts[rows],
                sampling.guidance_scale,
                sampling.steps,
                latents=start[rows],
                generator=generators[rows],
            )
            parts.append(latent.half().cpu())
        latents.append(torch.cat(parts))
    # Captions are in alphabetical order of the classes.
    order = [list(captions).index(label) for label in CLASSES]
    found = torch.stack([latents[index] for index in order])
    file.parent.mkdir(parents=True, exist_ok=True)
    save_tensors({"latents": found}, file)
    return found


@torch.no_grad()
def classify(
    latents: Tensor, decoder: Model, classifier: SoundClassifier, file: Path, sounds: Path | None, batch_size: int = 20
) -> tuple[Tensor, Tensor]:
    """Embeddings (10, clips, D) and class scores (10, clips, 10) of decoded latents; read from the file if it exists.

    Args:
        latents: (10, clips, C, *).
        decoder: its codec decodes them.
        classifier: embeds and scores the sounds.
        file: of the results.
        sounds: folder to write ``<class>__NN.wav`` to; None for none.
        batch_size: sounds decoded at a time.
    """
    if file.exists() and sounds is None:
        found = load_file(file)
        return found["embeddings"], found["scores"]
    codec = decoder.codec
    device = next(codec.parameters()).device
    results = []
    for label, rows in zip(CLASSES, latents, strict=True):
        for first in range(0, len(rows), batch_size):
            waveform = codec.decode(rows[first : first + batch_size].to(device, torch.float32)).clamp(-1, 1)
            mono = waveform.mean(1) if waveform.ndim == 3 else waveform
            results.append(classifier(mono, codec.sample_rate))
            if sounds is not None:
                write(mono, sounds, label, first, codec.sample_rate)
    embeddings, scores = (torch.cat(parts).unflatten(0, latents.shape[:2]) for parts in zip(*results, strict=True))
    file.parent.mkdir(parents=True, exist_ok=True)
    save_tensors({"embeddings": embeddings, "scores": scores}, file)
    return embeddings, scores


def write(waveform: Tensor, folder: Path, label: str, first: int, sample_rate: int) -> None:
    """Write sounds (B, samples) as ``<class>__NN.wav``, numbered from ``first`` on."""
    folder.mkdir(parents=True, exist_ok=True)
    for k, samples in enumerate(waveform.cpu().numpy(), start=first):
        soundfile.write(folder / f"{label}__{k:02d}.wav", samples, sample_rate, subtype="PCM_16")

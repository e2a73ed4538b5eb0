"""A teacher's own samples in place of recordings: latents to learn from, and what distances compare with.

So the arena needs no recordings and no encoded latents, only a bundled teacher. The classes' captions are sampled with
noise that no evaluation uses.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from consistency_tta.contracts import AudioEmbedding, AudioEncoder
from consistency_tta.storage.shards import latents_file, write_shard
from tools.arena.classifier import SoundClassifier
from tools.arena.real import RealClips
from tools.arena.sounds import Model, Sampling, classify, sample
from tools.esc10_captions import captions_by_label
from tools.esc10_classes import CLASSES

#: Of the noise; evaluations begin at 0.
TRAIN_SEED, HELD_OUT_SEED = 9001, 9002


class TeacherSounds:
    """Samples of a teacher for the ten classes, made once and kept.

    Args:
        teacher: model folder or bundled name.
        folder: where latents and embeddings are kept.
        clips: of each class, to train on.
        held_out: of each class, for the held-out row of the report.
        steps: of the teacher's solver.
        guidance_scale: w.
    """

    def __init__(
        self, teacher: str, folder: Path, clips: int, held_out: int, steps: int, guidance_scale: float = 3.0
    ) -> None:
        self.model, self.folder = Model(teacher), folder
        self.train = Sampling(clips, TRAIN_SEED, guidance_scale, steps)
        self.held_out = Sampling(held_out, HELD_OUT_SEED, guidance_scale, steps)

    def latents(self, sampling: Sampling) -> Tensor:
        """(10, clips, C, *) in float16, in the order of ``CLASSES``."""
        return sample(self.model, sampling, self.folder / f"samples_{sampling.name}.safetensors", batch_size=200)

    def encoded(self) -> Path:
        """The folder with ``train``, as ``consistency-tta encode`` writes it."""
        if not latents_file(self.folder / "train", 0).exists():
            latents, captions = self.latents(self.train), captions_by_label()
            texts = [captions[label][k % len(captions[label])] for label in CLASSES for k in range(self.train.clips)]
            names = [f"{label}_{k}" for label in CLASSES for k in range(self.train.clips)]
            moments = self.model.codec.latent_to_moments(latents.flatten(0, 1).float())
            write_shard(self.folder / "train", 0, moments, texts, names)
        return self.folder

    def clips(self, encoder: AudioEncoder) -> RealClips:
        """Their embeddings, those that models are trained on as the reference."""
        found = {}
        for sampling in (self.train, self.held_out):
            file = self.folder / f"{encoder.name}_{sampling.name}.safetensors"
            embeds = SoundClassifier(encoder, _logits, "captions")
            found[sampling] = classify(self.latents(sampling), self.model, embeds, file, None, batch_size=100)
        (train, _), (held_out, logits) = (
            (embeddings.flatten(0, 1), scores.flatten(0, 1)) for embeddings, scores in found.values()
        )
        labels = torch.arange(len(CLASSES))
        train_labels = labels.repeat_interleave(self.train.clips)
        return RealClips(train, train_labels, train, held_out, labels.repeat_interleave(self.held_out.clips), logits)


def _logits(found: AudioEmbedding) -> Tensor:
    return found.vectors.new_empty(len(found.vectors), 0) if found.logits is None else found.logits

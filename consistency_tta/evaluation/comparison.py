"""Several models, the same captions, the same noise: what they make, how long it takes, how good it is."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from tqdm import tqdm

from consistency_tta.components.clap import TransformersClap
from consistency_tta.components.mel import MelSpectrogram
from consistency_tta.contracts import AudioEncoder
from consistency_tta.diffusion.sampler import ConsistencySampler
from consistency_tta.metrics.frechet import frechet_distance
from consistency_tta.pipeline import TextToAudioPipeline
from consistency_tta.storage.bundled import TRANSFORMERS, resolve

#: Beside the weights of a CLAP, what it makes of real clips.
REAL_CLIPS = "real_clips.safetensors"


@dataclass(frozen=True)
class Contestant:
    """A model and how it is asked.

    Attributes:
        name: of the column.
        model: folder, bundled name or hub id.
        note: a few words on where it comes from.
        steps: queries of a student, solver steps of a teacher; its default if None.
        as_student: ask a teacher as if it were a student: where a distillation starts from.
    """

    name: str
    model: str
    note: str
    steps: int | None = None
    as_student: bool = False

    def load(self) -> TextToAudioPipeline:
        """The model."""
        pipeline = TextToAudioPipeline.from_pretrained(self.model)
        if self.as_student:
            pipeline.use_sampler(ConsistencySampler())
        pipeline.set_progress_bar_config(disable=True)
        return pipeline


@dataclass
class Sounds:
    """What a model made of B captions.

    Attributes:
        contestant: the model.
        waveform: (B, samples) in [-1, 1].
        mel: (B, frames, bins) of the waveforms, natural logarithm.
        front_end: that made the mels.
        queries: of the U-Net, per sound.
        seconds: per sound made alone, the median: ``latents`` (text encoder and U-Net) and ``decoders``.
    """

    contestant: Contestant
    waveform: Tensor
    mel: Tensor
    front_end: MelSpectrogram
    queries: int
    seconds: dict[str, float]

    @property
    def sample_rate(self) -> int:
        """In Hz."""
        return int(self.front_end.config["sample_rate"])


@dataclass
class Scores:
    """How good B sounds are, by a CLAP's embeddings.

    Attributes:
        clap: cosine of each sound with its own caption (B,).
        others: mean cosine with the other captions.
        recognised: how many sounds are nearer to their own caption than to any other.
        frechet: Fréchet distance to real clips.
    """

    clap: Tensor
    others: float
    recognised: int
    frechet: float


def make_sounds(contestant: Contestant, captions: Sequence[str], guidance_scale: float = 3.0, seed: int = 0) -> Sounds:
    """Every caption by one model, one at a time, as a listener would wait for it; the first is made twice, untimed.

    Caption k starts from the same noise in all models with latents of the same shape.
    """
    pipeline = contestant.load()
    pipeline.require("unet")
    generator = torch.Generator().manual_seed(seed)
    unet = pipeline.unet.config
    noise = torch.randn(len(captions), unet.in_channels, *unet.sample_size, generator=generator)
    pipeline(captions[0], guidance_scale, 1, latents=noise[:1])
    made = [
        pipeline(caption, guidance_scale, contestant.steps, latents=latents)
        for caption, latents in zip(tqdm(captions, desc=contestant.name), noise.split(1), strict=True)
    ]
    waveform = torch.cat([each.waveform for each in made])
    return Sounds(
        contestant,
        waveform,
        pipeline.mel(waveform),
        pipeline.mel,
        made[0].queries,
        {part: median(each.seconds[part] for each in made) for part in made[0].seconds},
    )


@dataclass
class RealClips:
    """The distribution of real clips' embeddings, as far as the Fréchet distance looks at it.

    Attributes:
        count: of the clips.
        mean: (D,) float64.
        covariance: (D, D) float64, unbiased.
    """

    count: int
    mean: Tensor
    covariance: Tensor

    @classmethod
    def of(cls, embeddings: Tensor) -> RealClips:
        """Of embeddings (clips, D)."""
        if len(embeddings) < 2:
            raise ValueError(f"expected embeddings of at least 2 clips for a covariance, got {len(embeddings)}")
        return cls(len(embeddings), embeddings.double().mean(0), embeddings.double().T.cov())

    @classmethod
    def load(cls, clap: str) -> RealClips:
        """What lies beside the weights of a CLAP folder or bundled CLAP."""
        file = Path(resolve(clap, TRANSFORMERS)) / REAL_CLIPS
        if not file.is_file():
            raise FileNotFoundError(f"expected statistics of real clips in {file}: tools/bundle.py makes them")
        tensors = load_file(file)
        return cls(int(tensors["count"]), tensors["mean"], tensors["covariance"])

    def save(self, clap: Path) -> None:
        """Write them beside the weights of a CLAP folder."""
        tensors = {"count": torch.tensor(self.count), "mean": self.mean, "covariance": self.covariance.contiguous()}
        save_file(tensors, clap / REAL_CLIPS)

    def distance(self, embeddings: Tensor) -> float:
        """Fréchet distance of other clips' embeddings (clips, D); biased upwards, the more so the fewer there are."""
        other = RealClips.of(embeddings)
        return float(frechet_distance(self.mean, self.covariance, other.mean, other.covariance))


@torch.no_grad()
def embed(encoder: AudioEncoder, waveforms: Iterable[Tensor], sample_rate: int) -> Tensor:
    """Embeddings (clips, D) of batches of waveforms (B, samples)."""
    return torch.cat([encoder.embed(waveform, sample_rate) for waveform in waveforms])


@torch.no_grad()
def judge(sounds: Sounds, captions: Sequence[str], clap: str) -> Scores:
    """Scores by a CLAP folder or bundled CLAP, with the statistics of real clips beside it."""
    encoder = TransformersClap(resolve(clap, TRANSFORMERS))
    embeddings = embed(encoder, [sounds.waveform], sounds.sample_rate)
    cosines = embeddings @ encoder.embed_text(captions).T
    own = cosines.diagonal()
    others = (cosines.sum() - own.sum()) / (cosines.numel() - len(own))
    recognised = int((cosines.argmax(1) == torch.arange(len(own))).sum())
    return Scores(own, float(others), recognised, RealClips.load(clap).distance(embeddings))

"""Compares models: the same captions from the same noise, the time that each takes, and scores of its sounds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat
from tqdm import tqdm

from consistency_tta.audio.sound_file import Sound
from consistency_tta.components.clap import TransformersClap
from consistency_tta.components.mel import MelSpectrogram
from consistency_tta.diffusion.sampler import ConsistencySampler
from consistency_tta.evaluation.evaluator import Evaluator
from consistency_tta.evaluation.protocol import MetricSettings
from consistency_tta.evaluation.reference_statistics import ReferenceStatistics
from consistency_tta.pipeline import TextToAudioPipeline
from consistency_tta.storage.bundled import TRANSFORMERS, resolve


@dataclass(frozen=True)
class ComparedModel:
    """A model and how it is sampled.

    Attributes:
        name: of the column.
        model: folder, bundled name or hub id.
        note: a few words on where it comes from.
        steps: queries of a student, solver steps of a teacher; its default if None.
        as_student: sample a teacher as if it were a student: the start of a distillation.
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
class ModelSounds:
    """The sounds of a model for B captions.

    Attributes:
        model: that generated them.
        waveform: (B, samples) in [-1, 1].
        mel: (B, frames, bins) of the waveforms, natural logarithm.
        front_end: that computed the mels.
        queries: of the U-Net, per sound.
        seconds: per sound generated alone, the median: ``latents`` (text encoder and U-Net) and ``decoders``.
    """

    model: ComparedModel
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
    """Scores of B sounds by a CLAP.

    Attributes:
        clap: cosine of each sound with its own caption (B,).
        others: mean cosine with the other captions.
        recognised: number of sounds that are nearer to their own caption than to any other.
        frechet: Fréchet distance to recordings.
    """

    clap: Tensor
    others: float
    recognised: int
    frechet: float


class CaptionRecognition(Metric):
    """How many sounds are nearer to their own caption than to any other, and the mean cosine with the others.

    A metric of the evaluator that is named by its class, as a third party's would be.
    """

    full_state_update = False
    higher_is_better = True

    vectors: list[Tensor]
    texts: list[Tensor]

    def __init__(self) -> None:
        super().__init__()
        self.add_state("vectors", [], dist_reduce_fx="cat")
        self.add_state("texts", [], dist_reduce_fx="cat")

    def update(self, vectors: Tensor, text_vectors: Tensor) -> None:
        """Add embeddings (B, D) of sounds and of their captions, unit vectors."""
        self.vectors.append(vectors)
        self.texts.append(text_vectors)

    def compute(self) -> dict[str, Tensor]:
        """``recognised``, a number of sounds, and ``others``, a cosine."""
        cosines = dim_zero_cat(self.vectors) @ dim_zero_cat(self.texts).T
        own = cosines.diagonal()
        return {
            "recognised": (cosines.argmax(1) == torch.arange(len(own))).sum(),
            "others": (cosines.sum() - own.sum()) / (cosines.numel() - len(own)),
        }


def generate_sounds(
    model: ComparedModel, captions: Sequence[str], guidance_scale: float = 3.0, seed: int = 0
) -> ModelSounds:
    """Generate every caption's sound alone; the first is generated twice, and timed the second time.

    Caption k starts from the same noise in all models with latents of the same shape. Sounds end where the model's
    recordings did, before the padding of its latents.
    """
    pipeline = model.load()
    pipeline.require("unet")
    generator = torch.Generator().manual_seed(seed)
    unet = pipeline.unet.config
    noise = torch.randn(len(captions), unet.in_channels, *unet.sample_size, generator=generator)
    seconds = pipeline.config.get("audio_length_in_s")  # where given latents would leave the padding behind it
    pipeline(captions[0], guidance_scale, 1, latents=noise[:1])
    outputs = [
        pipeline(caption, guidance_scale, model.steps, latents=latents, audio_length_in_s=seconds)
        for caption, latents in zip(tqdm(captions, desc=model.name), noise.split(1), strict=True)
    ]
    waveform = torch.cat([output.waveform for output in outputs])
    return ModelSounds(
        model,
        waveform,
        pipeline.mel(waveform),
        pipeline.mel,
        outputs[0].queries,
        {part: median(output.seconds[part] for output in outputs) for part in outputs[0].seconds},
    )


def score_sounds(sounds: ModelSounds, captions: Sequence[str], clap: str) -> Scores:
    """Scores by a CLAP folder or bundled CLAP, with the statistics of recordings in its folder."""
    recognition = f"{__name__}.{CaptionRecognition.__name__}"
    metrics = [MetricSettings(metric, "clap") for metric in ("clap_score", recognition, "frechet")]
    evaluator = Evaluator(metrics, {"clap": TransformersClap(resolve(clap, TRANSFORMERS))})
    clips = [Sound(waveform, sounds.sample_rate, 1) for waveform in sounds.waveform]
    table = evaluator.evaluate_sounds(clips, captions, {"clap": ReferenceStatistics.load(clap)})
    own, recognised = table.per_clip["clap_score/clap"], table["CaptionRecognition/clap/recognised"]
    return Scores(own, table["CaptionRecognition/clap/others"], round(recognised), table["frechet/clap"])

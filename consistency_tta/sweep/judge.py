"""Scores of folders of sounds: text fit, quality, cost."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path
from statistics import median

import torch
from torch import Tensor
from tqdm import tqdm

from consistency_tta.bundled import TRANSFORMERS, resolve
from consistency_tta.checksum import checksum
from consistency_tta.comparison import RealClips
from consistency_tta.components.clap import TransformersClap
from consistency_tta.device import best_device
from consistency_tta.generation.folder import Folder, read_manifest
from consistency_tta.generation.request import ask
from consistency_tta.metrics.mn04 import MIN_SAMPLES, SAMPLE_RATE, AudioTagger
from consistency_tta.pipeline import TextToAudioPipeline
from consistency_tta.recordings import check_recordings, read_recording, recordings
from consistency_tta.resample import Resample

SCORES = "scores.json"
#: Sounds that are made alone to take the time, and what is made before the clock runs.
TIMED = 3
#: Waveforms (B, samples) and their rate in Hz to vectors (B, D).
Embed = Callable[[Tensor, int], Tensor]


@dataclass(frozen=True)
class Judge:
    """Who judges a sweep.

    Args:
        clap: folder, bundled name, fetched hub id or checkpoint of laion_clap: the CLAP score's.
        real: folder of recordings to which the Fréchet distance is taken; null for the statistics beside the CLAP.
        tagger: EfficientAT's ``mn04_as_mAP_432.pt``, in whose embedding the Fréchet distance is taken, to ``real``;
            null for the CLAP's own embedding.
    """

    clap: str = "tiny-clap"
    real: Path | None = None
    tagger: Path | None = None

    @cached_property
    def facts(self) -> dict[str, list[str] | None]:
        """What makes scores comparable: names, and what tells their content from that of another time."""
        places = asdict(self) | {"clap": resolve(self.clap, TRANSFORMERS)}
        return {
            name: None if value is None else [str(value), _content(Path(places[name]))]
            for name, value in asdict(self).items()
        }

    def check(self) -> None:
        """See that all is there and can be used, before hours of generation.

        Raises:
            FileNotFoundError: something is not there.
            ValueError: a tagger without recordings, or recordings that cannot be used.
        """
        if self.tagger is not None and self.real is None:
            raise ValueError("expected judge.real, a folder of recordings, beside judge.tagger, got none")
        if self.tagger is not None and not self.tagger.is_file():
            raise FileNotFoundError(f"expected the tagger's weights, but there is no {self.tagger}")
        if self.real is None:
            RealClips.load(self.clap)
        else:
            shortest = 0 if self.tagger is None else MIN_SAMPLES / SAMPLE_RATE
            check_recordings(self.real, least=2, min_seconds=shortest)
        TransformersClap(resolve(self.clap, TRANSFORMERS))


@torch.no_grad()
def judge_all(folders: Sequence[Folder], model: str, judge: Judge, device: str | None = None) -> None:
    """Write the scores of each folder beside its sounds, unless they are there."""
    waiting = [folder for folder in folders if not _is_judged(folder.path, judge)]
    if not waiting:
        return
    place = best_device(device)
    clap = TransformersClap(resolve(judge.clap, TRANSFORMERS)).to(place)
    pipeline = TextToAudioPipeline.from_pretrained(model).to(place)
    pipeline.set_progress_bar_config(disable=True)

    @lru_cache(maxsize=8)
    def resample(rate: int) -> Resample:
        return Resample(rate, clap.sample_rate).to(place)

    def embed(waveform: Tensor, rate: int) -> Tensor:
        return clap.embed_audio(resample(rate)(waveform.to(place))).cpu()

    tagger = AudioTagger.from_checkpoint(judge.tagger).to(place) if judge.tagger else None

    def embed_for_distance(waveform: Tensor, rate: int) -> Tensor:
        return embed(waveform, rate) if tagger is None else tagger(waveform.to(place), rate)[1].cpu()

    real = RealClips.load(judge.clap) if judge.real is None else _real_clips(judge.real, embed_for_distance)
    for folder in tqdm(waiting, desc="judging", unit="folder"):
        vectors = _embeddings(folder.files, embed)
        cosines = (vectors * clap.embed_text([sound.caption for sound in folder.sounds]).cpu()).sum(1)
        heard = vectors if tagger is None else _embeddings(folder.files, embed_for_distance)
        queries, seconds = _cost(pipeline, folder)
        scores = {
            "judge": judge.facts,
            "clap_is_reward": pipeline.rewards.include(clap.checksum),
            "generation": read_manifest(folder.path),
            "queries": queries,
            "seconds": seconds,
            "clap": float(cosines.mean()),
            "clap_error": float(cosines.std() / len(cosines) ** 0.5),
            "frechet": real.distance(heard),
        }
        (folder.path / SCORES).write_text(json.dumps(scores, indent=2) + "\n", encoding="utf-8")


def _content(place: Path) -> str:
    """SHA-256 of a file, or of all files of a folder; empty for what is not here, such as a hub id."""
    files = [place] if place.is_file() else sorted(path for path in place.rglob("*") if path.is_file())
    return checksum(*files) if files else ""


def _is_judged(folder: Path, judge: Judge) -> bool:
    """Whether this judge's scores of these very sounds are there."""
    file = folder / SCORES
    if not file.is_file():
        return False
    scores = json.loads(file.read_text(encoding="utf-8"))
    return scores["judge"] == judge.facts and scores["generation"] == read_manifest(folder)


def _embeddings(files: Sequence[Path], embed: Embed, batch_size: int = 8) -> Tensor:
    """Vectors (files, D), of neighbours with equal length and rate in batches."""
    vectors = []
    sounds = map(read_recording, files)
    for (_, rate), run in itertools.groupby(sounds, key=lambda sound: (len(sound.waveform), sound.sample_rate)):
        while batch := [sound.waveform for sound in itertools.islice(run, batch_size)]:
            vectors.append(embed(torch.stack(batch), rate))
    return torch.cat(vectors)


def _real_clips(folder: Path, embed: Embed) -> RealClips:
    return RealClips.of(_embeddings(tqdm(recordings(folder, least=2), desc="recordings"), embed))


def _cost(pipeline: TextToAudioPipeline, folder: Folder) -> tuple[int, float]:
    """Queries and seconds of a sound that is made alone, the median of a few after one that does not count."""
    first = folder.sounds[0]
    ask(pipeline, replace(folder.request, steps=1), [first])
    made = [ask(pipeline, folder.request, [sound]) for sound in folder.sounds[:TIMED]]
    return made[0].queries, median(sum(each.seconds.values()) for each in made)

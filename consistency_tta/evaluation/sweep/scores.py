"""Scores of folders of sounds, each beside its sounds: text fit, quality, cost."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import torch
from tqdm import tqdm

from consistency_tta import __version__
from consistency_tta.diffusion.solve import DDIM
from consistency_tta.evaluation.sweep.as_they_are import AsTheyAre
from consistency_tta.evaluation.sweep.judge import Judge
from consistency_tta.generation.folder import Folder, read_manifest
from consistency_tta.generation.sampling_config import generate_batch
from consistency_tta.pipeline import TextToAudioPipeline
from consistency_tta.runtime.device import best_device
from consistency_tta.storage.captions import caption_file
from consistency_tta.storage.checksum import checksum

SCORES = "scores.json"
#: Sounds that are made alone to take the time, and what is made before the clock runs.
TIMED = 3


@torch.no_grad()
def judge_all(folders: Sequence[Folder], captions: Path, model: str, judge: Judge, device: str | None = None) -> None:
    """Write the scores of each folder beside its sounds, unless they are there.

    Args:
        folders: whose sounds are all there.
        captions: the file they were made for, or a protocol's name.
        model: that made them.
        judge: of the sounds.
        device: such as cuda or cpu; the best there is if None.
    """
    waiting = [folder for folder in folders if read_scores(folder.path, judge) is None]
    if not waiting:
        return
    place, asked_for = best_device(device), caption_file(captions)
    pipeline = TextToAudioPipeline.from_pretrained(model).to(place)
    pipeline.set_progress_bar_config(disable=True)
    ruled = judge.by_protocol
    score = AsTheyAre(judge, place).score if ruled is None else partial(ruled.score, captions=asked_for, device=place)
    for folder in tqdm(waiting, desc="judging", unit="folder"):
        queries, seconds = _cost(pipeline, folder)
        scores = {
            "judge": judge.facts,
            "generation": read_manifest(folder.path),
            "captions": {"file": asked_for.name, "sha256": checksum(asked_for)},
            "solver": "none, a student" if pipeline.config["distilled"] else DDIM.__name__,
            "consistency_tta": __version__,
            "queries": queries,
            "seconds": seconds,
        }
        scores |= score(folder)
        (folder.path / SCORES).write_text(json.dumps(scores, indent=2) + "\n", encoding="utf-8")


def read_scores(folder: Path, judge: Judge) -> dict[str, Any] | None:
    """The scores of the very sounds of a folder by this judge; None if there are none, or only others."""
    file = folder / SCORES
    if not file.is_file():
        return None
    scores = json.loads(file.read_text(encoding="utf-8"))
    return scores if scores["judge"] == judge.facts and scores["generation"] == read_manifest(folder) else None


def _cost(pipeline: TextToAudioPipeline, folder: Folder) -> tuple[int, float]:
    """Queries and seconds of a sound that is made alone, the median of a few after one that does not count."""
    first = folder.sounds[0]
    generate_batch(pipeline, replace(folder.request, steps=1), [first])
    made = [generate_batch(pipeline, folder.request, [sound]) for sound in folder.sounds[:TIMED]]
    return made[0].queries, median(sum(each.seconds.values()) for each in made)

"""``scores.json``: the scores of a folder of sounds, and its cost in queries and seconds."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import torch
from tqdm import tqdm

from consistency_tta import __version__
from consistency_tta.diffusion.solve import DDIM
from consistency_tta.evaluation.sweep.facts import NO_SOLVER
from consistency_tta.evaluation.sweep.options import EvaluatorOptions
from consistency_tta.generation.folder import Folder, dtype_of, read_manifest
from consistency_tta.generation.sampling_config import generate_batch
from consistency_tta.pipeline import TextToAudioPipeline
from consistency_tta.pipeline.inference import load_for_generation, prepare_for_generation
from consistency_tta.runtime.device import best_device
from consistency_tta.storage.captions import caption_file
from consistency_tta.storage.checksum import checksum
from consistency_tta.storage.text import parse_json, read_text

SCORES = "scores.json"
#: Sounds that are generated alone to measure the time, after one that is not timed.
TIMED = 3
#: Keys of scores.json that earlier versions named otherwise.
RENAMED = {"judge": "evaluator", "figures": "metric_values", "used": "clips"}


@torch.no_grad()
def score_folders(
    folders: Sequence[Folder], captions: Path, model: str, evaluator: EvaluatorOptions, device: str | None = None
) -> None:
    """Write the scores of each folder, unless they are there.

    Args:
        folders: which have all their sounds.
        captions: the file that they were generated for, or a protocol's name.
        model: that generated them.
        evaluator: computes the scores.
        device: such as cuda or cpu; the best available if None.
    """
    waiting = [folder for folder in folders if read_scores(folder.path, evaluator) is None]
    if not waiting:
        return
    place, source = best_device(device), caption_file(captions)
    pipeline = load_for_generation(model, dtype_of(waiting[0].path) or "auto", place)
    prepare_for_generation(pipeline)
    pipeline.set_progress_bar_config(disable=True)
    for folder in tqdm(waiting, desc="evaluating", unit="folder"):
        queries, seconds = _cost(pipeline, folder)
        scores = {
            "evaluator": evaluator.conditions,
            "generation": read_manifest(folder.path),
            "captions": {"file": source.name, "sha256": checksum(source)},
            "solver": NO_SOLVER if pipeline.sampler.one_query else DDIM.__name__,
            "consistency_tta": __version__,
            "queries": queries,
            "seconds": seconds,
        }
        scores |= evaluator.score(folder, source, place)
        (folder.path / SCORES).write_text(json.dumps(scores, indent=2) + "\n", encoding="utf-8")


def read_scores(folder: Path, evaluator: EvaluatorOptions) -> dict[str, Any] | None:
    """The scores of a folder's present sounds under the evaluator's conditions; None if there are none, or only others.

    Files of earlier versions are read, too.
    """
    file = folder / SCORES
    if not file.is_file():
        return None
    scores = {RENAMED.get(key, key): value for key, value in parse_json(read_text(file), str(file)).items()}
    manifest = read_manifest(folder) or {}
    # An earlier version stored fewer facts of the same sounds.
    same_sounds = all(manifest.get(key) == value for key, value in scores["generation"].items())
    return scores if same_sounds and scores["evaluator"] == evaluator.conditions else None


def _cost(pipeline: TextToAudioPipeline, folder: Folder) -> tuple[int, float]:
    """Queries and seconds of a sound that is generated alone, the median of a few."""
    first = folder.sounds[0]
    generate_batch(pipeline, replace(folder.request, steps=1), [first])
    made = [generate_batch(pipeline, folder.request, [sound]) for sound in folder.sounds[:TIMED]]
    return made[0].queries, median(sum(each.seconds.values()) for each in made)

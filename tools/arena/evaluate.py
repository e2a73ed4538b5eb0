"""Samples the arena's models and evaluates the sounds; what exists already is kept.

    python -m tools.arena evaluate --output runs/arena --esc50 ESC50 --weights mn04_as_mAP_432.pt --labels LABELS.csv
    python -m tools.arena evaluate ... --reference teacher=tiny-teacher@200 --steps 1 2 4
    python -m tools.arena evaluate ... --codec tiny-teacher   # of results whose models stayed on another machine

Without ``--labels`` a linear probe scores the classes, as in :mod:`tools.esc10`.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from consistency_tta.runtime.errors import ConfigurationError
from tools.arena.classifier import SoundClassifier, classifier, embed, load_encoder
from tools.arena.machine import machine
from tools.arena.metric_values import half_values, real_values, values
from tools.arena.real import RealClips, real_clips
from tools.arena.snapshots import FACTS
from tools.arena.sounds import Model, Sampling, classify, sample
from tools.esc10 import MN04

#: The reference of distances, and what no model was trained on.
ESC10 = "recordings of ESC-10, folds 1 to 4 (held out: fold 5)"


def models(output: Path, contestants: list[str] | None, last: bool) -> Iterator[Path]:
    """Folders of all snapshots, the first seed of each contestant first.

    Args:
        output: of the arena.
        contestants: names; all if None.
        last: only the last snapshot of each training.
    """
    for seed in sorted(output.glob("*/seed*"), key=lambda folder: (folder.name, folder.parent.name)):
        found = sorted(file.parent for file in seed.glob(f"models/*/{FACTS}"))
        if contestants is None or seed.parent.name in contestants:
            yield from found[-1:] if last else found


def evaluate(
    model: Model,
    decoder: Model,
    scorer: SoundClassifier,
    real: RealClips,
    sampling: Sampling,
    folder: Path,
    draws: int,
    sounds: bool = False,
    codec_name: str = "",
) -> dict[str, Any]:
    """Sample, decode, classify, and write ``<folder>/<classifier>_<sampling>.json``.

    Raises:
        ConfigurationError: if the file is there and was written with other settings.
    """
    file = folder / f"{scorer.name}{codec_name}_{sampling.name}.json"
    kept = folder / f"sounds{codec_name}_{sampling.name}" if sounds else None
    settings = {"scores": scorer.scores, "draws": draws}
    if file.exists() and (kept is None or kept.is_dir()):
        found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        if found.get("settings", settings) != settings:  # files of earlier versions have none
            raise ConfigurationError(f"{file} was written with {found['settings']}, not with {settings}: remove it")
        return found
    started = time.perf_counter()
    latents = sample(model, sampling, folder / f"latents_{sampling.name}.safetensors")
    embeddings, scores = classify(latents, decoder, scorer, file.with_suffix(".safetensors"), kept)
    result = {
        "classifier": scorer.name,
        "settings": settings,
        "sampling": vars(sampling),
        "values": values(embeddings, scores, real),
        "halves": half_values(embeddings, scores, real, draws),
        "machine": machine(),
        "seconds": time.perf_counter() - started,
    }
    file.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return result


def parse(args: list[str] | None) -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(prog="python -m tools.arena evaluate", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--output", type=Path, required=True, help="folder of the arena")
    parser.add_argument("--contestants", help="names, separated by commas; all if not given")
    parser.add_argument("--last", action="store_true", help="only the model at the end of each training")
    parser.add_argument(
        "--reference", nargs="*", default=[], help="further models: name=folder@steps, such as a teacher"
    )
    parser.add_argument("--steps", type=int, nargs="+", default=[1], help="queries of a student")
    parser.add_argument("--clips", type=int, default=40, help="sounds of each class")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="of the noise")
    parser.add_argument("--guidance_scale", type=float, default=3.0)
    parser.add_argument("--draws", type=int, default=50, help="random halves of the sounds, for intervals")
    parser.add_argument("--sounds", action="store_true", help="keep the sounds; latents are always kept")
    parser.add_argument("--codec", help="model folder whose decoder is used; each model's own if not given")
    parser.add_argument("--esc50", type=Path, help="folder of ESC-50; not needed where its embeddings were kept")
    parser.add_argument("--compared_with", default=ESC10, help="what the report calls the reference")
    parser.add_argument("--encoder", default=MN04, help="class of another encoder than mn04")
    parser.add_argument("--weights", default="mn04_as_mAP_432.pt", help="of the encoder")
    parser.add_argument("--labels", type=Path, help="AudioSet's classes: index, display_name; a linear probe without")
    return parser.parse_args(args)


def main(args: list[str] | None = None) -> None:
    """Evaluate all models."""
    options = parse(args)
    encoder = load_encoder(options.encoder, options.weights)
    file = options.output / f"recordings_{encoder.name}.safetensors"
    real = real_clips(partial(embed, encoder), options.esc50, file)
    scorer = classifier(encoder, options.labels, real)
    about = {"classifier": encoder.name, "values": real_values(real, scorer.score(real.held_out_embedding))}
    about |= {"reference": options.compared_with}
    file.with_suffix(".json").write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
    work: list[tuple[str, Path, list[int]]] = []
    for text in options.reference:
        name, _, place = text.partition("=")
        folder, _, steps = place.partition("@")
        work.append((folder, options.output / "references" / name / "evaluation", [int(steps or 1)]))
    names = options.contestants.split(",") if options.contestants else None
    found_models = models(options.output, names, options.last)
    work.extend((str(model), model / "evaluation", options.steps) for model in found_models)
    decoder = Model(options.codec) if options.codec else None
    codec_name = f"@{Path(options.codec).name}" if options.codec else ""
    for folder, results, all_steps in work:
        model = Model(folder)
        for steps in all_steps:
            for seed in options.seeds:
                sampling = Sampling(options.clips, seed, options.guidance_scale, steps)
                found = evaluate(
                    model,
                    decoder or model,
                    scorer,
                    real,
                    sampling,
                    results,
                    options.draws,
                    options.sounds,
                    codec_name,
                )
                shown = ", ".join(f"{name} {value:.3f}" for name, value in found["values"].items())
                print(f"{results.parent}, {sampling.name}: {shown}", flush=True)

"""The command ``sweep``: a folder of sounds for each combination of settings, their scores, and curves."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from consistency_tta.contracts import TimeGrid
from consistency_tta.evaluation.sweep.drawing import draw
from consistency_tta.evaluation.sweep.options import EvaluatorOptions
from consistency_tta.evaluation.sweep.scores import score_folders
from consistency_tta.generation.fill import fill
from consistency_tta.generation.folder import Folder
from consistency_tta.generation.sampling_config import NUMBERS, SamplingConfig, sounds_of
from consistency_tta.runtime.errors import ConfigurationError

BUNDLED = EvaluatorOptions()


def sweep(
    settings: list[str],
    model: str,
    captions: Path,
    output: Path = Path("sweep"),
    guidance_scale: float = 3.0,
    steps: int | None = None,
    num_samples: int = 1,
    batch_size: int = 8,
    seed: int = 0,
    device: str | None = None,
    external_guidance_scale: float = 1.0,
    all_captions: bool = False,
    devices: int = 1,
    overwrite: bool = False,
    grid: TimeGrid | None = None,
    evaluator: EvaluatorOptions = BUNDLED,
) -> list[Path]:
    """Generate a caption file's sounds with every combination of settings, evaluate them, and draw curves.

    Args:
        settings: such as ``guidance_scale=1,2,3 steps=1,2``: a folder for each combination, ``sweep.csv``, and curves
            in ``sweep.svg`` and ``sweep.html``.
        model: model folder, bundled name or hub id.
        captions: caption file, or the name of a protocol.
        output: folder of the sweep. Other models that were swept into the same folder are drawn in the same curves:
            first sweep the teacher, then the student.
        guidance_scale: w, unless it is swept; so for the other settings.
        steps: 1 for a student, 50 solver steps for a teacher, if not given.
        num_samples: sounds per caption.
        batch_size: sounds generated at a time.
        seed: of the starting noise.
        device: such as cuda or cpu; the best available if not given.
        external_guidance_scale: w of classifier-free guidance on top of what the U-Net has learnt of guidance, at twice
            the queries; 1 for none.
        all_captions: generate a sound for every caption of a clip, not only for its first.
        devices: processes that share the batches, each on its own GPU, or all on the CPU; leave it at 1 under torchrun
            or srun.
        overwrite: empty folders whose sounds were generated with other settings, instead of refusing them.
        grid: times of the steps, uniform if not given.
        evaluator: computes the scores.

    Returns:
        The table, the picture and the page; nothing while other processes still have sounds to generate.

    Raises:
        ConfigurationError: the settings cannot be understood, or the evaluator's options do not go together.
        FileNotFoundError: the evaluator lacks a file.
    """
    values = parse_settings(settings)
    sounds = sounds_of(captions, num_samples, all_captions)
    if len(sounds) < 2:
        raise ConfigurationError(f"expected captions of at least 2 sounds, got 1 in {captions}: a set is evaluated")
    evaluator.check(captions)
    request = SamplingConfig(guidance_scale, steps, seed, external_guidance_scale, grid)
    home = output / (re.sub(r"[^\w.-]+", "_", model).strip("._") or "model")
    folders = []
    for combination in itertools.product(*values.values()):
        chosen = dict(zip(values, combination, strict=True))
        name = "_".join(f"{key}-{value:g}" for key, value in chosen.items())
        folders.append(Folder(home / name, replace(request, **chosen), sounds))
    fill(folders, model, batch_size=batch_size, device=device, devices=devices, overwrite=overwrite)
    if missing := sum(len(folder.missing) for folder in folders):
        print(f"{missing} sounds are left to other processes; the last of them evaluates and draws")
        return []
    score_folders(folders, captions, model, evaluator, device)
    return draw(output, folders[0].path, evaluator)


def parse_settings(settings: Sequence[str]) -> dict[str, list[Any]]:
    """The values of each setting in ``["guidance_scale=1,2,3", "steps=1,2"]``.

    Raises:
        ConfigurationError: a setting is unknown or given twice, or its values are not numbers or given twice.
    """
    kinds = {field.name: int if "int" in str(field.type) else float for field in NUMBERS}
    parsed: dict[str, list[Any]] = {}
    for setting in settings:
        name, separator, listed = setting.partition("=")
        if not separator or name not in kinds:
            raise ConfigurationError(
                f"expected settings such as guidance_scale=1,2,3, of {', '.join(kinds)}, got {setting!r}"
            )
        try:
            values = [kinds[name](value) for value in listed.split(",")]
        except ValueError:
            raise ConfigurationError(
                f"expected {kinds[name].__name__} values with commas between, got {setting!r}"
            ) from None
        if len(set(values)) < len(values) or name in parsed:
            raise ConfigurationError(f"expected each setting and each of its values once, got {setting!r}")
        parsed[name] = values
    return parsed

r"""Trained model folders to what the package brings along: float16, shared parts once, a model card each.

    python tools/bundle.py TEACHER STUDENT CLAP consistency_tta/models --facts facts.yaml \
        --attribution esc50/ATTRIBUTION-ESC10.txt --captions esc10/train.csv --audio esc50/audio

``facts.yaml`` has the facts of each model that its weights do not hold:

    tiny-teacher:
      title: Tiny text-to-audio teacher
      description: One paragraph.
      training: {steps: 6000, seed: 0, recipe: lightning_configs/tiny/teacher.yaml}
      metrics: {CLAP score: 0.31}
      limits: [Ten kinds of sound, 5 seconds, 16 kHz.]
      license: mit  # of the weights, to which attribution is added; no card claims one that is not stated
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
import yaml
from torch import nn
from transformers import PreTrainedTokenizerBase

from consistency_tta.components.clap import TransformersClap
from consistency_tta.datamodules import AudioCapsDataModule
from consistency_tta.evaluation.reference_statistics import ReferenceStatistics
from consistency_tta.export import halve
from consistency_tta.pipeline import TextToAudioPipeline
from consistency_tta.runtime.errors import ConfigurationError

#: Bytes of all models together.
LIMIT = 25_000_000
TEACHER, STUDENT, CLAP = NAMES = ("tiny-teacher", "tiny-student", "tiny-clap")
KEYS = ("title", "description", "training", "metrics", "limits")
FRONT_MATTER: dict[str, dict[str, Any]] = {
    TEACHER: {"library_name": "diffusers", "pipeline_tag": "text-to-audio"},
    STUDENT: {"library_name": "diffusers", "pipeline_tag": "text-to-audio", "base_model": TEACHER},
    CLAP: {"library_name": "transformers", "pipeline_tag": "feature-extraction"},
}
USE = {
    TEACHER: f'consistency-tta generate "A dog barks" --model {TEACHER}',
    STUDENT: f'consistency-tta generate "A dog barks" --model {STUDENT}',
    CLAP: f'TransformersClap("{CLAP}")  # of consistency_tta.components.clap',
}
DATA = """The ESC-10 part (ten classes) of ESC-50, folds 1 to 4: K. J. Piczak, "ESC: Dataset for Environmental Sound
Classification", ACM Multimedia 2015, https://doi.org/10.1145/2733373.2806390. The recordings are of Freesound's
contributors, under CC BY 3.0; `ATTRIBUTION.txt` names them one by one. The captions were written from the class labels,
five for each class."""
LICENCE = """The code is under the MIT licence, the weights are under {name}: Copyright (c) 2026 The ConsistencyTTA
developers. They learnt from recordings of others under CC BY 3.0 (https://creativecommons.org/licenses/by/3.0/), whose
makers are to be named: keep `ATTRIBUTION.txt` with every copy of the weights, changed or not."""


def bundle(
    models: dict[str, Path], output: Path, facts: dict[str, Any], attribution: Path, captions: Path, audio: Path
) -> int:
    """Write the folders.

    Args:
        models: trained folders by their new names.
        output: folder for them.
        facts: see above.
        attribution: text file, copied to each folder of weights.
        captions: caption file of the real clips that the Fréchet distance compares with.
        audio: folder with their audio.

    Returns:
        Size of all folders in bytes.

    Raises:
        FileExistsError: if one of the folders is there already.
        ConfigurationError: if facts are missing, or the folders are too large together.
    """
    for name in NAMES:
        if missing := [key for key in KEYS if key not in facts.get(name, {})]:
            raise ConfigurationError(f"expected {', '.join(KEYS)} of {name} in the facts; {', '.join(missing)} missing")
        if (output / name).exists():
            raise FileExistsError(f"{output / name} is there already: remove it first")
    teacher, student = (TextToAudioPipeline.from_pretrained(models[name]) for name in (TEACHER, STUDENT))
    clap = TransformersClap(models[CLAP])
    output.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=output) as temporary:
        folders = {name: Path(temporary) / name for name in NAMES}
        for model, name in ((teacher, TEACHER), (student, STUDENT), (clap.clap, CLAP)):
            halve(model.components.values())
            model.save_pretrained(folders[name])
            (folders[name] / "README.md").write_text(card(name, facts[name]), encoding="utf-8")
            shutil.copy(attribution, folders[name] / "ATTRIBUTION.txt")
        rest_on(folders[STUDENT], f"../{TEACHER}", shared_parts(teacher, student))
        real_clips(folders[CLAP], captions, audio).save(folders[CLAP])
        files = [file for file in Path(temporary).rglob("*") if file.is_file()]
        for file in files:
            file.chmod(0o644)  # safetensors writes files that only their owner can read
            if file.name in ("config.json", "model_index.json"):
                forget_paths(file)
        size = sum(file.stat().st_size for file in files)
        if size > LIMIT:
            raise ConfigurationError(f"expected models of at most {LIMIT / 1e6:g} MB together, got {size / 1e6:.1f} MB")
        for folder in folders.values():
            shutil.move(folder, output)
    return size


def shared_parts(teacher: TextToAudioPipeline, student: TextToAudioPipeline) -> list[str]:
    """Names of the parts that the student has from the teacher, unchanged."""
    parts = teacher.components
    return [name for name, part in student.components.items() if part is not None and equal(part, parts[name])]


def equal(one: Any, other: Any) -> bool:
    """Whether two parts are the same network with the same weights, or the same tokenizer."""
    if type(one) is not type(other):
        return False
    if isinstance(one, nn.Module):
        weights, others = one.state_dict(), other.state_dict()
        return weights.keys() == others.keys() and all(torch.equal(weights[key], others[key]) for key in weights)
    if not isinstance(one, PreTrainedTokenizerBase):
        return False
    return one.get_vocab() == other.get_vocab() and one.model_max_length == other.model_max_length


def rest_on(folder: Path, base: str, parts: Iterable[str]) -> None:
    """Leave parts to another folder; see ``TextToAudioPipeline.from_pretrained``."""
    for name in parts:
        shutil.rmtree(folder / name)
    index = folder / "model_index.json"
    content = json.loads(index.read_text(encoding="utf-8")) | {"_base": base}
    index.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def real_clips(clap: Path, captions: Path, audio: Path) -> ReferenceStatistics:
    """Statistics of the embeddings of recordings by the CLAP as it is stored, in float16."""
    encoder = TransformersClap(clap)
    data = AudioCapsDataModule(
        str(audio),
        test_captions=str(captions),
        sample_rate=encoder.sample_rate,
        num_samples=encoder.clap.front_end.max_samples,
        bad_clips="fail",  # a substitute would count twice
    )
    data.setup("test")
    with torch.no_grad():
        vectors = [encoder.embed(batch.waveform, encoder.sample_rate) for batch in data.test_dataloader()]
    return ReferenceStatistics.of(torch.cat(vectors))


def forget_paths(config: Path) -> None:
    """Remove where a model or part once lay on the machine that trained it."""
    content = json.loads(config.read_text(encoding="utf-8"))
    if content.pop("_name_or_path", None) is not None:
        config.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def card(name: str, facts: dict[str, Any]) -> str:
    """The model card."""
    common = {"language": ["en"], "datasets": ["ashraq/esc50"], "tags": ["audio", "consistency-tta"]}
    licence = facts.get("license")
    # The hub knows no licence by the name of one with a condition more.
    named = {"license": "other", "license_name": f"{licence}-with-cc-by-3.0-attribution", "license_link": "README.md"}
    stated = named if licence else {}
    front = yaml.safe_dump(FRONT_MATTER[name] | stated | common, sort_keys=False).strip()

    def table(rows: dict[str, Any]) -> str:
        return "\n".join(["| | |", "|---|---|", *(f"| {key} | {value} |" for key, value in rows.items())])

    sections = [
        f"---\n{front}\n---\n# {facts['title']}",
        facts["description"].strip(),
        f"```\n{USE[name]}\n```",
        f"## Data\n{DATA}",
        f"## Training\n{table(facts['training'])}",
        f"## Metrics\n{table(facts['metrics'])}",
        "## Limits\n" + "\n".join(f"- {limit}" for limit in facts["limits"]),
        *([f"## Licence\n{LICENCE.format(name=licence.upper())}"] if licence else []),
    ]
    return "\n\n".join(sections) + "\n"


def main(args: list[str] | None = None) -> None:
    """Bundle and say how large it is."""
    parser = argparse.ArgumentParser(description="Make the bundled models from trained model folders.")
    for name in ("teacher", "student", "clap", "output"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--facts", type=Path, required=True, help="YAML or JSON; see the top of this file")
    parser.add_argument("--attribution", type=Path, required=True, help="who made the recordings")
    parser.add_argument("--captions", type=Path, required=True, help="caption file of the training clips")
    parser.add_argument("--audio", type=Path, required=True, help="folder with their audio")
    options = parser.parse_args(args)
    facts = yaml.safe_load(options.facts.read_text(encoding="utf-8"))
    models = dict(zip(NAMES, (options.teacher, options.student, options.clap), strict=True))
    size = bundle(models, options.output, facts, options.attribution, options.captions, options.audio)
    print(f"{', '.join(NAMES)} in {options.output}: {size / 1e6:.1f} MB of {LIMIT / 1e6:g}")


if __name__ == "__main__":
    main()

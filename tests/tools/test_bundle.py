"""Trained folders to what the package brings along."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
import yaml
from safetensors.torch import load_file

from consistency_tta.components.clap import TransformersClap
from consistency_tta.evaluation.reference_statistics import ReferenceStatistics
from consistency_tta.pipeline import TextToAudioPipeline
from consistency_tta.runtime.errors import ConfigurationError
from consistency_tta.storage import bundled
from tests.bundles import WIDTH, write_clap, write_student

sys.path.append(str(Path(__file__).parents[2] / "tools"))  # the tools are scripts, in no package
import bundle

FACTS: dict[str, dict[str, Any]] = {
    name: {
        "title": f"The {name}",
        "description": "A toy.",
        "training": {"steps": 3, "seed": 0},
        "metrics": {"CLAP score": 0.25},
        "limits": ["Knows nothing."],
    }
    for name in bundle.NAMES
}
FACTS["tiny-student"]["license"] = "mit"


@pytest.fixture
def trained(teacher_folder: Path, tmp_path: Path) -> list[str]:
    """Arguments but for the output folder."""
    write_student(teacher_folder, tmp_path / "student")
    write_clap(tmp_path / "clap")
    (tmp_path / "audio").mkdir()
    rows = ["audiocap_id,youtube_id,start_time,caption"]
    for index in range(4):
        noise = 0.1 * np.random.default_rng(index).standard_normal(12000)
        soundfile.write(tmp_path / f"audio/clip{index}.wav", noise, 16000)
        rows += [f"{index},clip{index},0,Noise", f"{index},clip{index},0,A noise"]
    (tmp_path / "train.csv").write_text("\n".join(rows))
    (tmp_path / "facts.yaml").write_text(yaml.safe_dump(FACTS))
    (tmp_path / "credits.txt").write_text("clip0 by somebody")
    options = {"facts": "facts.yaml", "attribution": "credits.txt", "captions": "train.csv", "audio": "audio"}
    named = [part for name, file in options.items() for part in (f"--{name}", str(tmp_path / file))]
    return [*named, str(teacher_folder), str(tmp_path / "student"), str(tmp_path / "clap")]


def test_small_whole_and_legible_to_all(
    trained: list[str], teacher_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = tmp_path / "models"
    bundle.main([*trained, str(models)])
    assert sorted(path.name for path in models.iterdir()) == sorted(bundle.NAMES)
    own = {path.name for path in (models / "tiny-student").iterdir() if path.is_dir()}
    assert own == {"unet", "scheduler", "guidance_embedding", "sampler"}
    for file in (file for file in models.rglob("*") if file.is_file()):
        assert file.stat().st_mode & 0o777 == 0o644
        if file.suffix == ".json":
            assert str(tmp_path) not in file.read_text()
            assert str(teacher_folder) not in file.read_text()
    weights = load_file(models / "tiny-teacher/unet/diffusion_pytorch_model.safetensors")
    assert {tensor.dtype for tensor in weights.values()} == {torch.float16}

    monkeypatch.setattr(bundled, "MODELS", models)
    noise = torch.randn(1, 4, 8, 4)
    for name, source in (("tiny-teacher", str(teacher_folder)), ("tiny-student", str(tmp_path / "student"))):
        loaded, before = (TextToAudioPipeline.from_pretrained(folder) for folder in (name, source))
        assert loaded.unet.dtype == loaded.text_encoder.dtype == loaded.vae.dtype == torch.float32
        made, expected = (each("a dog", num_inference_steps=1, latents=noise).waveform for each in (loaded, before))
        torch.testing.assert_close(made, expected, atol=0.02 * float(expected.abs().max()), rtol=0)
    clap, before = (TransformersClap(folder) for folder in (models / "tiny-clap", tmp_path / "clap"))
    torch.testing.assert_close(clap.embed_text(["a dog"]), before.embed_text(["a dog"]), atol=0.01, rtol=0)
    real = ReferenceStatistics.load("tiny-clap")
    assert real.count == 4
    assert real.covariance.shape == (WIDTH, WIDTH)


def test_cards_say_what_the_hub_and_a_reader_need(trained: list[str], tmp_path: Path) -> None:
    bundle.main([*trained, str(tmp_path / "models")])
    for name in bundle.NAMES:
        _, front, text = (tmp_path / "models" / name / "README.md").read_text().split("---\n", 2)
        matter: dict[str, Any] = yaml.safe_load(front)
        stated = "license" in FACTS[name]
        assert (matter.get("license_name") == "mit-with-cc-by-3.0-attribution") == stated
        assert ("license" in matter) == ("## Licence" in text) == stated
        assert matter["library_name"] == ("transformers" if name == "tiny-clap" else "diffusers")
        for part in (
            f"# The {name}",
            "A toy.",
            "| steps | 3 |",
            "| CLAP score | 0.25 |",
            "- Knows nothing.",
            "CC BY 3.0",
        ):
            assert part in text
        assert (tmp_path / "models" / name / "ATTRIBUTION.txt").read_text() == "clip0 by somebody"


@pytest.mark.parametrize("name", bundle.NAMES)
def test_the_cards_that_are_bundled_ask_to_name_who_made_the_recordings(name: str) -> None:
    folder = bundled.MODELS / name
    _, front, text = (folder / "README.md").read_text(encoding="utf-8").split("---\n", 2)
    made = bundle.card(name, FACTS[name] | {"license": "mit"}).split("---\n", 2)
    matter = yaml.safe_load(front)
    assert matter == yaml.safe_load(made[1])
    assert matter["license"] == "other"  # MIT alone would ask for less
    assert text.split("## Licence")[1] == made[2].split("## Licence")[1]
    assert "Freesound" in (folder / "ATTRIBUTION.txt").read_text(encoding="utf-8")


def test_a_part_that_was_trained_further_is_kept(trained: list[str], tmp_path: Path) -> None:
    student = TextToAudioPipeline.from_pretrained(tmp_path / "student")
    with torch.no_grad():
        next(student.vocoder.parameters()).add_(1)
    student.save_pretrained(tmp_path / "student")
    bundle.main([*trained, str(tmp_path / "models")])
    assert (tmp_path / "models/tiny-student/vocoder").is_dir()
    assert not (tmp_path / "models/tiny-student/vae").exists()
    index = json.loads((tmp_path / "models/tiny-student/model_index.json").read_text())
    assert index["_base"] == "../tiny-teacher"


def test_what_is_too_large_there_already_or_unknown_is_refused(
    trained: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = tmp_path / "models"
    monkeypatch.setattr(bundle, "LIMIT", 100_000)
    with pytest.raises(ConfigurationError, match=r"0\.1 MB"):
        bundle.main([*trained, str(models)])
    assert not list(models.iterdir())
    (models / "tiny-clap").mkdir()
    with pytest.raises(FileExistsError, match="tiny-clap"):
        bundle.main([*trained, str(models)])
    unlimited = {key: value for key, value in FACTS["tiny-clap"].items() if key != "limits"}
    (tmp_path / "facts.yaml").write_text(yaml.safe_dump(FACTS | {"tiny-clap": unlimited}))
    with pytest.raises(ConfigurationError, match="limits"):
        bundle.main([*trained, str(tmp_path / "other")])

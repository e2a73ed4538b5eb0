"""The provenance that a folder of sounds states, and what the options of an evaluation add to it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import snapshot_download

from consistency_tta.components.reward_lineage import EncoderFingerprint, RewardLineage
from consistency_tta.evaluation.provenance import provenance, provenance_warnings
from consistency_tta.generation.fill import fill
from consistency_tta.generation.folder import Folder
from consistency_tta.generation.sampling_config import SamplingConfig, sounds_of
from consistency_tta.pipeline import TextToAudioPipeline
from consistency_tta.storage import model_folder


@pytest.fixture
def model(teacher_folder: Path, tmp_path: Path) -> Path:
    pipeline = TextToAudioPipeline.from_pretrained(teacher_folder)
    pipeline.register_to_config(rewards=RewardLineage((EncoderFingerprint("a" * 64),), complete=True).to_dict())
    pipeline.save_pretrained(tmp_path / "model")
    return tmp_path / "model"


@pytest.mark.parametrize("samples", [1, 2])
def test_a_generated_folder_says_how(samples: int, model: Path, tmp_path: Path) -> None:
    captions = tmp_path / "captions.csv"
    captions.write_text("file,caption\none,a dog\ntwo,rain\n")
    request = SamplingConfig(guidance_scale=2.0, steps=1, seed=7)
    sounds = sounds_of(captions, samples)
    fill([Folder(tmp_path / "out", request, sounds)], str(model), 2, "cpu")
    found = provenance(tmp_path / "out" / "1" if samples == 2 else tmp_path / "out")
    assert found.model == str(model)
    assert found.rewards == RewardLineage((EncoderFingerprint("a" * 64),), complete=True)
    assert found.settings is not None
    assert found.settings.startswith("guidance_scale 2.0, external_guidance_scale 1.0, steps 1, seed 7, weights ")
    assert provenance_warnings(found, 7) == []
    (warning,) = provenance_warnings(found, 0)
    assert "seed 7" in warning
    # The options add rewards to those of the sounds and of the model's folder.
    (tmp_path / "tuned").mkdir()
    (tmp_path / "tuned" / "model_index.json").write_text(
        json.dumps({"rewards": RewardLineage((EncoderFingerprint("b" * 64),)).to_dict()})
    )
    known = provenance(tmp_path / "out", tmp_path / "tuned", reward="c" * 64)
    assert (known.model, known.rewards) == (
        str(tmp_path / "tuned"),
        RewardLineage(tuple(EncoderFingerprint(each * 64) for each in "abc")),
    )


def test_a_folder_of_somebody_else_says_nothing(tmp_path: Path) -> None:
    (tmp_path / "generation.json").write_text(json.dumps({"model": "another", "seed": 5}))
    found = provenance(tmp_path / "sounds")  # not named 0, 1, ...: the file above is about something else
    assert (found.model, found.rewards, found.settings) == (None, RewardLineage(), None)
    assert provenance_warnings(found, 3) == []
    with pytest.raises(FileNotFoundError, match=str(tmp_path)):
        provenance(tmp_path / "sounds", tmp_path)


def test_of_a_model_of_the_hub_its_index_is_fetched_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    index = tmp_path / "models--someone--model" / "snapshots" / "abc" / "model_index.json"
    index.parent.mkdir(parents=True)
    index.write_text(json.dumps({"rewards": RewardLineage((EncoderFingerprint("b" * 64),), complete=True).to_dict()}))
    (index.parents[2] / "refs").mkdir()
    (index.parents[2] / "refs" / "main").write_text("abc")
    options_seen = []

    def from_the_cache(name: str, **options: Any) -> str:
        options_seen.append(options)
        return snapshot_download(name, cache_dir=tmp_path, **options)

    monkeypatch.setattr(model_folder, "snapshot_download", from_the_cache)
    found = provenance(tmp_path / "sounds", "someone/model")
    assert (found.model, found.rewards) == (
        "someone/model",
        RewardLineage((EncoderFingerprint("b" * 64),), complete=True),
    )
    assert options_seen == [{"allow_patterns": ["model_index.json"]}]


def test_bundled_models_are_known_by_name(tmp_path: Path) -> None:
    (reward,) = provenance(tmp_path, "tiny-student").rewards.encoders
    (known,) = provenance(tmp_path, reward="tiny-clap").rewards.encoders
    assert reward == known

"""A model folder's card, and what goes to the hub."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard

from consistency_tta.pipeline import TextToAudioPipeline, upload
from consistency_tta.pipeline.model_card import MADE_HERE
from tests.pipeline.models import student

RECORD = [
    {"training": "Distillation", "objective": "ConsistencyDistillation", "steps": 2000, "losses": {"latent|2": 0.5}}
]


def test_a_card_has_what_is_known_and_the_hubs_metadata(tmp_path: Path) -> None:
    pipeline = student()
    pipeline.register_to_config(
        training=RECORD, guidance_range=[1.0, 5.0], rewards={"sha256": ["abc"], "complete": True}
    )
    pipeline.save_pretrained(tmp_path / "barker", license="mit")
    card = ModelCard.load(tmp_path / "barker" / "README.md")
    assert card.data.to_dict() == {
        "library_name": "diffusers",
        "license": "mit",
        "pipeline_tag": "text-to-audio",
        "tags": ["audio", "consistency-tta"],
    }
    size = sum(parameter.numel() for parameter in pipeline.unet.parameters())
    for known in (
        "# barker",
        "16000 Hz",
        "0.32 s",
        f"{size:,}",
        "ConsistencyDistillation",
        "2000",
        "0.5",
        "1 to 5",
        "abc",
    ):
        assert known in card.text
    loaded = TextToAudioPipeline.from_pretrained(tmp_path / "barker")
    assert loaded.config["training"] == RECORD
    loaded.save_pretrained(tmp_path / "again")
    assert "ConsistencyDistillation" in (tmp_path / "again" / "README.md").read_text()


def test_a_card_that_was_written_by_hand_stays(tmp_path: Path) -> None:
    card, pipeline = tmp_path / "README.md", TextToAudioPipeline()
    pipeline.save_pretrained(tmp_path)
    assert MADE_HERE in card.read_text()
    card.write_text("mine")
    pipeline.save_pretrained(tmp_path)
    assert card.read_text() == "mine"


@pytest.mark.parametrize("there", [False, True])
def test_a_folder_goes_to_the_hub_whole_but_for_a_card_that_is_there(
    there: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: dict[str, Any] = {}

    def upload_folder(folder_path: Path, **options: Any) -> str:
        sent.update(options, files={file.name for file in Path(folder_path).iterdir()})
        return "address"

    monkeypatch.setattr(upload, "upload_folder", upload_folder)
    monkeypatch.setattr(upload, "create_repo", lambda name, **_: type("Repo", (), {"repo_id": name}))
    monkeypatch.setattr(upload, "file_exists", lambda *_, **__: there)
    pipeline = student()
    assert pipeline.push_to_hub("me/barker", commit_message="First") == "address"
    assert {"README.md", "pipeline.py", "model_index.json", "unet"} <= sent["files"]
    assert (sent["repo_id"], sent["commit_message"]) == ("me/barker", "First")
    assert sent["ignore_patterns"] == (["README.md"] if there else None)
    pipeline.save_pretrained(tmp_path / "barker", push_to_hub=True)
    assert sent["repo_id"] == "barker"

"""A folder names every encoder that taught it, whichever stage that was, and says where it does not know."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from consistency_tta.bundled import TRANSFORMERS, resolve
from consistency_tta.evaluation.networks import checksum_of
from consistency_tta.losses import CLAPLoss, LatentL2Loss, MelL1Loss
from consistency_tta.pipeline import TextToAudioPipeline
from consistency_tta.rewards import Rewards
from tests.toy_encoder import ToyEncoder
from tests.training.runs import autoencoder, diffusion, distillation, guidance, refinement, vocoder


def reward(checksum: str | None) -> CLAPLoss:
    encoder = ToyEncoder()
    encoder.checksum = checksum
    return CLAPLoss(encoder)


def only(*checksums: str) -> Rewards:
    return Rewards(checksums, complete=True)


def taught(make: Callable[..., Any], start: Path, folder: Path, **kwargs: Any) -> Path:
    """A stage's folder, without a step."""
    make(start, **kwargs).pipeline().save_pretrained(folder)
    return folder


def known(folder: Path | str) -> Rewards:
    return TextToAudioPipeline.from_pretrained(folder).rewards


def told(folder: Path, rewards: Rewards, to: Path) -> Path:
    """The same model, of which this is known."""
    pipeline = TextToAudioPipeline.from_pretrained(folder)
    pipeline.register_to_config(rewards=rewards.tree())
    pipeline.save_pretrained(to)
    return to


def test_what_is_known_is_added_up() -> None:
    assert only("a") | only("b", "a") == only("a", "b")
    assert only("a") | Rewards() == Rewards(("a",), complete=False)
    assert Rewards.by(["a", None, "a"]) == Rewards(("a",), complete=False)
    assert Rewards.of(only("a").tree()) == only("a")
    assert [only("a").include(checksum) for checksum in ("a", "b", None)] == [True, False, None]
    assert [Rewards(("a",)).include(checksum) for checksum in ("a", "b")] == [True, None]
    assert [str(each) for each in (only(), only("a", "b"), Rewards())] == [
        "none",
        "a, b",
        "perhaps others, which are not known",
    ]


def test_all_encoders_of_all_stages_are_named(teacher_folder: Path, tmp_path: Path) -> None:
    latent, mel = LatentL2Loss(), MelL1Loss()
    start = told(teacher_folder, only(), tmp_path / "start")
    decoder = taught(refinement, start, tmp_path / "decoder", losses={"clap": reward("a"), "mel": mel})
    assert known(decoder) == only("a")
    sounding = taught(vocoder, decoder, tmp_path / "vocoder", losses={"clap": reward("b"), "mel": mel})
    assert known(sounding) == only("a", "b")
    # The decoder's folder has no U-Net to train a teacher with: another's, of which the same is said, stands for it.
    teacher = taught(diffusion, told(teacher_folder, only("a", "b"), tmp_path / "again"), tmp_path / "teacher")
    assert known(teacher) == only("a", "b")
    losses = {"one": reward("c"), "latent": latent, "same": reward("a"), "other": reward("d")}
    stage_1 = taught(guidance, teacher, tmp_path / "stage_1", losses=losses)
    assert known(stage_1) == only("a", "b", "c", "d")
    # Whatever taught the teacher has taught who imitates it.
    student = taught(distillation, stage_1, tmp_path / "student", losses={"latent": latent, "clap": reward("e")})
    assert known(student) == only("a", "b", "c", "d", "e")
    later = taught(distillation, start, tmp_path / "later", student=str(student), losses={"latent": latent})
    assert known(later) == only("a", "b", "c", "d", "e")


def test_none_and_not_known_are_two_things(teacher_folder: Path, tmp_path: Path) -> None:
    assert known(taught(autoencoder, teacher_folder, tmp_path / "autoencoder")) == only()
    assert known(taught(vocoder, tmp_path / "autoencoder", tmp_path / "vocoder")) == only()
    assert known(teacher_folder) == Rewards()  # made by no training, as a converted model
    assert known(taught(distillation, teacher_folder, tmp_path / "student")) == Rewards()
    stage_1 = taught(guidance, teacher_folder, tmp_path / "stage_1", losses={"clap": reward("a")})
    assert known(stage_1) == Rewards(("a",), complete=False)


def test_diffusers_takes_it_for_no_part_of_a_model(teacher_folder: Path, tmp_path: Path) -> None:
    """Which it would of a list of strings."""
    index = json.loads((told(teacher_folder, only("a"), tmp_path) / "model_index.json").read_text())
    parts = {name for name, value in index.items() if isinstance(value, list)}
    assert "unet" in parts
    assert "rewards" not in parts


@pytest.mark.parametrize("model", ["tiny-teacher", "tiny-student"])
def test_bundled_models_name_the_encoder_that_taught_their_decoder(model: str) -> None:
    assert known(model) == only(checksum_of(resolve("tiny-clap", TRANSFORMERS)))

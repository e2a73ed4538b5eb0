"""A model folder names every encoder that trained it, in any stage, and says where that is not known."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from consistency_tta.components.clap import TransformersClap
from consistency_tta.components.reward_lineage import SIGNATURE, EncoderFingerprint, RewardLineage
from consistency_tta.contracts import AudioEncoder
from consistency_tta.losses import CLAPLoss, LatentL2Loss, MelL1Loss
from consistency_tta.pipeline import TextToAudioPipeline
from consistency_tta.runtime.errors import ModelFolderError
from tests.training.runs import autoencoder, diffusion, distillation, guidance, refinement, vocoder


class Constant(AudioEncoder):
    """Embeds every sound as one vector."""

    sample_rate = 16000

    def __init__(self, vector: Sequence[float], checksum: str | None = None) -> None:
        super().__init__()
        self.num_features = len(vector)
        self.vector, self.checksum = torch.tensor(vector), checksum

    def embed(self, waveform: Tensor, sample_rate: int) -> Tensor:
        return self.vector.expand(len(waveform), -1)

    def embed_text(self, captions: Sequence[str]) -> Tensor:
        return self.vector.expand(len(captions), -1)


def known_by(checksum: str) -> EncoderFingerprint:
    """An encoder of that file, with a signature of its own."""
    return EncoderFingerprint(checksum, (float(ord(checksum[0])), 0.5))


def reward(checksum: str) -> CLAPLoss:
    signature = known_by(checksum).signature
    assert signature
    return CLAPLoss(Constant(signature, checksum))


def only(*checksums: str) -> RewardLineage:
    return RewardLineage(tuple(map(known_by, checksums)), complete=True)


def trained(make: Callable[..., Any], start: Path, folder: Path, **kwargs: Any) -> Path:
    """A stage's folder, without a step."""
    make(start, **kwargs).pipeline().save_pretrained(folder)
    return folder


def known(folder: Path | str) -> RewardLineage:
    return TextToAudioPipeline.from_pretrained(folder).rewards


def with_rewards(folder: Path, rewards: RewardLineage, to: Path) -> Path:
    """The same model with these rewards in its folder."""
    pipeline = TextToAudioPipeline.from_pretrained(folder)
    pipeline.register_to_config(rewards=rewards.to_dict())
    pipeline.save_pretrained(to)
    return to


def test_what_is_known_is_added_up() -> None:
    assert only("a") | only("b", "a") == only("a", "b")
    assert only("a") | RewardLineage() == RewardLineage((known_by("a"),), complete=False)
    assert RewardLineage((EncoderFingerprint("a"),), complete=True) | only("a") == only(
        "a"
    )  # better known by the second
    assert RewardLineage.by([Constant([1.0], "a"), Constant([2.0]), Constant([1.0], "a")]) == RewardLineage(
        (EncoderFingerprint("a", (1.0,)), EncoderFingerprint(None, (2.0,))), complete=True
    )
    for known in (
        only("a", "b"),
        RewardLineage((EncoderFingerprint("a"), EncoderFingerprint(None, (0.5,)))),
        RewardLineage(),
    ):
        assert RewardLineage.from_dict(json.loads(json.dumps(known.to_dict()))) == known
    assert RewardLineage.from_dict({"sha256": ["a"], "complete": True}) == RewardLineage(
        (EncoderFingerprint("a"),), complete=True
    )
    with pytest.raises(ModelFolderError, match="sha256"):
        RewardLineage.from_dict({"sha256": []})
    assert [str(each) for each in (only(), only("a", "b"), RewardLineage((EncoderFingerprint(None, (0.5,)),)))] == [
        "none",
        "a, b",
        "one of no known file, perhaps others, which are not known",
    ]


@pytest.mark.parametrize(
    ("other", "complete", "expected"),
    [
        (EncoderFingerprint("a", (9.0, 9.0)), True, True),  # the same file, whatever its signature
        (EncoderFingerprint("b", (0.1, 0.5)), True, True),  # another file with the same weights
        (EncoderFingerprint(None, (0.1019, 0.4981)), False, True),  # in half precision
        (EncoderFingerprint("b", (0.1, 0.53)), True, False),
        (EncoderFingerprint("b", (0.1, 0.5, 0.0)), True, False),
        (EncoderFingerprint("b", ()), True, False),  # classifies sounds, and has no text side
        (EncoderFingerprint("b"), True, None),  # nothing is known but another file
        (EncoderFingerprint("b", (0.1, 0.53)), False, None),  # there may be others
    ],
)
def test_an_encoder_is_known_by_its_file_or_by_its_signature(
    other: EncoderFingerprint, complete: bool, expected: bool | None
) -> None:
    assert RewardLineage((EncoderFingerprint("a", (0.1, 0.5)),), complete).include(other) is expected
    by_file_alone = RewardLineage((EncoderFingerprint("a"),), complete)
    assert by_file_alone.include(other) is (True if other.checksum == "a" else False if other.signature == () else None)


def test_a_clap_is_the_same_in_other_files_and_half_precision(tmp_path: Path) -> None:
    first = TransformersClap("tiny-clap")
    first.clap.save_pretrained(tmp_path / "again")
    weights = tmp_path / "again" / "model.safetensors"
    tensors = {name: tensor.half().float() for name, tensor in load_file(weights).items()}
    save_file(tensors, weights, {"format": "pt", "note": "in another file"})
    again = TransformersClap(tmp_path / "again")
    assert first.checksum != again.checksum
    assert len(EncoderFingerprint.of(first).signature or ()) == SIGNATURE
    assert EncoderFingerprint.of(first).same_network(EncoderFingerprint.of(again))
    torch.manual_seed(0)
    for weight in again.clap.parameters():
        weight.data += 0.1 * weight.std(correction=0) * torch.randn_like(weight)
    assert not EncoderFingerprint.of(first).same_network(EncoderFingerprint.of(again))


def test_all_encoders_of_all_stages_are_named(teacher_folder: Path, tmp_path: Path) -> None:
    latent, mel = LatentL2Loss(), MelL1Loss()
    start = with_rewards(teacher_folder, only(), tmp_path / "start")
    decoder = trained(refinement, start, tmp_path / "decoder", losses={"clap": reward("a"), "mel": mel})
    assert known(decoder) == only("a")
    sounding = trained(vocoder, decoder, tmp_path / "vocoder", losses={"clap": reward("b"), "mel": mel})
    assert known(sounding) == only("a", "b")
    # The decoder's folder has no U-Net to train a teacher with: another's, of which the same is said, stands for it.
    teacher = trained(diffusion, with_rewards(teacher_folder, only("a", "b"), tmp_path / "again"), tmp_path / "teacher")
    assert known(teacher) == only("a", "b")
    losses = {"one": reward("c"), "latent": latent, "same": reward("a"), "other": reward("d")}
    stage_1 = trained(guidance, teacher, tmp_path / "stage_1", losses=losses)
    assert known(stage_1) == only("a", "b", "c", "d")
    # Whatever taught the teacher has taught who imitates it.
    student = trained(distillation, stage_1, tmp_path / "student", losses={"latent": latent, "clap": reward("e")})
    assert known(student) == only("a", "b", "c", "d", "e")
    later = trained(distillation, start, tmp_path / "later", student=str(student), losses={"latent": latent})
    assert known(later) == only("a", "b", "c", "d", "e")


def test_none_and_not_known_are_two_things(teacher_folder: Path, tmp_path: Path) -> None:
    assert known(trained(autoencoder, teacher_folder, tmp_path / "autoencoder")) == only()
    assert known(trained(vocoder, tmp_path / "autoencoder", tmp_path / "vocoder")) == only()
    assert known(teacher_folder) == RewardLineage()  # made by no training, as a converted model
    assert known(trained(distillation, teacher_folder, tmp_path / "student")) == RewardLineage()
    stage_1 = trained(guidance, teacher_folder, tmp_path / "stage_1", losses={"clap": reward("a")})
    assert known(stage_1) == RewardLineage((known_by("a"),), complete=False)


def test_diffusers_takes_it_for_no_part_of_a_model(teacher_folder: Path, tmp_path: Path) -> None:
    """Which it would of a list of strings."""
    index = json.loads((with_rewards(teacher_folder, only("a"), tmp_path) / "model_index.json").read_text())
    parts = {name for name, value in index.items() if isinstance(value, list)}
    assert "unet" in parts
    assert "rewards" not in parts


@pytest.mark.parametrize("model", ["tiny-teacher", "tiny-student"])
def test_bundled_models_name_the_encoder_that_taught_their_decoder(model: str) -> None:
    assert known(model) == RewardLineage.by([TransformersClap("tiny-clap")])

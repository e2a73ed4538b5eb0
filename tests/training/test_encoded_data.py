"""Trainings on encoded data: the same losses without the text encoder, stored trajectories, other networks refused."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from consistency_tta.datamodules import LatentsDataModule, SyntheticDataModule
from consistency_tta.encode import encode
from consistency_tta.encoding.trajectories import TeacherConfig
from consistency_tta.pipeline import TextToAudioPipeline
from consistency_tta.pipeline.fingerprints import codec_fingerprint, teacher_fingerprint, text_fingerprint
from consistency_tta.runtime.errors import ConfigurationError, DataError
from consistency_tta.training.encoded_data import check_encodings, check_trajectories
from tests.toys import NUM_SAMPLES
from tests.training.runs import diffusion, distillation, rng, trainer


@pytest.fixture(scope="module")
def folder(teacher_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight clips with text embeddings and trajectories for w from 1 to 5."""
    source = SyntheticDataModule(num_clips=8, batch_size=4, num_samples=NUM_SAMPLES)
    output = tmp_path_factory.mktemp("encoded") / "latents"
    teacher = TeacherConfig(guidance_scale=(1.0, 5.0))
    encode(source, str(teacher_folder), output, text_embeddings=True, trajectories=2, teacher=teacher, device="cpu")
    return output


class Recorder:
    """How often the text encoder of a module runs, and in how many of its steps."""

    def __init__(self, module: Any) -> None:
        self.calls = 0
        module.frozen.text.register_forward_hook(self.count)

    def count(self, *_: Any) -> None:
        self.calls += 1


@pytest.mark.parametrize("dropout", [0.0, 0.5])
@pytest.mark.parametrize("training", [diffusion, distillation])
def test_losses_are_the_same_without_the_text_encoder(
    training: Any, dropout: float, folder: Path, teacher_folder: Path, tmp_path: Path
) -> None:
    losses, calls = [], []
    for text in (True, False):
        torch.manual_seed(0)  # what reads w is new in a student
        module = training(teacher_folder, caption_dropout=dropout)
        recorder = Recorder(module)
        run = trainer(tmp_path, max_steps=2)
        data = LatentsDataModule(str(folder), batch_size=4, seed=0, text_embeddings=text, trajectories=False)
        run.fit(module, data)
        losses.append(float(run.callback_metrics["train/loss"]))
        calls.append(recorder.calls)
    assert losses[0] == pytest.approx(losses[1], rel=2e-3)  # stored in half precision
    assert calls[1] >= 2
    assert calls[0] <= (1 if dropout else 0)  # the empty caption, once


def test_stored_trajectories_take_the_place_of_the_teacher(folder: Path, teacher_folder: Path, tmp_path: Path) -> None:
    module = distillation(teacher_folder, teacher_trajectory_fraction=1.0, teacher_steps=2)
    data = LatentsDataModule(str(folder), batch_size=4, seed=0)
    seen = []

    def fail(*_: Any, **__: Any) -> None:
        raise AssertionError("the teacher was queried")

    def compare(*_: Any) -> None:
        module.trainer.training = True
        batch = next(iter(data.train_dataloader()))
        step = module.step(batch, rng())
        prediction = module.objective(step, module.networks(averaged=False))
        top = torch.full((4,), 1000.0)
        expected = module.student(
            module.add_noise(batch.trajectory.noise, batch.trajectory.noise, top), top, step.conditioning
        )
        torch.testing.assert_close(prediction.student_latent, expected)
        torch.testing.assert_close(prediction.target_latent, batch.trajectory.latent)
        assert torch.equal(step.guidance_scale, batch.trajectory.guidance_scale)
        seen.append(batch)

    module.frozen.teacher.register_forward_pre_hook(fail)
    module.on_train_start = compare
    trainer(tmp_path, max_steps=2).fit(module, data)
    assert len(seen) == 1


@pytest.mark.parametrize("name", ["codec", "text", "teacher"])
def test_data_of_another_network_are_refused_with_both_names(
    name: str, folder: Path, teacher_folder: Path, tmp_path: Path
) -> None:
    other = shutil.copytree(folder, tmp_path / "other")
    manifest = json.loads((other / "encoding.json").read_text())
    manifest[name] |= {"model": "runs/another/model", "sha256": "0" * 64}
    (other / "encoding.json").write_text(json.dumps(manifest))
    module = distillation(teacher_folder, guidance_scale=(1.0, 5.0))
    with pytest.raises(DataError, match="runs/another/model") as caught:
        trainer(tmp_path, max_steps=1).fit(module, LatentsDataModule(str(folder), str(other), batch_size=4))
    assert str(teacher_folder) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_settings_for_which_nothing_was_encoded_are_refused(folder: Path, teacher_folder: Path, tmp_path: Path) -> None:
    data = LatentsDataModule(str(folder), batch_size=4)
    for settings in ({"guidance_scale": (2.0, 5.0)}, {"guidance_scale": (1.0, 5.0), "caption_dropout": 0.1}):
        with pytest.raises(ConfigurationError, match=str(folder)):
            trainer(tmp_path, max_steps=1).fit(distillation(teacher_folder, **settings), data)
    with pytest.raises(ConfigurationError, match="text_embeddings"):
        trainer(tmp_path, max_steps=1).fit(diffusion(teacher_folder, train_text_encoder=True), data)


def test_each_network_is_recognised_once_and_only_if_data_are_by_it() -> None:
    computed: list[str] = []

    def fingerprint(name: str) -> Any:
        return lambda: (computed.append(name), f"sha of {name}")[1]

    def encoded(*names: str) -> dict[str, Any]:
        return {name: {"model": "runs/teacher", "sha256": f"sha of {name}"} for name in names}

    own = {name: fingerprint(name) for name in ("codec", "text", "teacher")}
    check_encodings({"one": encoded("codec"), "two": encoded("codec", "text", "other"), "old": {}}, "model", own)
    assert computed == ["codec", "text"]
    trained = own | {"text": None}
    check_encodings({"one": encoded("codec")}, "model", trained)
    with pytest.raises(ConfigurationError, match=r"two.*text encoder of runs/teacher"):
        check_encodings({"two": encoded("text")}, "model", trained)
    with pytest.raises(DataError, match="two was encoded by the autoencoder of runs/teacher"):
        check_encodings({"one": encoded("codec"), "two": {"codec": encoded("text")["text"]}}, "model", own)


@pytest.mark.parametrize(
    ("settings", "refused"),
    [
        (((1.0, 5.0), 0.0), None),
        (((2.0, 4.0), 0.0), None),  # as they were solved
        (((2.1, 4.0), 0.0), "from 2 to 4, but student.guidance_scale is 2.1 to 4"),
        (((2.0, 3.9), 0.0), "from 2 to 4"),
        (((1.0, 5.0), 0.0, True), "crop_lengths"),
        (((1.0, 5.0), 0.2), "caption_dropout is 0.2"),
    ],
)
def test_trajectories_go_with_the_settings_of_a_student(settings: Any, refused: str | None) -> None:
    solved = {"of latents alone": {"codec": {}}, "solved": {"teacher": {"guidance_scale": [2.0, 4.0]}}}
    check_trajectories({"of latents alone": {"codec": {}}}, *settings)
    if refused is None:
        check_trajectories(solved, *settings)
    else:
        with pytest.raises(ConfigurationError, match=f"^solved has.*{refused}"):
            check_trajectories(solved, *settings)


def test_folders_of_earlier_versions_are_read_with_a_warning(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    old = shutil.copytree(folder, tmp_path / "old")
    (old / "encoding.json").unlink()
    data = LatentsDataModule(str(old), batch_size=4)
    with caplog.at_level(logging.WARNING):
        data.setup("fit")
    assert str(old) in caplog.text
    assert data.encodings == {str(old): {}}


def test_a_network_is_recognised_in_half_the_precision_and_without_its_decoder(teacher_folder: Path) -> None:
    def loaded() -> TextToAudioPipeline:
        return TextToAudioPipeline.from_pretrained(teacher_folder)

    def fingerprints(model: TextToAudioPipeline) -> list[str]:
        return [codec_fingerprint(model.codec), text_fingerprint(model.text), teacher_fingerprint(model.denoiser)]

    one, half, decoder, encoder = loaded(), loaded(), loaded(), loaded()
    for part in (half.vae, half.unet, half.text_encoder):
        part.bfloat16()
    with torch.no_grad():
        next(decoder.vae.decoder.parameters()).add_(1)
        next(encoder.vae.encoder.parameters()).add_(1)
    assert fingerprints(half) == fingerprints(one) == fingerprints(decoder)
    assert fingerprints(encoder)[0] != fingerprints(one)[0]

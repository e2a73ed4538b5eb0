"""What the module compares and prepares before a run, and its callbacks, checkpoints, models and sounds."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from consistency_tta.diffusion.sampler import ConsistencySampler
from consistency_tta.pipeline import TextToAudioPipeline
from consistency_tta.pipeline.fingerprints import teacher_fingerprint
from consistency_tta.runtime.errors import CheckpointError, ConfigurationError, DataError
from consistency_tta.training import LoRA
from consistency_tta.training.checkpoint_file import FORMAT_KEY
from consistency_tta.training.distillation.lora import SaveAdapter
from consistency_tta.training.step_rng import VALIDATION_SEED
from consistency_tta.training.training_record import FACTS_KEY
from tests.training.distillation.test_module import LatentsAsTargets
from tests.training.recorded_encoder import with_decoder
from tests.training.runs import batch, data, distil, distillation, in_training, trainer


def precisions(module: Any) -> set[torch.dtype]:
    return {parameter.dtype for parameter in module.frozen.teacher.denoiser.network.parameters()}


def test_the_teacher_is_rounded_only_where_the_trainer_rounds(teacher_folder: Path, tmp_path: Path) -> None:
    module = in_training(distillation(teacher_folder), tmp_path)
    module.setup("fit")
    assert precisions(module) == {torch.float32}
    module.trainer = trainer(tmp_path, precision="bf16-mixed")
    module.setup("fit")
    assert precisions(module) == {torch.bfloat16}
    without = distil(LatentsAsTargets, teacher_folder)
    without.trainer = trainer(tmp_path, precision="bf16-mixed")
    without.setup("fit")
    assert "teacher" not in without.fingerprints()


def test_data_of_another_teacher_or_of_other_settings_are_refused(teacher_folder: Path, tmp_path: Path) -> None:
    networks = {"teacher": {"model": "runs/another/model", "sha256": "0" * 64, "guidance_scale": [1.0, 5.0]}}

    def set_up(module: Any) -> None:
        in_training(module, tmp_path)
        module.trainer.datamodule = SimpleNamespace(encodings={"latents": networks}, sample_rate=16000)
        module.setup("fit")

    module = distillation(teacher_folder)
    with pytest.raises(DataError, match="runs/another/model"):
        set_up(module)
    networks["teacher"]["sha256"] = teacher_fingerprint(module.frozen.teacher)
    set_up(module)
    with pytest.raises(ConfigurationError, match="2 to 5"):
        set_up(distillation(teacher_folder, guidance_scale=(2.0, 5.0)))
    with pytest.raises(ConfigurationError, match="crop_lengths"):
        set_up(distillation(teacher_folder, crop_lengths=(4,)))
    with pytest.raises(ConfigurationError, match=r"0\.25"):
        set_up(distillation(teacher_folder, caption_dropout=0.25))


def test_the_average_of_a_trained_decoder_follows_it(teacher_folder: Path) -> None:
    module = with_decoder(teacher_folder, ema_decay=0.0)
    parts, average = module.decoders.decoder.parts, module.decoders.decoder.average.module
    with torch.no_grad():
        for parameter in [*parts.parameters(), *module.student.parameters()]:
            parameter += 1
    module.update_averages(torch.tensor(0.0))  # a step that was skipped
    pairs = list(zip(parts.parameters(), average.parameters(), strict=True))
    assert not any(torch.equal(*pair) for pair in pairs)
    for _ in range(20):
        module.update_averages(torch.tensor(1.0))
    pairs += zip(module.student.parameters(), module.average.module.parameters(), strict=True)
    for source, followed in pairs:
        torch.testing.assert_close(followed, source, atol=1e-3, rtol=1e-3)
    exported = module.pipeline().vae
    assert exported.decoder is average["decoder"]


def test_a_crop_may_be_a_whole_clip(teacher_folder: Path) -> None:
    assert distillation(teacher_folder, crop_frames=32).decoders.config.crop_frames == 32


def test_only_lora_reports_and_leaves_adapters(teacher_folder: Path) -> None:
    for lora in (None, LoRA(rank=2)):
        callbacks = distillation(teacher_folder, lora=lora).configure_callbacks()
        assert sum(isinstance(callback, SaveAdapter) for callback in callbacks) == (lora is not None)
        assert len(callbacks) > 2


def test_checkpoints_leave_out_what_lora_does_not_train(teacher_folder: Path, tmp_path: Path) -> None:
    module = distillation(teacher_folder, lora=LoRA(rank=2))
    run = trainer(tmp_path, max_steps=1)
    run.fit(module, data())
    run.save_checkpoint(tmp_path / "it.ckpt")
    checkpoint = torch.load(tmp_path / "it.ckpt", weights_only=True)
    frozen = {name for name, value in module.student.named_parameters() if not value.requires_grad}
    left_out = module.state_dict().keys() - checkpoint["state_dict"].keys()
    assert left_out == {
        f"{owner}.{name}" for owner in ("student", "average.module", "target.module") for name in frozen
    }
    again = distillation(teacher_folder, lora=LoRA(rank=2))
    again.on_load_checkpoint(checkpoint)
    expected = module.state_dict()
    assert checkpoint["state_dict"].keys() == expected.keys()
    assert all(torch.equal(checkpoint["state_dict"][name], value) for name, value in expected.items() if value.ndim)
    # What every training stores and checks.
    assert {FORMAT_KEY, FACTS_KEY} <= checkpoint.keys()
    trained = next(name for name in checkpoint["state_dict"] if ".lora_A." in name)
    checkpoint["state_dict"][trained] = checkpoint["state_dict"][trained].int()
    with pytest.raises(CheckpointError, match=re.escape(trained)):
        again.on_load_checkpoint(checkpoint)


def test_references_are_the_teachers_sounds_and_the_recordings(teacher_folder: Path) -> None:
    module, clips = distillation(teacher_folder), batch(2)
    module.teacher_pipeline.sampler.default_steps = 2
    made = module.references(clips)
    assert list(made) == ["teacher", "recording"]
    assert made["recording"] is clips.waveform
    teacher = TextToAudioPipeline.from_pretrained(teacher_folder)
    teacher.set_progress_bar_config(disable=True)
    teacher.sampler.default_steps = 2
    generator = torch.Generator().manual_seed(VALIDATION_SEED)
    torch.testing.assert_close(made["teacher"], teacher(clips.captions, generator=generator).waveform)
    assert list(module.references(clips, teacher=False)) == ["recording"]
    assert list(distil(LatentsAsTargets, teacher_folder).references(clips)) == ["recording"]


def test_the_model_says_for_which_guidance_scales_it_was_made(teacher_folder: Path) -> None:
    made = distillation(teacher_folder, guidance_scale=(2.0, 5.0)).pipeline()
    assert made.config["guidance_range"] == [2.0, 5.0]
    assert isinstance(made.sampler, ConsistencySampler)
    assert made.unet is not None

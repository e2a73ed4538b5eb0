"""Checkpoints of the command line to model folders, for every training."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file

from consistency_tta.cli import main
from consistency_tta.export import export, load_training
from consistency_tta.generate import generate
from consistency_tta.pipeline import TextToAudioPipeline
from consistency_tta.runtime.errors import CheckpointError, ConfigurationError
from consistency_tta.training import LatentDiffusion
from tests.toys import MEL, NUM_SAMPLES, TEXT, VOCODER

NETWORKS = "consistency_tta.components.networks"
LOSS = {"class_path": "consistency_tta.losses.MelL1Loss"}
#: Class and arguments of each training; FOLDER stands for the toy teacher.
TRAININGS: dict[str, dict[str, Any]] = {
    "AutoencoderTraining": {
        "vae": {
            "class_path": f"{NETWORKS}.autoencoder",
            "init_args": {"channels": [4, 8, 8], "latent_channels": 4, "layers_per_block": 1, "norm_num_groups": 4},
        },
        "mel": {"class_path": "consistency_tta.components.mel.MelSpectrogram", "init_args": MEL},
    },
    "VocoderTraining": {
        "model": "FOLDER",
        "vocoder": {"class_path": "consistency_tta.components.vocoder.FourierVocoder", "init_args": VOCODER},
        "losses": {"mel": LOSS},
        "crop_frames": 16,
    },
    "LatentDiffusion": {
        "model": "FOLDER",
        "network": {
            "class_path": f"{NETWORKS}.unet",
            "init_args": {
                "latent_size": [8, 4],
                "latent_channels": 4,
                "text_width": 16,
                "channels": [8, 16],
                "attention": [False, True],
                "heads": [1, 2],
                "layers_per_block": 1,
                "norm_num_groups": 4,
            },
        },
        "text_encoder": {"class_path": "consistency_tta.components.text.ByteTextEncoder", "init_args": TEXT},
        "train_text_encoder": True,
    },
    "Distillation": {
        "teacher": "FOLDER",
        "objective": {"class_path": "consistency_tta.training.ConsistencyDistillation"},
        "losses": {"mel": LOSS},
        "student": {"guidance_scale": [0.0, 6.0]},
    },
}


def fit(name: str, teacher: Path, folder: Path) -> Any:
    """Three steps under the command line; the module and its checkpoint."""
    arguments = {key: str(teacher) if value == "FOLDER" else value for key, value in TRAININGS[name].items()}
    arguments |= {"ema_decay": 0.5, "optimization": {"learning_rate": 1e-3}}
    config = {
        "model": {"class_path": f"consistency_tta.training.{name}", "init_args": arguments},
        "data": {
            "class_path": "consistency_tta.datamodules.SyntheticDataModule",
            "init_args": {"num_clips": 8, "num_val_clips": 2, "num_samples": NUM_SAMPLES, "batch_size": 2},
        },
        "trainer": {
            "max_steps": 3,
            "accelerator": "cpu",
            "devices": 1,
            "default_root_dir": str(folder),
            "logger": False,
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "limit_val_batches": 1,
            "val_check_interval": 3,
        },
    }
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(config))
    cli = main(["fit", "--config", str(path)])
    return cli.model, Path(cli.trainer.checkpoint_callback.best_model_path)


@pytest.mark.parametrize("name", list(TRAININGS))
def test_a_checkpoint_becomes_the_folder_of_its_averaged_model(
    name: str, teacher_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    module, checkpoint = fit(name, teacher_folder, tmp_path)
    folder = export(checkpoint, tmp_path / "model")
    assert f"{name} of {checkpoint} written to {folder}" in capsys.readouterr().out
    module.pipeline().save_pretrained(tmp_path / "expected")
    weights, others = (
        sorted(path.relative_to(root) for path in root.rglob("*.safetensors"))
        for root in (folder, tmp_path / "expected")
    )
    assert weights == others
    for path in weights:
        expected, got = load_file(tmp_path / "expected" / path), load_file(folder / path)
        assert expected.keys() == got.keys()
        assert all(torch.equal(value, got[key]) for key, value in expected.items()), path
    scales = [
        TextToAudioPipeline.from_pretrained(root).vae.config.scaling_factor for root in (folder, tmp_path / "expected")
    ]
    assert scales[0] == scales[1]
    [stage] = TextToAudioPipeline.from_pretrained(folder).config["training"][-1:]
    assert (stage["steps"], stage["data"]) == (3, "SyntheticDataModule, 8 training clips")
    assert stage["metrics"].keys() >= {"val/loss"}
    # The average is not the last step's.
    trained = dict(module.trainable().named_parameters())
    averaged = dict(module.emas()[-1].module.named_parameters())
    assert any(not torch.equal(value, averaged[key]) for key, value in trained.items())


def test_an_exported_student_makes_sound_in_one_query_in_half_the_space(
    teacher_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, checkpoint = fit("Distillation", teacher_folder, tmp_path)
    export(checkpoint, tmp_path / "model")
    export(checkpoint, tmp_path / "half", half=True)
    files = generate(["a tone"], str(tmp_path / "half"), tmp_path / "wav", device="cpu")
    assert files[0].is_file()
    assert "1 query each" in capsys.readouterr().out

    half, full = (load_file(tmp_path / name / "unet/diffusion_pytorch_model.safetensors") for name in ("half", "model"))
    assert all(half[key].dtype == torch.float16 and torch.equal(half[key], value.half()) for key, value in full.items())
    mel, noise = load_file(tmp_path / "half/mel/diffusion_pytorch_model.safetensors"), torch.randn(1, 4, 8, 4)
    assert mel["filters"].dtype == torch.float32
    sound, expected = (
        TextToAudioPipeline.from_pretrained(tmp_path / name)("a tone", latents=noise).waveform
        for name in ("half", "model")
    )
    torch.testing.assert_close(sound, expected, atol=0.02 * float(expected.abs().max()), rtol=0)


def test_what_cannot_be_exported_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"it\.ckpt"):
        export(tmp_path / "it.ckpt", tmp_path / "model")
    torch.save({"state_dict": {}, "hyper_parameters": {"seed": 0}}, tmp_path / "python.ckpt")
    with pytest.raises(CheckpointError, match=r"python\.ckpt"):
        export(tmp_path / "python.ckpt", tmp_path / "model")
    settings = {"_class_path": "consistency_tta.training.LatentDiffusion", "model": -1}
    content = {"state_dict": {}, "pytorch-lightning_version": "2.6", "hyper_parameters": settings}
    torch.save(content, tmp_path / "elsewhere.ckpt")
    with pytest.raises(ConfigurationError, match=r"elsewhere\.ckpt.*-1"):
        export(tmp_path / "elsewhere.ckpt", tmp_path / "model")


def test_an_error_with_arguments_of_its_own_names_the_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class StepError(ValueError):
        __module__ = "consistency_tta.losses.mine"

        def __init__(self, step: int, name: str) -> None:
            super().__init__(f"{name} at {step}")

    def fail(*args: Any, **options: Any) -> None:
        raise StepError(17, "overflow")

    settings = {"_class_path": "consistency_tta.training.LatentDiffusion"}
    torch.save(
        {"state_dict": {}, "pytorch-lightning_version": "2.6", "hyper_parameters": settings}, tmp_path / "a.ckpt"
    )
    monkeypatch.setattr(LatentDiffusion, "load_from_checkpoint", fail)
    with pytest.raises(CheckpointError, match=r"a\.ckpt.*overflow at 17"):
        load_training(tmp_path / "a.ckpt")


@pytest.mark.parametrize(
    "options",
    [
        {"format": "onnx", "half": True},
        {"format": "torch", "int8": True},
        {"format": "openvino", "bf16": True},
        {"format": "openvino", "half": True, "int8": True},
        {"format": "folder", "int8": True},
        {"format": "web", "license": "mit"},
    ],
)
def test_options_of_another_format_are_refused(options: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=options["format"]):
        export(Path("tiny-student"), tmp_path / "model", **options)


def test_a_checkpoint_that_a_run_replaces_meanwhile_is_named(
    teacher_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, checkpoint = fit("Distillation", teacher_folder, tmp_path)

    def replaced(file: Path) -> Any:
        shutil.copy(file, tmp_path / "newer")
        (tmp_path / "newer").replace(file)
        return load_training(file)

    monkeypatch.setattr("consistency_tta.export.load_training", replaced)
    with pytest.raises(CheckpointError, match=rf"{checkpoint.name} changed"):
        export(checkpoint, tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_a_loss_that_is_not_installed_is_left_out_and_the_card_says_what_is_known(
    teacher_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    module, checkpoint = fit("Distillation", teacher_folder, tmp_path)
    content = torch.load(checkpoint, weights_only=True)
    settings = content["hyper_parameters"]
    settings["losses"] = {**settings["losses"], "own.loss": {"class_path": "no_such_package.losses.Own"}}
    settings["loss_weights"] = {"own.loss": 0.5, "mel": 2.0}
    content["state_dict"]["losses.learnable.loss own_loss.weight"] = torch.zeros(1)
    torch.save(content, tmp_path / "own.ckpt")
    folder = export(tmp_path / "own.ckpt", tmp_path / "model", license="mit")
    assert "license: mit" in (folder / "README.md").read_text()
    assert "own.loss" in capsys.readouterr().out
    exported = TextToAudioPipeline.from_pretrained(folder)
    assert not exported.rewards.complete
    expected = module.pipeline().unet.state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in exported.unet.state_dict().items())
    (stage,) = exported.config["training"]
    assert {name: stage[name] for name in ("training", "objective", "steps", "losses")} == {
        "training": "Distillation",
        "objective": "ConsistencyDistillation",
        "steps": 3,
        "losses": {"mel": 2.0},
    }
    assert stage["teacher"] == "/".join(teacher_folder.parts[-2:])

"""Configurations and checkpoints of version 0.1."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from consistency_tta.cli import main
from consistency_tta.export import export
from consistency_tta.pipeline import TextToAudioPipeline
from consistency_tta.training import SoundMetrics
from consistency_tta.training.earlier_versions import moved_option, upgrade_checkpoint, upgrade_config, upgrade_model
from tests.toys import NUM_SAMPLES

OLD = """
model:
  class_path: consistency_tta.training.ConsistencyDistillation
  init_args:
    teacher: FOLDER
    student: FOLDER
    prediction_type: v_prediction
    guidance_scale: [1.0, 4.0]
    caption_dropout: 0.1
    solver: {class_path: consistency_tta.diffusion.solve.DDIM}
    num_steps: {start: 2, end: 4, every: 3}
    top_share: 0.25
    target_decay: 0.5
    average_decay: 0.5
    train_decoder: true
    checkpoint_decoders: true
    losses:
      latent: {class_path: consistency_tta.losses.LatentPseudoHuberLoss}
      mel: {class_path: consistency_tta.losses.MelL2Loss}
    loss_weights: {mel: 0.1}
data:
  class_path: consistency_tta.datamodules.SyntheticDataModule
  init_args: {num_clips: 8, num_val_clips: 2, num_samples: SAMPLES, batch_size: 4}
trainer:
  max_steps: 2
  accelerator: cpu
  default_root_dir: ROOT
  logger: false
  enable_progress_bar: false
  enable_model_summary: false
  limit_val_batches: 0
  callbacks:
    - class_path: consistency_tta.training.ExportFolder
      init_args: {folder: "${trainer.default_root_dir}/model"}
    - class_path: consistency_tta.training.SoundMetrics
      init_args:
        num_samples: 2
        metrics: {diversity: {class_path: consistency_tta.metrics.diversity.PromptDiversity}}
        captions: [a tone]
        embedder: {class_path: tests.toy_encoder.ToyEncoder}
"""


def old_config(teacher: Path, root: Path) -> dict[str, Any]:
    text = OLD.replace("FOLDER", str(teacher)).replace("SAMPLES", str(NUM_SAMPLES)).replace("ROOT", str(root))
    config: dict[str, Any] = yaml.safe_load(text)
    return config


def train(teacher: Path, root: Path) -> Any:
    root.mkdir()
    (root / "old.yaml").write_text(yaml.safe_dump(old_config(teacher, root)))
    return main(["fit", "--config", str(root / "old.yaml"), "--model.optimization.learning_rate", "0.002"])


def test_an_old_configuration_trains_as_what_it_means(teacher_folder: Path, tmp_path: Path) -> None:
    module = train(teacher_folder, tmp_path / "run").model
    objective, decoding = module.objective, module.decoders.config
    assert type(objective).__name__ == "ConsistencyDistillation"
    assert type(objective.solver).__name__ == "DDIM"
    assert (objective.num_steps.start, objective.num_steps.end, objective.terminal_fraction) == (2, 4, 0.25)
    assert (module.target.decay, module.average.decay, module.caption_dropout) == (0.5, 0.5, 0.1)
    assert (decoding.train_decoder, decoding.gradient_checkpointing) == (True, True)
    assert module.guidance_range == (1.0, 4.0)
    assert module.optimization.learning_rate == 0.002
    [metrics] = [call for call in module.trainer.callbacks if isinstance(call, SoundMetrics)]
    assert metrics.evaluation.sampling.num_samples == 2
    assert TextToAudioPipeline.from_pretrained(tmp_path / "run" / "model")("a tone").queries == 1


def test_a_configuration_of_today_is_left_alone() -> None:
    config = {"model": {"class_path": "consistency_tta.training.Distillation", "init_args": {"ema_decay": 0.5}}}
    assert upgrade_config(config) is config
    foreign = {"model": {"class_path": "mine.ConsistencyDistillation", "init_args": {"num_steps": 3}}}
    assert upgrade_config(foreign) is foreign
    assert upgrade_config({"trainer": {"max_steps": 3}}) == {"trainer": {"max_steps": 3}}


def test_an_old_option_is_named_with_its_new_place(
    teacher_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = upgrade_config(old_config(teacher_folder, tmp_path))
    (tmp_path / "new.yaml").write_text(yaml.safe_dump(config))
    for old, new in (("guidance_scale", "student.guidance_scale"), ("num_steps", "objective.num_discretization_steps")):
        with pytest.raises(SystemExit):
            main(["fit", "--config", str(tmp_path / "new.yaml"), f"--model.{old}", "3"])
        assert f"--model.{new} " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("top_share", "objective.terminal_fraction"),
        ("lora", "student.lora"),
        ("checkpoint_decoders", "decoding.gradient_checkpointing"),
        ("average_decay", "ema_decay"),
        ("losses", None),
    ],
)
def test_where_an_old_argument_is_today(old: str, new: str | None) -> None:
    assert moved_option(old) == new


def test_arguments_of_a_distillation_are_grouped() -> None:
    """Groups of which nothing was given are left out."""
    old = {"teacher": "t", "average_decay": 0.5, "num_steps": 3, "lora": None}
    assert upgrade_model("consistency_tta.training.ConsistencyDistillation", old) == (
        "consistency_tta.training.Distillation",
        {
            "teacher": "t",
            "ema_decay": 0.5,
            "objective": {
                "class_path": "consistency_tta.training.ConsistencyDistillation",
                "init_args": {"num_discretization_steps": 3},
            },
            "student": {"lora": None},
        },
    )
    plain = {"objective": {"class_path": "consistency_tta.training.GuidanceDistillation"}}
    assert upgrade_model("GuidanceDistillation", {}) == ("consistency_tta.training.Distillation", plain)
    assert old.keys() == {"teacher", "average_decay", "num_steps", "lora"}  # the caller's own


def test_renamed_arguments_of_other_trainings() -> None:
    name = "consistency_tta.training.LatentDiffusion"
    assert upgrade_model(name, {"unet": 1, "model": 2}) == (name, {"network": 1, "model": 2})
    assert upgrade_model(name, {"model": 2}) is None
    vocoder = "consistency_tta.training.VocoderTraining"
    assert upgrade_model(vocoder, {"adversary": None, "losses": 3}) == (vocoder, {"losses": 3})
    adversary = {"class_path": "consistency_tta.losses.AdversarialLoss"}
    losses = {"adversary": adversary | {"init_args": {}}}
    assert upgrade_model(vocoder, {"adversary": adversary}) == (vocoder, {"losses": losses})


def test_only_arguments_of_its_metrics_are_gathered_in_a_callback() -> None:
    old = [{"class_path": "consistency_tta.training.SoundMetrics", "init_args": {"seed": 1, "steps": 2, "captions": 3}}]
    new = [{"class_path": old[0]["class_path"], "init_args": {"captions": 3, "sampling": {"seed": 1, "steps": 2}}}]
    assert upgrade_config({"trainer": {"callbacks": old}}) == {"trainer": {"callbacks": new}}
    kept = [
        {"class_path": "mine.Callback", "init_args": {"seed": 1, "batch_size": 2}},
        {"class_path": "mine.SoundMetrics"},
        {"class_path": "SoundMetrics", "init_args": {"captions": 3}},
    ]
    config = {"trainer": {"callbacks": kept}}
    assert upgrade_config(config)["trainer"] is config["trainer"]
    moved = {"class_path": "consistency_tta.training.lora.LoRA"}
    assert upgrade_config({"more": [1, moved]}) == {"more": [1, {"class_path": "consistency_tta.training.LoRA"}]}


def test_names_of_weights_and_of_the_class_in_a_checkpoint() -> None:
    old = {
        "hyper_parameters": {
            "_class_path": "consistency_tta.training.GuidanceDistillation",
            "_of_lightning": 1,
            "a": 2,
        },
        "state_dict": {"hearing.decoder": 3, "adversary.hearing.x": 4, "student.hearing": 5},
        "epoch": 6,
    }
    objective = {"class_path": "consistency_tta.training.GuidanceDistillation"}
    own = {"_class_path": "consistency_tta.training.Distillation", "_of_lightning": 1}
    assert upgrade_checkpoint(old) == {
        "hyper_parameters": own | {"a": 2, "objective": objective},
        "state_dict": {
            "decoders.decoder": 3,
            "losses.learnable.loss adversary.hearing.x": 4,
            "student.hearing": 5,
        },
        "epoch": 6,
    }
    for today in ({"state_dict": {"a": 1}}, {"hyper_parameters": {"_class_path": "mine.A", "unet": 1}}):
        assert upgrade_checkpoint(today) is today


def test_an_adversary_is_a_loss() -> None:
    old = {
        "model": {
            "class_path": "consistency_tta.training.DecoderRefinement",
            "init_args": {
                "average_decay": 0.9,
                "losses": {"mel": {"class_path": "consistency_tta.losses.MelL1Loss"}},
                "adversary": {
                    "class_path": "consistency_tta.training.adversary.Adversary",
                    "init_args": {"feature_weight": 1.0},
                },
            },
        }
    }
    arguments = upgrade_config(old)["model"]["init_args"]
    assert arguments["ema_decay"] == 0.9
    assert arguments["losses"] == {
        "mel": {"class_path": "consistency_tta.losses.MelL1Loss"},
        "adversary": {
            "class_path": "consistency_tta.losses.AdversarialLoss",
            "init_args": {"of": "mel", "feature_weight": 1.0},
        },
    }


def test_an_old_checkpoint_is_exported(teacher_folder: Path, tmp_path: Path) -> None:
    """A checkpoint of today under the names of version 0.1 becomes the same folder."""
    cli = train(teacher_folder, tmp_path / "run")
    cli.trainer.save_checkpoint(tmp_path / "new.ckpt")
    content = torch.load(tmp_path / "new.ckpt", weights_only=True)
    assert upgrade_checkpoint(content) is content
    own = {key: value for key, value in content["hyper_parameters"].items() if key.startswith("_")}
    own["_class_path"] = "consistency_tta.training.ConsistencyDistillation"
    content["hyper_parameters"] = own | old_config(teacher_folder, tmp_path)["model"]["init_args"]
    content["state_dict"] = {
        name.replace("decoders.decoder", "hearing.decoder"): value for name, value in content["state_dict"].items()
    }
    torch.save(content, tmp_path / "old.ckpt")
    for name in ("new", "old"):
        export(tmp_path / f"{name}.ckpt", tmp_path / name)
    expected, got = (TextToAudioPipeline.from_pretrained(tmp_path / name) for name in ("new", "old"))
    for part in ("unet", "vae"):
        pairs = zip(getattr(expected, part).parameters(), getattr(got, part).parameters(), strict=True)
        assert all(torch.equal(one, other) for one, other in pairs)

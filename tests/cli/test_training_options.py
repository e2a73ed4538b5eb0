"""``--help`` of Lightning's subcommands and wrong nested options, from source."""

from __future__ import annotations

from pathlib import Path

import pytest

from consistency_tta.cli.config_files import find_recipes
from consistency_tta.cli.training_options import check_nested, lightning_help, wants_help

FIT = ["fit", "--config", "tiny/consistency"]


@pytest.mark.parametrize(
    ("option", "right"),
    [
        ("--trainer.max_step", "'max_steps'"),
        ("--trainer.max-steps=3", "'max_steps'"),
        ("--data.batchsize", "'batch_size'"),
        ("--model.student.guidance_scal", "'guidance_scale'"),
        ("--model.init_args.student.lora.rnk=4", "'rank'"),
        ("--model.optimization.final_phase.begn", "'begin'"),
    ],
)
def test_the_right_name_is_at_the_same_level(option: str, right: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        check_nested(find_recipes([*FIT, option, "3"]))
    assert f"did you mean {right}" in capsys.readouterr().err


@pytest.mark.parametrize(
    "option",
    [
        "--model.student.guidance_scale",
        "--model.init_args.optimization.final_phase.begin",
        "--model.losses.latent.init_args.x",  # of a class that the parser knows
        "--model.objective.init_args.weights",
        "--model.class_path=my.Training",  # of others
        "--model.zzz",  # like none
        "--trainer.callbacks+=LearningRateMonitor",
        "--trainer.logger.save_dir",
        "--data.batch_size",
        "--model.average_decay",  # of version 0.1
    ],
)
def test_what_may_be_right_is_left_to_the_parser(option: str) -> None:
    check_nested(find_recipes([*FIT, option, "3"]))


def test_a_class_of_others_is_not_checked(tmp_path: Path) -> None:
    (tmp_path / "theirs.yaml").write_text("model: {class_path: theirs.Training}\ndata: theirs.Data\n")
    file = str(tmp_path / "theirs.yaml")
    check_nested(["fit", "--config", file, "--model.studnt", "3", "--data.batchsize", "2"])
    check_nested([*find_recipes(FIT), "--model", "theirs.Training", "--model.optimizaton.x", "3"])


def test_help_has_the_options_of_the_classes_that_a_recipe_names() -> None:
    plain, tiny = lightning_help(["fit", "--help"]), lightning_help([*find_recipes(FIT), "-h"])
    for option in ("--ckpt_path", "--trainer.max_steps", "--model.help", "Distillation", "LatentsDataModule"):
        assert option in plain
    for option in ("--model.student.guidance_scale", "--model.optimization.final_phase.begin", "--data.train_folder"):
        assert option not in plain
        assert option in tiny
    assert "--data.train_captions" in lightning_help([*find_recipes(FIT), "--data", "AudioCapsDataModule", "-h"])


def test_help_is_not_the_value_of_another_option() -> None:
    assert wants_help(["fit", "--config", "x.yaml", "-h"])
    assert not wants_help(["fit", "--model.help", "Distillation"])

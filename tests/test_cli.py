"""The command line: help, suggestions, overrides of interpolations, and two processes that equal one."""

from __future__ import annotations

import csv
import io
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from consistency_tta.__main__ import console
from consistency_tta.cli import main
from consistency_tta.losses import LatentPseudoHuberLoss
from tests.toys import NUM_SAMPLES


def distillation_config(teacher: Path, folder: Path, **trainer: Any) -> dict[str, Any]:
    return {
        "seed_everything": 0,
        "model": {
            "class_path": "consistency_tta.training.Distillation",
            "init_args": {
                "teacher": str(teacher),
                "objective": {"class_path": "consistency_tta.training.ConsistencyDistillation"},
                "losses": {"latent": {"class_path": "consistency_tta.losses.LatentPseudoHuberLoss"}},
                "optimization": {"learning_rate": 1.0e-3},
            },
        },
        "data": {
            "class_path": "consistency_tta.datamodules.SyntheticDataModule",
            "init_args": {"num_clips": 16, "num_val_clips": 2, "num_samples": NUM_SAMPLES, "batch_size": 4},
        },
        "trainer": {
            "max_steps": 8,
            "accelerator": "cpu",
            "devices": 1,
            "default_root_dir": str(folder),
            "logger": {
                "class_path": "lightning.pytorch.loggers.CSVLogger",
                "init_args": {"save_dir": "${trainer.default_root_dir}"},
            },
            "log_every_n_steps": 1,
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "enable_checkpointing": False,
            **trainer,
        },
    }


def write(config: dict[str, Any], path: Path) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(config))
    return str(path)


def losses(folder: Path) -> list[float]:
    with next(folder.rglob("metrics.csv")).open(newline="") as file:
        return [float(row["train/loss"]) for row in csv.DictReader(file) if row.get("train/loss")]


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    text = capsys.readouterr().out
    for command in ("fit", "validate", "test", "predict", "generate", "export", "data-check"):
        assert command in text
    with pytest.raises(SystemExit, match="0"):
        main(["generate", "--help"])
    assert "--guidance_scale" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("path", "wrong", "right"),
    [
        (("trainer",), "max_stepz", "max_steps"),
        (("model", "init_args"), "guidance_scal", "guidance_scale"),
        (("model", "init_args", "optimization"), "lerning_rate", "learning_rate"),
        (("data", "init_args"), "batchsize", "batch_size"),
        ((), "modle", "model"),
    ],
)
def test_a_typo_names_the_key_and_the_nearest_right_one(
    path: tuple[str, ...], wrong: str, right: str, teacher_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    config = distillation_config(teacher_folder, tmp_path)
    inner: dict[str, Any] = config
    for key in path:
        inner = inner[key]
    inner[wrong] = 1
    with pytest.raises(SystemExit, match="2"):
        main(["fit", "--config", write(config, tmp_path / "typo.yaml")])
    assert f"'{wrong}' is not known: did you mean '{right}'?" in capsys.readouterr().err


def test_interpolations_follow_overrides_from_the_command_line(teacher_folder: Path, tmp_path: Path) -> None:
    config = write(distillation_config(teacher_folder, tmp_path / "first", max_steps=1), tmp_path / "config.yaml")
    main(["fit", "--config", config, "--trainer.default_root_dir", str(tmp_path / "second")])
    assert len(losses(tmp_path / "second")) == 1
    assert not (tmp_path / "first").exists()


def test_checkpoints_of_the_command_line_can_be_resumed_exported_and_heard(
    teacher_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    folder = tmp_path / "run"
    config = write(
        distillation_config(teacher_folder, folder, max_steps=2, enable_checkpointing=True), tmp_path / "config.yaml"
    )
    cli = main(["fit", "--config", config])
    checkpoint = cli.trainer.checkpoint_callback.best_model_path
    changed = ["--trainer.max_steps", "4", "--model.optimization.learning_rate", "0.5"]
    again = main(["fit", "--config", config, *changed, "--ckpt_path", checkpoint])
    assert again.trainer.global_step == 4
    assert again.model.optimization.learning_rate == 0.5  # the checkpoint does not overrule the command line
    with pytest.raises(SystemExit, match="2"):
        main(["fit", "--config", config, "--model", "VocoderTraining", "--ckpt_path", checkpoint])
    assert main(["validate", "--config", config, "--ckpt_path", checkpoint]).trainer.callback_metrics["val/loss"] > 0
    main(["export", checkpoint, "--output", str(tmp_path / "student")])
    files = main(
        ["generate", "a tone", "noise", "--model", str(tmp_path / "student"), "--output", str(tmp_path / "out")]
    )
    assert len(files) == 2
    assert "1 query each" in capsys.readouterr().out


def test_what_a_user_got_wrong_is_one_line(
    teacher_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = write(distillation_config(teacher_folder, tmp_path), tmp_path / "config.yaml")
    with pytest.raises(SystemExit, match="'latent'"):
        main(["fit", "--config", config, "--model.loss_weights", "{latnt: 1}"])
    with pytest.raises(SystemExit, match="nowhere"):
        main(["generate", "a tone", "--model", "nowhere"])
    monkeypatch.setenv("CONSISTENCY_TTA_TRACEBACK", "1")
    with pytest.raises(FileNotFoundError, match="nowhere"):
        main(["generate", "a tone", "--model", "nowhere"])


def test_an_unknown_command_is_answered_with_all_of_them() -> None:
    with pytest.raises(SystemExit, match="'generate'"):
        main(["generat", "a tone"])


def test_options_are_not_abbreviated(teacher_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    config = write(distillation_config(teacher_folder, tmp_path), tmp_path / "config.yaml")
    for command, full in (
        (["generate", "a tone", "--guid", "3"], "guidance_scale"),
        (["fit", "--config", config, "--trainer.max_step", "3"], "max_steps"),
    ):
        with pytest.raises(SystemExit, match="2"):
            main(command)
        assert f"did you mean '{full}'?" in capsys.readouterr().err


def test_a_missing_accelerator_is_one_line(teacher_folder: Path, tmp_path: Path) -> None:
    config = write(distillation_config(teacher_folder, tmp_path), tmp_path / "config.yaml")
    with pytest.raises(SystemExit, match=r"^error: .*torch_xla"):  # a TPU, which is nowhere here
        main(["fit", "--config", config, "--trainer.accelerator", "tpu"])


def test_what_this_package_refuses_in_training_is_one_line_and_a_users_error_is_not(
    teacher_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = write(distillation_config(teacher_folder, tmp_path), tmp_path / "config.yaml")
    with pytest.raises(SystemExit, match="num_samples"):
        main(["fit", "--config", config, "--data.num_samples", "2560"])

    def forward(self: LatentPseudoHuberLoss, out: Any) -> None:
        raise ValueError("a user's own")

    monkeypatch.setattr(LatentPseudoHuberLoss, "forward", forward)
    with pytest.raises(ValueError, match="a user's own"):
        main(["fit", "--config", config])


def test_the_global_seed_moves_the_draws_of_training(teacher_folder: Path, tmp_path: Path) -> None:
    config = write(distillation_config(teacher_folder, tmp_path, max_steps=1), tmp_path / "config.yaml")
    seeds = {}
    for seed in ("3", "4"):
        cli = main(["fit", "--config", config, "--seed_everything", seed])
        seeds[seed] = (cli.model.seed, cli.datamodule.seed)
    assert seeds == {"3": (3, 3), "4": (4, 4)}


def test_the_program_finds_losses_in_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["consistency-tta", "--version"])
    monkeypatch.setattr(sys, "path", list(sys.path))
    with pytest.raises(SystemExit, match="0"):
        console()
    assert sys.path[-1] == str(tmp_path)
    assert sys.path.index(str(tmp_path)) == len(sys.path) - 1  # what is installed comes first


def console_ends(command: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
    """A process of the program, by a shell."""
    program = f"{sys.executable} -m consistency_tta"
    words = [program if word == "PROGRAM" else word for word in command]
    return subprocess.run(" ".join(words), shell=True, capture_output=True, text=True, check=False, **options)


@pytest.mark.parametrize(
    ("command", "status", "error", "unbuffered"),
    [
        (["PROGRAM", "--help", "|", "true;", "exit", "${PIPESTATUS[0]}"], 141, "", ""),
        (["PROGRAM", "--help", "|", "true;", "exit", "${PIPESTATUS[0]}"], 141, "", "1"),
        (["PROGRAM", "--help", ">&-", "<&-"], 0, "", ""),
        (["PROGRAM", "--help", "2>&-"], 0, "", ""),
        (
            ["mkdir", "gone;", "cd", "gone;", "rmdir", "../gone;", "PROGRAM", "--help"],
            1,
            "error: expected a folder",
            "",
        ),
    ],
    ids=["pipe", "unbuffered-pipe", "closed", "no-errors", "no-folder"],
)
def test_a_process_without_a_place_for_its_words_ends_without_a_traceback(
    command: list[str], status: int, error: str, unbuffered: str, tmp_path: Path
) -> None:
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1]), "PYTHONUNBUFFERED": unbuffered}
    ended = console_ends(command, cwd=tmp_path, executable="/bin/bash", env=environment)
    assert ended.returncode == status
    assert ended.stderr.startswith(error)
    assert len(ended.stderr.splitlines()) == bool(error)


def test_what_the_outputs_encoding_lacks_is_spelled_out(monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="ascii"))
    monkeypatch.setattr("consistency_tta.cli.main", lambda: print("caf\xe9 \u72d7", "a\udcff.wav"))
    console()
    assert written.getvalue().decode("ascii").split() == ["caf\\xe9", "\\u72d7", "a\\udcff.wav"]


def test_names_are_utf8_where_the_locale_says_ascii(tmp_path: Path) -> None:
    ascii_only = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    ended = console_ends(["PROGRAM", "recipes", "copy", "caf\xe9", "x"], cwd=tmp_path, env=os.environ | ascii_only)
    assert ended.returncode == 1
    assert "got caf\xe9:" in ended.stderr


def test_words_that_are_no_text_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["generate", "A tone", "--output", "out\udcff"])
    assert r"b'out\xff'" in capsys.readouterr().err


def test_predict_writes_wav_files(teacher_folder: Path, tmp_path: Path) -> None:
    config = write(distillation_config(teacher_folder, tmp_path), tmp_path / "config.yaml")
    main(["predict", "--config", config])
    assert sorted(path.name for path in tmp_path.rglob("predictions/*.wav")) == ["test_0.wav", "test_1.wav"]


@pytest.mark.long
def test_two_processes_equal_one_with_twice_the_batch(teacher_folder: Path, tmp_path: Path) -> None:
    """Eight steps over two epochs; data, times, guidance scales and noise are the same, so the losses are."""
    single = write(distillation_config(teacher_folder, tmp_path / "one"), tmp_path / "one.yaml")
    main(["fit", "--config", single])
    double = distillation_config(teacher_folder, tmp_path / "two", devices=2, strategy="ddp")
    double["data"]["init_args"]["batch_size"] = 2
    command = [sys.executable, "-m", "consistency_tta", "fit", "--config", write(double, tmp_path / "two.yaml")]
    run = subprocess.run(
        command, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=240, check=False
    )
    assert run.returncode == 0, run.stderr[-3000:]
    one, two = losses(tmp_path / "one"), losses(tmp_path / "two")
    assert len(one) == 8
    assert one == pytest.approx(two, rel=2e-5)


def test_generate_sweep_ends_with_the_command_that_replaced_it() -> None:
    options = ["--captions", "a.csv", "--model", "tiny-student", "--judge.clap", "x"]
    command = "consistency-tta sweep steps=1,2 seed=0 --captions a.csv --model tiny-student --evaluator.clap x"
    with pytest.raises(SystemExit, match=re.escape(command)):
        main(["generate", *options[:2], "--sweep", "steps=1,2", "seed=0", *options[2:]])

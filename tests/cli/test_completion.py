"""Shell completion: every subcommand and option, read from source, against what is imported; and in Bash itself."""

from __future__ import annotations

import dataclasses
import inspect
import re
import subprocess
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

import pytest
from jsonargparse import ArgumentParser as JsonArgumentParser
from lightning.pytorch import Trainer

import consistency_tta.datamodules as datamodules
import consistency_tta.training as training
from consistency_tta.cli import main
from consistency_tta.cli.class_options import arguments, exported_classes
from consistency_tta.cli.commands import COMMANDS, LIGHTNING
from consistency_tta.cli.completion import DATAMODULES, TRAININGS, program_parser
from consistency_tta.cli.signature import option_names
from consistency_tta.encoding.trajectories import TeacherConfig
from consistency_tta.storage.recipes import recipes
from consistency_tta.training.base import TrainingModule

#: Prints what Bash offers for the last word of each command line.
BASH = """
source "$1"; shift
for line in "$@"; do
    read -ra COMP_WORDS <<< "$line"
    [[ $line == *" " ]] && COMP_WORDS+=("")
    COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
    COMPREPLY=()
    function=$(complete -p consistency-tta | sed 's/.*-F \\([^ ]*\\).*/\\1/')
    $function consistency-tta "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD-1]}"
    echo "${COMPREPLY[@]}"
done
"""


def subparsers(parser: ArgumentParser) -> dict[str, ArgumentParser]:
    for action in parser._actions:
        if isinstance(action.choices, dict):
            return dict(action.choices)
    return {}


@pytest.fixture(scope="module")
def parser() -> ArgumentParser:
    return program_parser()


def options_of(parser: ArgumentParser, command: str) -> set[str]:
    for word in command.split():
        parser = subparsers(parser)[word]
    return {option for action in parser._actions for option in [*action.option_strings, action.dest]}


@pytest.mark.parametrize("name", COMMANDS)
def test_own_subcommands_have_their_options(name: str, parser: ArgumentParser) -> None:
    found = {option.removeprefix("--") for option in options_of(parser, name)}
    known = option_names(COMMANDS[name]) - {"trainer"}  # whose options are those inside of it alone
    assert known | {"config", "help"} <= found


@pytest.mark.parametrize("name", LIGHTNING)
def test_lightnings_subcommands_have_those_of_trainer_model_and_data(name: str, parser: ArgumentParser) -> None:
    found = options_of(parser, name)
    assert {f"--trainer.{argument}" for argument in inspect.signature(Trainer).parameters} <= found
    for kind in (training.Distillation, training.LatentDiffusion):
        assert {f"--model.{argument}" for argument in inspect.signature(kind).parameters} <= found
    assert {f"--model.student.{field.name}" for field in dataclasses.fields(training.StudentConfig)} <= found
    assert {f"--data.{argument}" for argument in inspect.signature(datamodules.LatentsDataModule).parameters} <= found
    assert {"--config", "--seed_everything", "--ckpt_path"} <= found


def test_options_inside_of_an_option(parser: ArgumentParser) -> None:
    found = options_of(parser, "encode")
    assert {f"--teacher.{field.name}" for field in dataclasses.fields(TeacherConfig)} <= found


@pytest.mark.parametrize(("package", "place"), [(training, TRAININGS), (datamodules, DATAMODULES)])
def test_classes_and_their_arguments_are_those_that_are_imported(package: Any, place: tuple[str, set[str]]) -> None:
    found = exported_classes(*place)
    bases = (TrainingModule, datamodules.ResumableDataModule)
    assert set(found) == {
        name
        for name in package.__all__
        if inspect.isclass(getattr(package, name)) and issubclass(getattr(package, name), bases)
    }
    for name, (module, node) in found.items():
        parsed = JsonArgumentParser()
        parsed.add_class_arguments(getattr(package, name), as_group=False)
        options = {option for action in parsed._actions for option in action.option_strings if option[:2] == "--"}
        names = {re.split(r"[.+]", option)[0] for option in options} - {"--help"}
        assert {f"--{argument}" for argument in arguments(module, node)} == names, name


def test_bash_completes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["completion", "bash"])
    script = tmp_path / "script"
    script.write_text(capsys.readouterr().out)
    expected = {
        "consistency-tta gen": {"generate"},
        "consistency-tta listening-test ": {"make", "serve", "analyse"},
        "consistency-tta fit --config tiny/": {name for name in recipes() if name.startswith("tiny/")},
        "consistency-tta fit --config tiny/demo --trainer.max_s": {"--trainer.max_steps"},
        "consistency-tta generate x --model tiny-": {"tiny-student", "tiny-teacher"},
        "consistency-tta convert ": {"tango", "audioldm", "consistencytta", "stable-audio", "tangoflux"},
    }
    run = ["bash", "-c", BASH, "bash", str(script), *expected]
    done = subprocess.run(run, cwd=tmp_path, check=True, capture_output=True, text=True)
    assert [set(line.split()) for line in done.stdout.splitlines()] == list(expected.values())


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_have_a_script(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    main(["completion", shell])
    script = capsys.readouterr().out
    for word in ("data-check", "trainer.max_steps", "tiny/consistency", "tiny-student", "analyse"):
        assert word in script

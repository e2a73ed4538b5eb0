"""The table of subcommands against the functions and Lightning's own subcommands."""

from __future__ import annotations

import inspect
import re
from importlib import import_module

import pytest
from lightning.pytorch import Trainer
from lightning.pytorch.cli import LightningCLI

from consistency_tta.cli.commands import COMMANDS, LIGHTNING, LIGHTNING_OPTIONS, OTHER_NAMES, first_words
from consistency_tta.cli.own_commands import load
from consistency_tta.cli.quick_help import quick_help
from consistency_tta.cli.signature import option_names, summary


def test_lightnings_subcommands_are_those_of_the_installed_version() -> None:
    assert set(LIGHTNING) == set(LightningCLI.subcommands())
    for name, left_out in LightningCLI.subcommands().items():
        parameters = inspect.signature(getattr(Trainer, name)).parameters
        assert LIGHTNING_OPTIONS[name] == set(parameters) - left_out - {"self"}


@pytest.mark.parametrize("name", COMMANDS)
def test_the_source_says_what_the_function_says(name: str) -> None:
    command = COMMANDS[name]
    function = getattr(import_module(command.module), command.function)
    assert option_names(command) == set(inspect.signature(function).parameters)
    assert summary(command) == inspect.getdoc(function).split("\n")[0].replace("``", "`")


@pytest.mark.parametrize("name", COMMANDS)
def test_quick_help_has_the_parsers_options(name: str) -> None:
    _, parser = load(name, COMMANDS[name])
    text = quick_help(name, COMMANDS[name])
    if text is None:
        assert re.search(r"--(evaluator\.clap|data|mode)\b", parser.format_help())
    else:
        actions = [action for action in parser._actions if action.dest != "print_config"]
        options = {option for action in actions for option in action.option_strings}
        if COMMANDS[name].trainer:  # whose options only `fit --help` has
            options = {option for option in options if not option.startswith("--trainer.")}
        assert options <= set(re.findall(r"--?[\w.-]+\+?", text))
        required = [action for action in actions if action.required and action.option_strings]
        assert " ".join(text.split()).count("(required, type:") == len(required)


def test_other_names_are_of_subcommands() -> None:
    assert set(OTHER_NAMES.values()) <= set(first_words())
    assert not set(OTHER_NAMES) & set(first_words())

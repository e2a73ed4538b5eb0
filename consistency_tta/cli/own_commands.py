"""Runs one of this project's own subcommands: a function, whose signature makes the parser."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from typing import Any

from jsonargparse import ActionConfigFile

from consistency_tta.cli.commands import COMMANDS, Command
from consistency_tta.cli.config_files import check_yaml, find_recipes, refuse_address
from consistency_tta.cli.mistakes import check_assignments, check_options, refuse_generate_sweep
from consistency_tta.cli.parser import Parser, set_up_parsing
from consistency_tta.cli.plugins import load_generation_plugins, load_plugins
from consistency_tta.cli.quick_help import CONFIG, quick_help
from consistency_tta.cli.signature import option_names, summary
from consistency_tta.cli.user_errors import one_line_errors
from consistency_tta.runtime.option_order import check_order
from consistency_tta.runtime.quiet import hide_loading_bars
from consistency_tta.storage.recipes import is_file


def run(name: str, args: list[str]) -> Any:
    """Check and parse the arguments of a subcommand, and call its function."""
    command = COMMANDS[name]
    known = option_names(command) | {argument.lstrip("-") for argument in command.arguments}
    if name == "generate":
        refuse_generate_sweep(args)
        args = [word if word.startswith("--") else escape_interpolation(word) for word in args]
    if not {"settings", "--systems"} & command.arguments.keys():  # whose values are assignments
        check_assignments(args, known)
    check_options(args, known | {"config", "help", "print_config"}, f"consistency-tta {name} --help")
    if args in (["-h"], ["--help"]) and (text := quick_help(name, command)):
        sys.stdout.write(text)
        raise SystemExit(0)
    for file in config_files(args):
        refuse_address(str(file))
        if is_file(str(file)):  # others are recipes, or the parser's to refuse
            check_yaml(file)
    if command.surroundings is not None:
        args = find_recipes(args)
    check_order(args)
    function, parser = load(name, command)
    hide_loading_bars()
    with one_line_errors():
        parsed = parser.parse_args(args)
        with surroundings(command, parser, args):
            settings = parser.instantiate(parsed).as_dict()
            settings.pop("config", None)
            return function(**settings)


def load(name: str, command: Command) -> tuple[Callable[..., Any], Parser]:
    """Import the function of a subcommand, and make its parser."""
    set_up_parsing()
    parser_class = Parser
    if command.lightning:
        from consistency_tta.cli.training_cli import TrainingParser

        parser_class = TrainingParser
        load_plugins()
    elif not command.plain:
        load_generation_plugins()
    function = getattr(import_module(command.module), command.function)
    parser = parser_class(prog=f"consistency-tta {name}", description=summary(command))
    for argument, options in command.arguments.items():
        parser.add_argument(argument, **options)
    parser.add_argument("-c", "--config", action=ActionConfigFile, help=CONFIG)
    skip: set[str | int] = {*command.argument_names}
    if command.trainer:
        from lightning.pytorch import Trainer

        parser.add_class_arguments(Trainer, "trainer", fail_untyped=False, instantiate=False)
        skip.add("trainer")
    parser.add_function_arguments(function, skip=skip or None)
    return function, parser


def surroundings(command: Command, parser: Parser, args: list[str]) -> AbstractContextManager[Any]:
    """Within which a subcommand's arguments become objects and its function runs."""
    if command.surroundings is None:
        return nullcontext()
    return getattr(import_module(command.module), command.surroundings)(parser, config_files(args))


def config_files(args: list[str]) -> list[Path]:
    """The files that the option ``--config`` names."""
    joined = [match[1] for word in args if (match := re.fullmatch(r"(?:--config=|-c=?)(.+)", word))]
    return [Path(value) for word, value in pairwise(args) if word in ("-c", "--config")] + list(map(Path, joined))


def escape_interpolation(text: str) -> str:
    """Text in which the parser's ``${...}`` stays as it is, for captions; k backslashes before it stay k."""
    return re.sub(r"(\\*)\$\{", r"\1\1\\${", text)

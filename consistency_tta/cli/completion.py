"""The subcommand ``completion``: a script that completes subcommands and options in a shell.

All options are read from source, so that the script is written without importing torch or Lightning.
"""

from __future__ import annotations

import ast
from argparse import ArgumentParser
from collections.abc import Iterable
from typing import Any, Literal

from consistency_tta.cli.class_options import class_options, exported_classes, find_class, nested_options
from consistency_tta.cli.commands import COMMANDS, LIGHTNING, LIGHTNING_OPTIONS, Command
from consistency_tta.cli.signature import definition, summary
from consistency_tta.storage.bundled import bundled_models
from consistency_tta.storage.recipes import recipes

PROGRAM = "consistency-tta"
TRAININGS = ("consistency_tta.training", {"TrainingModule"})
DATAMODULES = ("consistency_tta.datamodules", {"ResumableDataModule", "LightningDataModule"})
#: Arguments whose value is a class that is chosen, and the classes there are.
CHOSEN = {"TrainingModule": TRAININGS, "LightningDataModule": DATAMODULES}


def completion(shell: Literal["bash", "zsh", "fish"]) -> str:
    """Print a script that completes subcommands, options, recipes and bundled models in a shell.

    Args:
        shell: bash, zsh or fish.

    Returns:
        The script.
    """
    import shtab

    script = shtab.complete(program_parser(), shell)
    print(script)
    return script


def program_parser() -> ArgumentParser:
    """A parser with all subcommands and options; it completes, and parses nothing."""
    parser = ArgumentParser(PROGRAM)
    parser.add_argument("--version", action="store_true", help="print the version")
    subcommands = parser.add_subparsers()
    parsers: dict[str, ArgumentParser] = {}
    for name, text in LIGHTNING.items():
        lightning_options(subcommands.add_parser(name, help=text, description=text), name)
    inner: dict[str, Any] = {}
    for name, command in COMMANDS.items():
        first, _, second = name.partition(" ")
        if second and first not in inner:
            inner[first] = parsers[first].add_subparsers()
        text = summary(command)
        parsers[name] = (inner[first] if second else subcommands).add_parser(
            second or first, help=text, description=text
        )
        own_options(parsers[name], command)
    return parser


def lightning_options(parser: ArgumentParser, name: str) -> None:
    """The options of one of Lightning's subcommands."""
    from shtab import FILE

    add(parser, "config", complete=recipe_or_file())
    for option in sorted(LIGHTNING_OPTIONS[name] | {"seed_everything", "print_config"}):
        add(parser, option, complete=FILE if option.endswith("path") else None)
    for option, kind in (("model", "TrainingModule"), ("data", "LightningDataModule")):
        add_chosen(parser, option, kind)
    add_trainer(parser)


def own_options(parser: ArgumentParser, command: Command) -> None:
    """The options of one of this project's own subcommands."""
    from shtab import FILE

    for name, options in command.arguments.items():
        action = parser.add_argument(name, **options)
        if "choices" not in options:
            action.complete = FILE  # type: ignore[attr-defined]
    add(parser, "config", complete=recipe_or_file() if command.surroundings else FILE)
    add(parser, "print_config")
    function = definition(command)
    for argument in (*function.args.args, *function.args.kwonlyargs):
        if not {argument.arg, f"--{argument.arg}"} & set(command.arguments):
            add_argument(parser, argument.arg, argument.annotation, command.module)


def add_argument(parser: ArgumentParser, name: str, annotation: ast.expr | None, module: str) -> None:
    """The option of an argument, and those inside of it."""
    text = ast.unparse(annotation) if annotation else ""
    if text in CHOSEN:
        add_chosen(parser, name, text)
    elif name == "trainer":
        add_trainer(parser)
    else:
        add_typed(parser, name, annotation)
        add_all(parser, nested_options(name, module, annotation))


def add_chosen(parser: ArgumentParser, name: str, base: str) -> None:
    """The option of a class that is chosen, and the arguments of all classes that may be."""
    found = exported_classes(*CHOSEN[base])
    add(parser, name, choices=sorted(found))
    options = {option: kind for one in found.values() for option, kind in class_options(name, *one)}
    add_all(parser, options.items())


def add_trainer(parser: ArgumentParser) -> None:
    """The options of Lightning's trainer."""
    trainer = find_class("lightning.pytorch.trainer.trainer", "Trainer")
    add_all(parser, class_options("trainer", *trainer, depth=0) if trainer else ())


def add_all(parser: ArgumentParser, options: Iterable[tuple[str, ast.expr | None]]) -> None:
    """Options with their annotations."""
    for name, annotation in options:
        add_typed(parser, name, annotation)


def add_typed(parser: ArgumentParser, name: str, annotation: ast.expr | None) -> None:
    """An option whose values follow from its annotation or its name."""
    from shtab import FILE

    text = ast.unparse(annotation) if annotation else ""
    choices: list[str] | None = ["true", "false"] if text == "bool" else None
    if text.startswith("Literal["):
        choices = [str(node.value) for node in ast.walk(annotation or ast.Name("")) if isinstance(node, ast.Constant)]
    paths = "Path" in text or name.endswith(("folder", "captions"))
    add(parser, name, choices=choices, complete=model_or_file() if name == "model" else FILE if paths else None)


def add(parser: ArgumentParser, name: str, choices: list[str] | None = None, complete: Any = None) -> None:
    """An option."""
    action = parser.add_argument(f"--{name}", choices=choices, metavar=name.rpartition(".")[2].upper(), help="")
    if complete:
        action.complete = complete  # type: ignore[attr-defined]


def recipe_or_file() -> dict[str, Any]:
    """Completes the name of a recipe or of a file."""
    return words_or_file("recipe", list(recipes()))


def model_or_file() -> dict[str, Any]:
    """Completes the name of a bundled model or of a folder."""
    return words_or_file("model", bundled_models())


def words_or_file(kind: str, words: list[str]) -> dict[str, Any]:
    """Completes words, and files; in the forms of shtab's ``complete``."""
    function, joined = f"_consistency_tta_{kind}", " ".join(words)
    return {
        "bash": function,
        "zsh": f"{{_files; compadd {joined}}}",
        "fish": f"({function})",
        "preamble": {
            "bash": f'{function}() {{ compgen -W "{joined}" -- "$1"; compgen -f -- "$1"; }}',
            "fish": f'function {function}\n  printf "%s\\n" {joined}\n  __fish_complete_path (commandline -ct)\nend',
        },
    }

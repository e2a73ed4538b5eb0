"""Options of Lightning's subcommands, read from source: ``--help``, and wrong ones of the model, data and trainer."""

from __future__ import annotations

import ast
import re
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from functools import cache
from itertools import takewhile
from pathlib import Path
from typing import Any

import docstring_parser
import yaml

from consistency_tta.cli.class_options import DEPTH, class_options, exported_classes, find_class, syntax_tree
from consistency_tta.cli.commands import LIGHTNING, LIGHTNING_OPTIONS
from consistency_tta.cli.completion import DATAMODULES, TRAININGS
from consistency_tta.cli.mistakes import refuse
from consistency_tta.runtime.suggest import nearest
from consistency_tta.storage.recipes import is_file

#: Where the classes of an argument that is a chosen class are exported, and the bases that they have.
CHOSEN = {"model": TRAININGS, "data": DATAMODULES}
#: Keys that every argument with a class has.
KEYS = {"class_path", "init_args", "dict_kwargs", "help"}
#: Bases whose constructors take nothing that an option could set.
PLAIN_BASES = {"LightningModule", "LightningDataModule", "Module", "ABC"}
LINES = {
    "config": "a YAML file, or the name of a recipe; a later one is laid over those before",
    "print_config": "print the configuration and exit",
    "seed_everything": "of all random numbers (default: 0)",
    "ckpt_path": "a checkpoint to go on from: a file, last, or auto",
    "weights_only": "how the checkpoint is read; leave it as it is",
    "verbose": "print the metrics",
    "return_predictions": "keep the predictions in memory",
}


def wants_help(args: list[str]) -> bool:
    """Whether ``--help`` is among the options."""
    return any(word in ("-h", "--help") for word in takewhile(lambda word: word != "--", args))


def check_nested(args: list[str]) -> None:
    """Exit with 2 where an option below the trainer, or a class of this project, is not there and another is like it.

    Everything else is left to the parser, which also knows the classes of others.
    """
    known = {option: _known(option, args) for option in ("model", "data", "trainer")}
    for word in takewhile(lambda word: word != "--", args[1:]):
        option, *names = re.split(r"[=+]", word.removeprefix("--"), maxsplit=1)[0].split(".")
        if not word.startswith("--") or not names or not (options := known.get(option)):
            continue
        path = option
        for name in (name for name in names if name != "init_args"):
            there = {one[len(path) + 1 :].partition(".")[0] for one in options if one.startswith(f"{path}.")}
            if not there or name in KEYS:
                break
            if name not in there:
                if name not in _moved_names() and (near := nearest(name, there)):
                    wrong = word.partition("=")[0]
                    refuse(
                        f"unrecognized arguments: {wrong}: '{name}' is not known: did you mean '{near}'?",
                        f"consistency-tta {args[0]} --help",
                    )
                break
            path += f".{name}"


def lightning_help(args: list[str]) -> str:
    """The text of ``fit --help`` and of the others, with the options of the classes that files or options name."""
    subcommand = args[0]
    parser = ArgumentParser(
        prog=f"consistency-tta {subcommand}",
        usage=f"consistency-tta {subcommand} --config RECIPE [options]",
        description=LIGHTNING[subcommand],
        epilog="consistency-tta recipes lists the recipes.",
        formatter_class=RawDescriptionHelpFormatter,
    )
    for name in ("config", "print_config", "seed_everything", *sorted(LIGHTNING_OPTIONS[subcommand])):
        parser.add_argument(*(["-c"] if name == "config" else []), f"--{name}", help=LINES[name])
    for option, (package, bases) in CHOSEN.items():
        names = ", ".join(sorted(exported_classes(package, bases)))
        chosen = chosen_class(option, args)
        of = f" of {chosen[1].name}" if chosen else "; with --config, those of its class follow"
        group = parser.add_argument_group(option, f"The options{of}.")
        group.add_argument(f"--{option}", metavar="CLASS", help=f"{names}, or a class of yours by its full name")
        group.add_argument(f"--{option}.help", metavar="CLASS", help="print a class's arguments and exit")
        if chosen:
            _add(group, option, *chosen)
    group = parser.add_argument_group("trainer", "Lightning's trainer.")
    _add(group, "trainer", *_trainer())
    return parser.format_help()


def chosen_class(option: str, args: list[str]) -> tuple[str, ast.ClassDef] | None:
    """The class of the model or the data that the command line, or else its last file with one, names.

    None where there is none, or it is none of this project.
    """
    path = ""
    for before, word in zip(["", *args], args, strict=False):
        name, equals, value = word.partition("=")
        given = value if equals else word
        if (name if equals else before) in ("-c", "--config"):
            path = _class_of_file(given, option) or path
    for before, word in zip(["", *args], args, strict=False):
        name, equals, value = word.partition("=")
        if (name if equals else before) in (f"--{option}", f"--{option}.class_path"):
            path = value if equals else word
    module, _, name = path.rpartition(".")
    module = module or CHOSEN[option][0]
    if not re.fullmatch(r"consistency_tta(\.\w+)+", module) or not name.isidentifier():
        return None
    try:
        return find_class(module, name)
    except (FileNotFoundError, ModuleNotFoundError):
        return None


def _class_of_file(file: str, option: str) -> str:
    """The class that a configuration file names; empty if there is none."""
    if not is_file(file):
        return ""
    part = (yaml.safe_load(Path(file).read_text(encoding="utf-8")) or {}).get(option)
    found = part.get("class_path") if isinstance(part, dict) else part
    return found if isinstance(found, str) else ""


def _known(option: str, args: list[str]) -> set[str]:
    """All options below an argument; none where they cannot be known from source."""
    chosen = _trainer() if option == "trainer" else chosen_class(option, args)
    if chosen is None or not (option == "trainer" or _complete(*chosen)):
        return set()
    return {name for name, _ in class_options(option, *chosen, depth=0 if option == "trainer" else DEPTH)}


def _complete(module: str, node: ast.ClassDef) -> bool:
    """Whether the source of a class, and of those that it hands arguments to, has all its constructor's arguments."""
    own = next((part for part in node.body if isinstance(part, ast.FunctionDef) and part.name == "__init__"), None)
    if own is not None and own.args.kwarg is None:
        return True
    bases = {ast.unparse(base).rpartition(".")[2]: find_class(module, ast.unparse(base)) for base in node.bases}
    return all(name in PLAIN_BASES or (found is not None and _complete(*found)) for name, found in bases.items())


@cache
def _moved_names() -> frozenset[str]:
    """Arguments of version 0.1, whose new places the parser's message has."""
    tree = syntax_tree("consistency_tta.training.earlier_versions")
    return frozenset(str(node.value) for node in ast.walk(tree) if isinstance(node, ast.Constant))


@cache
def _trainer() -> tuple[str, ast.ClassDef]:
    found = find_class("lightning.pytorch.trainer.trainer", "Trainer")
    assert found is not None  # an older Lightning would have another file, and is refused by the package's bounds
    return found


def _add(group: Any, option: str, module: str, node: ast.ClassDef) -> None:
    """The options of a class, with what its docstring says of them."""
    own = next((part for part in node.body if isinstance(part, ast.FunctionDef) and part.name == "__init__"), node)
    text = (ast.get_docstring(node) or "") if option != "trainer" else (ast.get_docstring(own) or "")
    described = {one.arg_name: " ".join((one.description or "").split()) for one in docstring_parser.parse(text).params}
    for name, annotation in class_options(option, module, node, depth=0 if option == "trainer" else DEPTH):
        kind = ast.unparse(annotation).replace("None", "null") if annotation else ""
        said = described.get(name.removeprefix(f"{option}."), "")
        line = (f"{said} (type: {kind})" if kind else said).strip().replace("``", "`").replace("%", "%%")
        group.add_argument(f"--{name}", metavar=name.rpartition(".")[2].upper(), help=line)

"""``--help`` of an own subcommand without importing its function, where source and docstring say enough."""

from __future__ import annotations

import ast
from argparse import ArgumentParser
from typing import Any

import docstring_parser

from consistency_tta.cli.class_options import nested_options
from consistency_tta.cli.commands import Command
from consistency_tta.cli.signature import definition, summary

#: Names in the annotations of arguments that are one option each. Dataclasses are several.
SIMPLE = {"str", "int", "float", "bool", "list", "dict", "Any", "Path", "Literal"}
#: Those whose value is a class that must be chosen.
CHOSEN = {"TrainingModule", "LightningDataModule"}
CONFIG = "a YAML file with the options below"


def quick_help(name: str, command: Command) -> str | None:
    """The text of ``--help``; None where the parser of the imported function is needed for it."""
    function = definition(command)
    if function.args.posonlyargs or function.args.kwonlyargs:
        return None
    documented = docstring_parser.parse(ast.get_docstring(function) or "").params
    described = {parameter.arg_name: parameter.description or "" for parameter in documented}
    parser = ArgumentParser(prog=f"consistency-tta {name}", description=summary(command))
    for given_name, options in command.arguments.items():
        parser.add_argument(given_name, **options)
    parser.add_argument("-c", "--config", help=CONFIG)
    parser.add_argument("--print_config", nargs="?", metavar="FLAGS", help="print the configuration and exit")
    given = command.argument_names
    arguments = function.args.args
    required: list[ast.expr | None] = [None] * (len(arguments) - len(function.args.defaults))
    for argument, default in zip(arguments, [*required, *function.args.defaults], strict=True):
        if argument.arg in given:
            continue
        if argument.arg == "trainer" and command.trainer:
            line = "settings of Lightning's, such as --trainer.gradient_clip_val; `consistency-tta fit --help` has all"
            parser.add_argument("--trainer", metavar="SETTINGS", help=line)
            continue
        annotation = argument.annotation or ast.Name("str")
        nested = dict(nested_options(argument.arg, command.module, annotation))
        optional = isinstance(default, ast.Constant) and default.value is None
        if _names(annotation) - SIMPLE - CHOSEN and not nested and not optional:
            return None
        _add(parser, argument.arg, annotation, not nested, _option(argument.arg, annotation, default, described))
        for inner, kind in nested.items():
            kind = kind or ast.Name("str")
            whole = not any(other.startswith(f"{inner}.") for other in nested)
            _add(parser, inner, kind, whole, _option(inner.rpartition(".")[2], kind, None, {}))
    return parser.format_help()


def _names(annotation: ast.expr) -> set[str]:
    return {node.id for node in ast.walk(annotation) if isinstance(node, ast.Name)}


def _add(parser: ArgumentParser, name: str, annotation: ast.expr, whole: bool, option: dict[str, Any]) -> None:
    """An option; with ``.help`` where its value is a whole class, and with ``+``, one more, where it is a list."""
    if _names(annotation) - SIMPLE and whole:
        parser.add_argument(f"--{name}.help", metavar="CLASS", help="print a class's arguments and exit")
    flags = [f"--{name}", *([f"--{name}+"] if "list" in _names(annotation) else [])]
    parser.add_argument(*flags, **option)


def _option(name: str, annotation: ast.expr, default: ast.expr | None, described: dict[str, str]) -> dict[str, Any]:
    """Arguments of ``add_argument`` for one option."""
    kind = ast.unparse(annotation).replace("None", "null")
    value = default.args[0] if isinstance(default, ast.Call) and default.args else default  # of Path("out"): "out"
    shown = str(value.value) if isinstance(value, ast.Constant) else ast.unparse(value) if value else ""
    inside = name not in described  # a dataclass's own
    rest = f", default: {'null' if shown == 'None' else shown}" if default else ""
    note = f"({'' if default or inside else 'required, '}type: {kind}{rest})"
    text = f"{' '.join(described.get(name, '').split())} {note}".replace("``", "`").replace("%", "%%")
    metavar = "{true,false}" if kind == "bool" else name.upper()
    return {"required": default is None and not inside, "metavar": metavar, "help": text}

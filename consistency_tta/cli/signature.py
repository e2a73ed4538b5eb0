"""The options and the description of a subcommand, read from its source: importing it would import torch."""

from __future__ import annotations

import ast
from importlib.util import find_spec
from pathlib import Path

from consistency_tta.cli.commands import Command


def definition(command: Command) -> ast.FunctionDef:
    """The function of a subcommand as a syntax tree."""
    package, _, module = command.module.rpartition(".")
    spec = find_spec(package)  # imports what the package lies in, but not the package itself
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError(f"expected the package {package}, which is not installed")
    source = Path(spec.submodule_search_locations[0]) / f"{module}.py"
    for node in ast.parse(source.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef) and node.name == command.function:
            return node
    raise LookupError(f"expected a function {command.function} in {source}")


def summary(command: Command) -> str:
    """The first line of the function's docstring, for a terminal."""
    return (ast.get_docstring(definition(command)) or "").split("\n")[0].replace("``", "`")


def option_names(command: Command) -> set[str]:
    """Names of the function's arguments, without dashes."""
    arguments = definition(command).args
    return {argument.arg for argument in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)}

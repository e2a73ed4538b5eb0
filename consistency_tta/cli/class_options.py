"""The options of arguments that are classes, read from their source: importing it would import torch."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path

#: Dataclasses inside of dataclasses that options go into.
DEPTH = 3


def source_file(module: str) -> Path:
    """The file of a module of this package or of Lightning, found without importing a package that it lies in.

    Raises:
        ModuleNotFoundError: it is not there.
    """
    package, *inner = module.split(".")
    if package == "consistency_tta" and inner:
        package, inner = f"{package}.{inner[0]}", inner[1:]  # losses and datamodules lie elsewhere in a clone
    spec = find_spec(package)
    if spec is None:
        raise ModuleNotFoundError(f"expected the package {package}, which is not installed")
    if not spec.submodule_search_locations:
        return Path(str(spec.origin))
    path = Path(spec.submodule_search_locations[0]).joinpath(*inner)
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


@cache
def syntax_tree(module: str) -> ast.Module:
    """The source of a module."""
    return ast.parse(source_file(module).read_text(encoding="utf-8"))


@cache
def imports(module: str) -> dict[str, str]:
    """Names that a module imports with ``from``, and the modules they come from."""
    nodes = (node for node in ast.walk(syntax_tree(module)) if isinstance(node, ast.ImportFrom) and node.module)
    return {alias.name: str(node.module) for node in nodes for alias in node.names}


def find_class(module: str, name: str) -> tuple[str, ast.ClassDef] | None:
    """The module that defines a class, found from one that defines or imports it, and the class.

    None where it is of another package.
    """
    for node in syntax_tree(module).body:
        if isinstance(node, ast.ClassDef) and node.name == name:
            return module, node
    source = imports(module).get(name, "")
    return find_class(source, name) if source.startswith("consistency_tta.") else None


def is_dataclass(node: ast.ClassDef) -> bool:
    """Whether a class is a dataclass."""
    return any("dataclass" in ast.unparse(decorator) for decorator in node.decorator_list)


def arguments(module: str, node: ast.ClassDef) -> dict[str, ast.expr | None]:
    """Names and annotations of the arguments of a class's constructor, and of the base's to which it hands ``**``."""
    found: dict[str, ast.expr | None] = {}
    if is_dataclass(node):
        fields = (part for part in node.body if isinstance(part, ast.AnnAssign))
        return {ast.unparse(field.target): field.annotation for field in fields}
    own = next((part for part in node.body if isinstance(part, ast.FunctionDef) and part.name == "__init__"), None)
    if own is not None:
        found = {argument.arg: argument.annotation for argument in (*own.args.args, *own.args.kwonlyargs)[1:]}
    if own is None or own.args.kwarg is not None:
        parents = filter(None, (find_class(module, ast.unparse(base)) for base in node.bases))
        for parent in parents:
            found = found | {name: kind for name, kind in arguments(*parent).items() if name not in found}
    return found


def nested_options(
    option: str, module: str, annotation: ast.expr | None, depth: int = DEPTH
) -> Iterator[tuple[str, ast.expr | None]]:
    """Options inside of an argument, as ``student.guidance_scale`` of ``student``, where it is a dataclass.

    Args:
        option: the argument's name.
        module: where the annotation stands.
        annotation: of the argument.
        depth: of dataclasses inside of it.
    """
    names = {node.id for node in ast.walk(annotation) if isinstance(node, ast.Name)} if annotation and depth else set()
    for name in sorted(names):
        found = find_class(module, name)
        if found and is_dataclass(found[1]):
            yield from class_options(option, *found, depth - 1)


def class_options(
    option: str, module: str, node: ast.ClassDef, depth: int = DEPTH
) -> Iterator[tuple[str, ast.expr | None]]:
    """Options inside of an argument whose value is a class: its constructor's arguments, and those inside of them."""
    for name, annotation in arguments(module, node).items():
        yield f"{option}.{name}", annotation
        yield from nested_options(f"{option}.{name}", module, annotation, depth)


def exported_classes(package: str, bases: set[str]) -> dict[str, tuple[str, ast.ClassDef]]:
    """Classes that a package exports and that have one of the bases, directly or by way of classes of this package."""
    found = {name: find_class(package, name) for name in imports(package)}
    return {name: one for name, one in found.items() if one and _has_base(*one, bases)}


def _has_base(module: str, node: ast.ClassDef, bases: set[str]) -> bool:
    for name in (ast.unparse(base) for base in node.bases):
        parent = find_class(module, name) if name not in bases else None
        if name in bases or (parent and _has_base(*parent, bases)):
            return True
    return False

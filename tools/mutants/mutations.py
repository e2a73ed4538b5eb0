"""Single changes of a source file's functions, made on its syntax tree."""

from __future__ import annotations

import ast
import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

EXCHANGED: dict[type[ast.AST], type[ast.AST]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.And: ast.Or,
    ast.Or: ast.And,
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Pow: ast.Mult,
    ast.Mod: ast.Mult,
}
#: Methods whose result x.m(...) may be exchanged for x.
DROPPED = {"abs", "clamp", "clamp_max", "clamp_min", "clone", "detach", "double", "exp", "flip", "float", "log"}
DROPPED |= {"sqrt", "square", "to"}
#: Functions that do not depend on the order of their arguments, or fail at once with another.
UNORDERED = {"isinstance", "issubclass", "max", "min", "maximum", "minimum"}
#: Where nothing is changed: types, defaults and decorators, which are not in a body, and messages of errors.
KEPT = {"annotation", "returns", "decorator_list", "defaults", "kw_defaults", "exc", "format_spec"}


@dataclass(frozen=True)
class Mutant:
    """A changed file.

    Args:
        tree: the module with the change, until the next mutant is taken.
        lines: of the file, first and last: where the change is.
        change: what was changed, for people.
    """

    tree: ast.Module
    lines: tuple[int, int]
    change: str


def mutants(source: str) -> Iterator[Mutant]:
    """All mutants of a module's functions."""
    tree = ast.parse(source)
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    inner = {id(node) for function in functions for node in ast.walk(function) if node is not function}
    for function in functions:
        if id(function) not in inner:
            for statement in function.body:
                yield from _mutants_of(tree, function, "body", statement)


def _mutants_of(tree: ast.Module, parent: ast.AST, field: str, node: ast.AST) -> Iterator[Mutant]:
    """Mutants of a node, which is a field of its parent or in it, and of what is in the node."""
    if isinstance(node, ast.JoinedStr) or (isinstance(node, ast.keyword) and node.arg == "strict"):
        return
    value: Any = getattr(parent, field)
    for changed in _replacements(node):
        new = [changed if each is node else each for each in value] if isinstance(value, list) else changed
        setattr(parent, field, new)
        ast.fix_missing_locations(ast.copy_location(changed, node))
        # A condition is in its own lines, not in those that depend on it.
        place: Any = node.items[-1].context_expr if isinstance(node, ast.With) else getattr(node, "test", node)
        lines = (place.lineno, place.end_lineno)
        yield Mutant(tree, lines, f"{_text(node)} -> {_text(changed)}")
        setattr(parent, field, value)
    for inner_field, content in ast.iter_fields(node):
        for part in content if isinstance(content, list) else [content]:
            if inner_field not in KEPT and isinstance(part, ast.AST):
                yield from _mutants_of(tree, node, inner_field, part)


def _replacements(node: Any) -> Iterator[ast.AST]:
    """What may stand in the node's place."""
    match node:
        case ast.Compare(ops=[operator, *others]) if type(operator) in EXCHANGED:
            yield _with(node, ops=[EXCHANGED[type(operator)](), *others])
        case ast.BinOp(op=operator) | ast.BoolOp(op=operator) if type(operator) in EXCHANGED:
            yield _with(node, op=EXCHANGED[type(operator)]())
        case ast.UnaryOp():
            yield node.operand
        case ast.Constant(value=bool()):
            yield ast.Constant(not node.value)
        case ast.Constant(value=(int() | float()) as number):
            yield ast.Constant(number + 1)
        case ast.If() | ast.IfExp() | ast.While() if not _negated(node.test):
            yield _with(node, test=ast.UnaryOp(ast.Not(), node.test))
        case ast.With() if not any(item.optional_vars for item in node.items):
            yield ast.If(ast.Constant(True), node.body, [])
        case ast.Call():
            yield from _calls(node)
        case (
            ast.Raise()
            | ast.AugAssign()
            | ast.Expr(value=ast.Call())
            | ast.Assign(targets=[ast.Attribute() | ast.Subscript()])
        ):
            # Not `pass`: the function keeps its free variables, such as that of `super()`.
            yield ast.If(ast.Constant(False), [node], [])


def _calls(node: ast.Call) -> Iterator[ast.AST]:
    name = ast.unparse(node.func).rpartition(".")[2]
    if isinstance(node.func, ast.Attribute) and name in DROPPED:
        yield node.func.value
    if len(node.args) > 1 and name not in UNORDERED:
        yield _with(node, args=[node.args[1], node.args[0], *node.args[2:]])
    for index, keyword in enumerate(node.keywords):
        if keyword.arg != "strict":  # which guards against errors of our own
            yield _with(node, keywords=node.keywords[:index] + node.keywords[index + 1 :])


def _negated(test: ast.expr) -> bool:
    """Whether a mutant of the test itself is its negation, as of ``==`` and not of ``<``."""
    ordering = ast.Lt | ast.LtE | ast.Gt | ast.GtE
    return isinstance(test, ast.UnaryOp) or (isinstance(test, ast.Compare) and not isinstance(test.ops[0], ordering))


def _with(node: ast.AST, **fields: object) -> ast.AST:
    changed = copy.copy(node)
    vars(changed).update(fields)
    return changed


def _text(node: ast.AST) -> str:
    return " ".join(ast.unparse(node).split())

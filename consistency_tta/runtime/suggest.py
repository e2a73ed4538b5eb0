"""The nearest right key for a wrong one in a configuration."""

from __future__ import annotations

import difflib
import inspect
import re
import sys
from collections.abc import Iterable
from dataclasses import is_dataclass
from importlib import import_module
from typing import Any

#: How jsonargparse names what it does not know. Not `class '...'`, which is how it names the types it would accept.
UNKNOWN = re.compile(
    r"(?:[Oo]ption|[Kk]ey|attribute) '(?P<key>[\w.]+)'"
    r"|unrecognized arguments: --(?P<argument>[\w.-]+)"
    r"|option: --(?P<option>[\w.]+)"
    r"|dot import path string: (?P<name>\w+)"  # a class without its module
)
TYPE = re.compile(r"<class '([\w.]+)'>")
CLASS_PATH = re.compile(r"class_path '([\w.]+)'")


def suggest(message: str, known: Iterable[type], plugins: Iterable[type] = (), options: Iterable[str] = ()) -> str:
    """Add the nearest right key to a message about a wrong one.

    Args:
        message: an error message of jsonargparse.
        known: classes whose arguments may be meant, besides those the message names.
        plugins: base classes whose subclasses may be meant, besides the types the message names.
        options: of the command.

    Returns:
        The message, with "did you mean ...?" where something is near.
    """
    found = [part for match in UNKNOWN.finditer(message) for part in next(filter(None, match.groups())).split(".")]
    paths = CLASS_PATH.findall(message)
    candidates = {"model", "data", "trainer", "ckpt_path", "seed_everything", "class_path", "init_args", *options}
    for path in paths:
        candidates |= _names(path)
    for class_type in known:
        candidates |= _arguments(class_type)
    for base in (*map(_imported, TYPE.findall(message)), *plugins):
        candidates |= _subclasses(base)
    for wrong in dict.fromkeys(found):
        near = nearest(wrong, candidates)
        if near and wrong not in candidates:
            return f"{message}\n'{wrong}' is not known: did you mean '{near}'?"
    return message


def nearest(wrong: str, candidates: Iterable[str]) -> str | None:
    """The candidate that begins with a wrong word, or is most like it; None if there is none."""
    known, wrong = {_folded(candidate): candidate for candidate in sorted(candidates)}, _folded(wrong)
    if wrong in known:
        return known[wrong]
    if beginning := [candidate for word, candidate in known.items() if len(wrong) > 2 and word.startswith(wrong)]:
        return beginning[0]
    # One wrong letter, or two exchanged, is much of a short word: "roh" and "rho" are alike by 0.67.
    near = difflib.get_close_matches(wrong, known, 1, cutoff=0.65 if len(wrong) < 5 else 0.7)
    return known[near[0]] if near else None


def _folded(word: str) -> str:
    """A word without what is often written otherwise: capitals and dashes."""
    return word.replace("-", "_").lower()


def _names(class_path: str) -> set[str]:
    """Arguments of a class; where there is no such class, what its module has instead."""
    module_name, _, name = class_path.rpartition(".")
    try:
        module = import_module(module_name)
    except (ImportError, ValueError):
        return set()
    class_type = getattr(module, name, None)
    return _arguments(class_type) if isinstance(class_type, type) else {n for n in dir(module) if n[0].isupper()}


def _imported(class_path: str) -> type:
    """A class of a module that is imported, else the class of nothing."""
    module_name, _, name = class_path.rpartition(".")
    found = getattr(sys.modules.get(module_name), name, None)
    return found if isinstance(found, type) else type(None)


def _subclasses(base: type) -> set[str]:
    """Names of the classes of a type that have been imported, such as plugins."""
    derived: list[type] = base.__subclasses__()
    return {class_type.__name__ for class_type in derived}.union(*map(_subclasses, derived))


def _arguments(class_type: type) -> set[str]:
    """Names of the arguments of a class and of the dataclasses among their defaults."""
    parameters = inspect.signature(class_type).parameters.values()
    nested: set[str] = set()
    for parameter in parameters:
        if parameter.kind is parameter.VAR_KEYWORD:  # handed on to the class that this one derives from
            nested |= set().union(*(_arguments(base) for base in class_type.__bases__ if base is not object))
        if is_dataclass(default := _default(parameter)):
            nested |= _arguments(type(default))
    return {parameter.name for parameter in parameters} | nested


def _default(parameter: inspect.Parameter) -> Any:
    return None if parameter.default is parameter.empty else parameter.default

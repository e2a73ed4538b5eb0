"""Messages of jsonargparse, which take up to fourteen lines, in one."""

from __future__ import annotations

import re
from collections.abc import Collection

from consistency_tta.storage.text import filled_lines

KEY = re.compile(r'Parser key "(?P<key>[^"]+)":\s+')
EXPECTED = re.compile(r"^\s*(?:- )?Expected an? (?P<kind>.+?)(?:\. Got value: (?P<value>.*))?$", re.MULTILINE)
VALUE = re.compile(r"^\s*Given value: (?P<value>.*)", re.MULTILINE)
#: A value for an argument inside of an option, such as --model.objective.
NESTED = re.compile(r"NestedArg\(key='(?P<key>[^']*)', val='?(?P<value>.*?)'?\)")
REQUIRED = re.compile(r"the following arguments are required: (?P<names>.+)")
LITERAL = re.compile(r"typing\.Literal\[(.*)\]")
#: What a class said that could not be made, among the types tried in its place.
PROBLEM = re.compile(
    r"Problem with given class_path '(?P<name>[^']+)':\s+(?P<fault>.+?)(?=\n\s*- Expected|\nGiven value|$)", re.DOTALL
)
#: A class in a list, such as a callback, that lacks an argument.
LACKING = re.compile(r"class_path '(?P<name>[^']+)':\s+the following arguments are required: (?P<names>.+)")
#: The types tried, and the classes among them.
SUBTYPES = re.compile(r"Subtypes: \[(.*)\]")
CLASS = re.compile(r"\w+\.(\w+)\b(?!\.)")
#: A class that could not be taken; what follows is not about one of its arguments.
NO_CLASS = re.compile(r"Problem with given class_path '[^']+':\s+(?!\s|Parser key)")
#: Options that a class, or a dataclass, does not have.
NO_OPTIONS = re.compile("Problem with given class_path|(Option|Group) '.*' (is|does) not accept")
#: The first of the reasons why a value is of none of the types tried.
FIRST_FAULT = re.compile(r"Errors:\n\s*- (?P<fault>.+?)(?=\n\s*- |\nGiven value|$)", re.DOTALL)
#: How jsonargparse names types, and what users write.
KINDS = {"int": "a whole number", "float": "a number", "NoneType": "null", "str": "text", "bool": "true or false"}
A_CLASS, A_LIST = "the path of a class", "a list"


def unnest(message: str) -> str:
    """A message about a value inside of an option, as one about that option: ``--model.objective``, not ``--model``."""
    if all_found := list(NESTED.finditer(message)):  # the last has the whole path
        key = rf'Parser key "\g<key>.{all_found[-1]["key"]}":\n'
        message = KEY.sub(key, NESTED.sub(r"\g<value>", message), count=1)
    return message


def one_line(message: str, positional: Collection[str] = ()) -> str:
    """A message in one line: of a wrong value, what was expected and what came, without the types tried in vain.

    Args:
        message: of jsonargparse.
        positional: names of the command's arguments without dashes.
    """
    if lacking := LACKING.search(message):
        return f"expected a value for {lacking['names']} of {lacking['name']}, got none: specify it in its init_args"
    if key := KEY.search(message):
        tried = [found for found in EXPECTED.finditer(message) if not found["kind"].startswith("path but")]
        kinds = list(dict.fromkeys(_kind(found["kind"]) for found in tried))
        values = VALUE.findall(message) or [found["value"] for found in tried if found["value"] is not None]
        if (tried and {*kinds} <= {A_CLASS, A_LIST, "null"}) or NO_CLASS.match(_first_fault(message)):
            return _of_class(key["key"], message)
        if kinds and values:
            return f"expected {' or '.join(kinds)} for --{key['key']}, got {' '.join(values[-1].split())}"
    if required := REQUIRED.fullmatch(message.strip()):
        options = required["names"].split(", ")
        names = [name if name in positional else f"--{name.rpartition('.')[2]}" for name in options]
        of_recipes = ": recipes have it, such as --config tiny/demo" if "." in required["names"] else ""
        return f"expected a value for {' and '.join(names)}, got none{of_recipes}"
    return "; ".join(filled_lines(message))


def without_types(message: str) -> str:
    """A message of a class that could not be made, without the other types that were tried; any other as it is."""
    if not message.startswith("Does not validate against any of the Union"):
        return message
    if found := PROBLEM.search(message):
        return f"{found['name']}: {' '.join(found['fault'].split())}"
    first = FIRST_FAULT.search(message)
    return message if first is None else " ".join(first["fault"].split())


def _kind(kind: str) -> str:
    """A type as a user would name it."""
    if literal := LITERAL.fullmatch(kind):
        return f"one of {literal[1]}"
    if found := re.fullmatch(r"<class '(?:\w+\.)*(\w+)'>", kind):
        return KINDS.get(found[1], f"a {found[1]}")
    return A_CLASS if kind.startswith("dot import path string") else kind


def _of_class(key: str, message: str) -> str:
    """Of a value that is no class of the type expected: the type, and why not, where that says more."""
    fault = NO_CLASS.sub("", _first_fault(message))
    classes = CLASS.search((SUBTYPES.findall(message) or [""])[-1])
    wanted = "other options" if NO_OPTIONS.match(fault) else f"a class that is a {classes[1]}" if classes else "a class"
    value = (VALUE.findall(message) or [message.rpartition("dot import path string:")[2]])[-1]
    reason = " ".join(fault.rpartition("Parser key")[2].split())
    says_more = reason and not re.match("Import path|Expected a|Not a valid", reason)
    return f"expected {wanted} for --{key}, got {' '.join(value.split())}{f': {reason}' if says_more else ''}"


def _first_fault(message: str) -> str:
    """Why a value is not of the first of the types that were tried last."""
    found = FIRST_FAULT.search(message.rpartition("Subtypes:")[2])
    return found["fault"] if found else ""

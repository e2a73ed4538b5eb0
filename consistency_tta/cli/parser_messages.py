"""Messages of jsonargparse, which take up to fourteen lines, in one."""

from __future__ import annotations

import re

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
#: The first of the reasons why a value is of none of the types tried.
FIRST_FAULT = re.compile(r"Errors:\n\s*- (?P<fault>.+?)(?=\n\s*- |\nGiven value|$)", re.DOTALL)
#: How jsonargparse names types, and what users write.
KINDS = {"int": "a whole number", "float": "a number", "NoneType": "null", "str": "text", "bool": "true or false"}

#: A reason that names none of the types tried, such as a class of another kind, or code that fails when it is imported.
REASON = re.compile(r"^\s*- (?!Expected)(?P<fault>.+?)(?=\n\s*- |\n\s*Given value|\Z)", re.MULTILINE | re.DOTALL)


def unnest(message: str) -> str:
    """A message about a value inside of an option, as one about that option: ``--model.objective``, not ``--model``."""
    if found := NESTED.search(message):
        message = KEY.sub(rf'Parser key "\g<key>.{found["key"]}":\n', NESTED.sub(r"\g<value>", message))
    return message


def one_line(message: str) -> str:
    """A message in one line: of a wrong value, what was expected and what came, without the types tried in vain."""
    if lacking := LACKING.search(message):
        return f"expected a value for {lacking['names']} of {lacking['name']}, got none: specify it in its init_args"
    if key := KEY.search(message):
        tried = [found for found in EXPECTED.finditer(message) if not found["kind"].startswith("path but")]
        kinds = list(dict.fromkeys(_kind(found["kind"]) for found in tried))
        values = VALUE.findall(message) or [found["value"] for found in tried if found["value"] is not None]
        reasons = [" ".join(found["fault"].split()) for found in REASON.finditer(message)]
        if reasons and values and kinds in ([], ["null"]):
            return f"--{key['key']}: {'; '.join(reasons)}: correct {' '.join(values[-1].split())}"
        if kinds and values:
            return f"expected {' or '.join(kinds)} for --{key['key']}, got {' '.join(values[-1].split())}"
    if required := REQUIRED.fullmatch(message.strip()):
        names = [f"--{name.rpartition('.')[2]}" for name in required["names"].split(", ")]
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
    return "the path of a class" if kind.startswith("dot import path string") else kind

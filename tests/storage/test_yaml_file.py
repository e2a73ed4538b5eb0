"""YAML files that cannot be read as they were meant, each named."""

from __future__ import annotations

import itertools
import re
import time
from pathlib import Path

import pytest
import yaml

from consistency_tta.runtime.errors import DataError
from consistency_tta.storage.yaml_file import MOST_REPEATED, key_given_twice, read_yaml

#: Each line has ten times as many values as the one before.
BOMB = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join(10 * [f'*{before}'])}]\n" for before, name in itertools.pairwise("abcdefghij")
)
MISTAKES = {
    "line 10: a value has itself within": "\n" * 9 + "trainer: &a\n  callbacks: [*a]\n",
    f"at most {MOST_REPEATED:,} values": BOMB,
    "nested too deep": "a: " + 800 * "[" + 800 * "]",
    "a few levels of lists": f"a: '{800 * '['}'",  # a text that another reader may take for YAML
    "got some nested": "\n".join(" " * level + "a:" for level in range(1000)),
    "line 2: max_steps": "a: &a {max_steps: 1,\n max_steps: 2}\nb: *a",
    "python/object": "a: !!python/object/apply:os.system [touch ran]",
    "another document": "a: 1\n---\na: 1\n",
    "line 2, column 4": "a: 1\nb: @c\n",
    "not valid YAML": "a: \x07\n",
}


@pytest.mark.parametrize("said", MISTAKES)
def test_a_mistake_is_named_at_once(said: str, tmp_path: Path) -> None:
    file = tmp_path / "odd.yaml"
    file.write_text(MISTAKES[said])
    started = time.process_time()
    with pytest.raises(DataError, match=re.escape(said)) as refused:
        read_yaml(file)
    assert time.process_time() - started < 2
    assert str(refused.value).startswith(str(file))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "text",
    [
        "defaults: &d {max_steps: 1}\ntrainer: {<<: *d, devices: 1}\nother: {<<: *d}\n",
        "a: &a 1\nb: [*a, *a, {c: *a}]\n",
        "\ufeffa: 1\r\nb: 2\r\n",
        f"a: [{', '.join('x' for _ in range(1000))}]\n",
    ],
    ids=["merge", "aliases", "windows", "long"],
)
def test_options_with_aliases_are_taken(text: str, tmp_path: Path) -> None:
    file = tmp_path / "right.yaml"
    file.write_bytes(text.encode())
    read_yaml(file)


@pytest.mark.parametrize("more", [0, 1])
def test_aliases_may_repeat_so_many_values(more: int, tmp_path: Path) -> None:
    """`*a` stands for 99 values and the list itself."""
    file = tmp_path / "many.yaml"
    times = MOST_REPEATED // 100 + more
    file.write_text(f"a: &a [{', '.join(99 * ['x'])}]\nb: [{', '.join(times * ['*a'])}]\n")
    if more:
        with pytest.raises(DataError):
            read_yaml(file)
    else:
        read_yaml(file)


def test_keys_are_looked_for_in_all_values_once() -> None:
    lists = "? [a]\n: 1\n? [a]\n: 2\n"  # as keys: PyYAML refuses them with the line
    for text, key in (
        ("a: 1\nb: [{c: 1}, {c: 2}]", None),
        ("a: [[{b: {c: 1, d: 2, c: 3}}]]", "c"),
        (lists, None),
        ("a: &a [*a]", None),
        ("", None),
    ):
        found = key_given_twice(yaml.compose(text))
        assert (found and found.value) == key

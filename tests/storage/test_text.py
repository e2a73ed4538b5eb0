"""No source of the package splits text at characters that end no line."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from consistency_tta.runtime.errors import DataError
from consistency_tta.storage.shard_captions import ShardCaptions
from consistency_tta.storage.shards import captions_file, latents_file
from consistency_tta.storage.text import parse_json, read_text, split_lines

ROOT = Path(__file__).parents[2]


def test_nothing_calls_splitlines() -> None:
    rooms = ("consistency_tta", "datamodules", "losses", "tools")
    files = [file for room in rooms for file in (ROOT / room).rglob("*.py")]
    assert len(files) > 100
    found = [
        f"{file.relative_to(ROOT)}:{node.lineno}"
        for file in files
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute) and node.attr == "splitlines"
    ]
    assert not found, "use consistency_tta.storage.text.split_lines"


def test_lines_end_at_line_ends_alone() -> None:
    assert split_lines("a\x0b\x0c\u2028b\nc\r\nd\re\n") == ["a\x0b\x0c\u2028b", "c", "d", "e", ""]


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000, "{", "1" * 5000])
def test_what_is_no_json_names_its_place(text: str) -> None:
    with pytest.raises(DataError, match="some file") as caught:
        parse_json(text, "some file")
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "x.json, line 7: not valid JSON"),
        ("{\n", "x.json, line 7, line 2: not valid JSON"),
        ('{"a": 1, "b": {"c": 2, "d": 3, "d": 3}}', "got 'd' more than once"),
    ],
)
def test_a_fault_of_json_is_named_with_its_line_or_key(text: str, said: str) -> None:
    with pytest.raises(DataError, match=said):
        parse_json(text, "x.json, line 7")


@pytest.mark.parametrize(("content", "line"), [(b"\n\xff", 2), (b"\n\n\0", 3), (b"a\nb\xff\n", 2), (b"\0\n\n", 1)])
def test_bytes_that_are_no_text_are_named_with_their_line(content: bytes, line: int, tmp_path: Path) -> None:
    (tmp_path / "captions.txt").write_bytes(content)
    with pytest.raises(DataError, match=rf"captions\.txt, line {line}:"):
        read_text(tmp_path / "captions.txt")


@pytest.mark.parametrize("line", ['{"id": "b"}', "[]", "{", "[" * 100_000, '{"id": 3, "caption": "B"}'])
def test_a_damaged_line_of_a_shard_is_named(line: str, tmp_path: Path) -> None:
    latents = latents_file(tmp_path, 0)
    captions_file(latents).write_text(f'{{"id": "a", "caption": "A\u2028B\x85"}}\n\n{line}\n', encoding="utf-8")
    with pytest.raises(DataError, match=f"{captions_file(latents).name}, line 3"):
        ShardCaptions(captions_file(latents))[1]
    captions_file(latents).write_text('{"id": "a", "caption": "A\u2028B\x85"}\n', encoding="utf-8")
    assert list(ShardCaptions(captions_file(latents))) == [("A\u2028B\x85", "a")]

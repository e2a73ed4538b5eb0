"""Caption tables of any content are read as they were written, or refused with their name."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import example, given
from hypothesis import strategies as st

from consistency_tta.runtime.errors import DataError
from consistency_tta.storage.captions import read_clips, read_rows
from consistency_tta.storage.text import filled_lines, read_text
from tests.strategies import manifests


@given(manifests())
def test_every_caption_is_read_as_it_was_written(manifest: tuple[str, list[tuple[str, str]]]) -> None:
    text, rows = manifest
    with TemporaryDirectory() as folder:
        file = Path(folder, "captions")
        file.write_text(text, encoding="utf-8", newline="")
        found = [(row.name, row.caption) for row in read_rows(file)]
    assert found == [(name, caption.strip()) for name, caption in rows]


@given(
    st.binary(max_size=200) | st.text(max_size=200).map(lambda text: f"file,caption\n{text}".encode(errors="replace"))
)
@example(b"[" * 100_000)
@example(b'{"file": "a", "caption": ' + b"9" * 5000 + b"}")
@example(b'file,caption\na,"' + b"x" * 200_000)
@example(b"file,caption\n" + b"a," + b"x" * 200_000 + b"\n")
@example(b'[{"file": "a", "caption": "' + b"x" * 200_000 + b'"}]')
@example(b'{"id": {"path": []}, "caption": "x"}')
@example(b'{"youtube_id": "a", "start_time": 1e999, "caption": "x"}')
@example(b'{"youtube_id": "a", "start_time": "1e308", "caption": "x"}')
@example(b'{"file": "a", "start_time": {"a": [1]}, "end_time": "-inf", "caption": "x"}')
@example(b"\xef\xbb\xbffile,caption\r\na,b\r\n")
@example(b"")
def test_any_bytes_are_rows_or_an_error_that_names_the_file(content: bytes) -> None:
    with TemporaryDirectory() as folder:
        file = Path(folder, "captions.any")
        file.write_bytes(content)
        for read in (read_rows, read_clips, lambda path: filled_lines(read_text(path))):
            message = ""
            try:
                read(file)
            except DataError as error:
                message = str(error)
            assert not message or ("captions.any" in message and "\n" not in message)

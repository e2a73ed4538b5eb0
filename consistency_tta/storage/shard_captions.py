"""The captions of a shard of encoded clips: lines of a file, read one at a time."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from consistency_tta.runtime.errors import DataError
from consistency_tta.storage.text import parse_json


class ShardCaptions:
    """Lines ``{"id": ..., "caption": ...}`` of a file. Only their places are kept in memory, however many there are.

    Args:
        file: JSON lines in UTF-8; empty lines do not count.

    Raises:
        FileNotFoundError: it does not exist.
    """

    def __init__(self, file: Path) -> None:
        if not file.is_file():
            raise FileNotFoundError(f"expected captions of encoded clips in {file}, which does not exist: encode again")
        self.file = file
        content = np.frombuffer(file.read_bytes(), dtype=np.uint8)
        begins = np.concatenate([[0], np.flatnonzero(content == ord("\n")) + 1])
        begins = begins[begins < len(content)]
        self._begins = begins[content[begins] != ord("\n")]

    def __len__(self) -> int:
        return len(self._begins)

    def __getitem__(self, row: int) -> tuple[str, str]:
        """Caption and id of a clip.

        Raises:
            DataError: the line is no object with a caption and an id; its number is in the message.
        """
        with self.file.open("rb") as file:
            file.seek(self._begins[row])
            line = file.readline()
        try:
            text = line.decode("utf-8-sig")
        except UnicodeDecodeError:
            raise DataError(f"{self._place(row)}: expected UTF-8 text: encode again") from None
        try:
            fields = json.loads(text)
        except (ValueError, RecursionError):
            fields = parse_json(text, self._place(row))
        if not isinstance(fields, dict) or not all(isinstance(fields.get(key), str) for key in ("caption", "id")):
            raise DataError(
                f"{self._place(row)}: expected an object with caption and id, got {fields!s:.70}: encode again"
            )
        return fields["caption"], fields["id"]

    def _place(self, row: int) -> str:
        # Counting lines takes a moment for a large file, but no memory for all others.
        with self.file.open("rb") as file:
            line = file.read(self._begins[row]).count(b"\n") + 1
        return f"{self.file}, line {line}"

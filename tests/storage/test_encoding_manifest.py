"""What a folder's manifest must have, and what is the same command."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from consistency_tta.runtime.errors import DataError
from consistency_tta.storage.encoding_manifest import begin, parse_manifest

MANIFEST = {"shards": 3, "command": {"copies": 1}}


@pytest.mark.parametrize("form", [{}, {"format": "safetensors"}, {"format": "parquet"}])
def test_what_encode_writes_is_read(form: dict[str, str]) -> None:
    assert parse_manifest(json.dumps(MANIFEST | form), "encoding.json") == MANIFEST | form


@pytest.mark.parametrize("wrong", [{"shards": value} for value in (0, -1, True, 1.0, "3", None)])
def test_a_number_of_shards_that_none_has_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(DataError, match=r"encoding\.json: .*number of shards"):
        parse_manifest(json.dumps(MANIFEST | wrong), "encoding.json")


@pytest.mark.parametrize("wrong", ["arrow", None, ["parquet"]])
def test_an_unknown_format_is_refused(wrong: object) -> None:
    with pytest.raises(DataError, match=r"encoding\.json: expected the format safetensors or parquet"):
        parse_manifest(json.dumps(MANIFEST | {"format": wrong}), "encoding.json")


def test_a_folder_of_the_other_format_is_refused(tmp_path: Path) -> None:
    parquet = MANIFEST | {"format": "parquet"}
    for there, wanted, difference in (
        (MANIFEST, parquet, "format safetensors instead of parquet"),
        (parquet, MANIFEST, "format parquet instead of safetensors"),
    ):
        (tmp_path / "encoding.json").write_text(json.dumps(there))
        with pytest.raises(DataError, match=f"with {difference}: "):
            begin(tmp_path, wanted)
        begin(tmp_path, there)

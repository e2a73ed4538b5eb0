"""What a folder's manifest must have, and what is the same command."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from consistency_tta.runtime.errors import DataError
from consistency_tta.storage.encoding_manifest import begin, parse_manifest, read_manifest

MANIFEST = {"shards": 3, "command": {"copies": 1}}


@pytest.mark.parametrize("form", [{}, {"format": "safetensors"}, {"format": "parquet"}, {"shards": 1}])
def test_what_encode_writes_is_read(form: dict[str, Any]) -> None:
    assert parse_manifest(json.dumps(MANIFEST | form), "encoding.json") == MANIFEST | form


@pytest.mark.parametrize("wrong", [{"shards": value} for value in (0, -1, True, 1.0, "3", None)])
def test_a_number_of_shards_that_none_has_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(DataError, match=r"encoding\.json: .*number of shards"):
        parse_manifest(json.dumps(MANIFEST | wrong), "encoding.json")


@pytest.mark.parametrize("wrong", ["arrow", None, ["parquet"]])
def test_an_unknown_format_is_refused(wrong: object) -> None:
    with pytest.raises(DataError, match=r"encoding\.json: expected the format safetensors or parquet"):
        parse_manifest(json.dumps(MANIFEST | {"format": wrong}), "encoding.json")


def test_a_folder_says_by_which_command_it_was_begun_and_when(tmp_path: Path) -> None:
    before = datetime.now(UTC).replace(microsecond=0)
    begin(tmp_path / "new", MANIFEST)
    written = (tmp_path / "new" / "encoding.json").read_bytes()
    found = read_manifest(tmp_path / "new")
    assert found is not None
    assert before <= datetime.fromisoformat(found.pop("begun")) <= datetime.now(UTC)
    assert found == MANIFEST
    begin(tmp_path / "new", MANIFEST)  # as after an interruption
    assert (tmp_path / "new" / "encoding.json").read_bytes() == written


def test_latents_of_an_unknown_command_are_refused(tmp_path: Path) -> None:
    (tmp_path / "latents-00000.safetensors").touch()
    with pytest.raises(DataError, match=str(tmp_path)):
        begin(tmp_path, MANIFEST)
    assert not (tmp_path / "encoding.json").exists()


def test_networks_are_compared_by_their_checksums(tmp_path: Path) -> None:
    begin(tmp_path, MANIFEST | {"codec": {"model": "here", "sha256": "0123456789abcdef" * 4}})
    begin(tmp_path, MANIFEST | {"codec": {"model": "there", "sha256": "0123456789abcdef" * 4}})
    with pytest.raises(DataError, match=r"with codec\.sha256 01234567… instead of fedcba98…:"):
        begin(tmp_path, MANIFEST | {"codec": {"model": "here", "sha256": "fedcba9876543210" * 4}})


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

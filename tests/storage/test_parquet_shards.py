"""Shards as Parquet keep every number, and other programs read them."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

from consistency_tta.runtime.errors import DataError, MissingExtraError
from consistency_tta.storage.parquet_shards import ROWS, from_parquet, to_parquet

CLIPS = 2 * ROWS + 3  # in three groups of rows
CAPTIONS = ["A dog barks, \u2028 twice"] * CLIPS
IDS = [f"clip {number}" for number in range(CLIPS)]


@pytest.fixture(scope="module")
def tensors() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    lengths = torch.randint(1, 9, (CLIPS,), generator=generator)
    return {
        "moments": torch.randn(CLIPS, 4, 6, 2, generator=generator).half(),
        "text": torch.randn(int(lengths.sum()), 3, generator=generator).half(),
        "text_ends": lengths.cumsum(0),
        "audio": torch.randn(CLIPS, 5, generator=generator),
        "noise_seed": torch.randint(2**62, (CLIPS,), generator=generator),
        "guidance_scale": torch.rand(CLIPS, generator=generator),
    }


@pytest.fixture(scope="module")
def content(tensors: dict[str, Tensor]) -> bytes:
    return to_parquet(tensors, CAPTIONS, IDS)


def test_every_number_is_kept(tensors: dict[str, Tensor], content: bytes) -> None:
    found, captions, ids = from_parquet(content, "shard")
    assert found.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name], tensor)
    assert (captions, ids) == (CAPTIONS, IDS)


def test_the_package_datasets_reads_clips_in_their_shape(
    tensors: dict[str, Tensor], content: bytes, tmp_path: Path
) -> None:
    import datasets  # not installed in CI's job `minimum`

    (tmp_path / "latents-0000.parquet").write_bytes(content)
    files = str(tmp_path / "latents-*.parquet")
    rows = datasets.load_dataset("parquet", data_files=files, split="train", cache_dir=str(tmp_path / "cache"))
    clip = rows.with_format("torch")[ROWS + 1]
    assert (clip["id"], clip["caption"]) == (IDS[ROWS + 1], CAPTIONS[0])
    assert torch.equal(clip["moments"].half(), tensors["moments"][ROWS + 1])
    ends = tensors["text_ends"].tolist()
    assert torch.equal(clip["text"].half(), tensors["text"][ends[ROWS] : ends[ROWS + 1]])


@pytest.mark.parametrize(
    "damage",
    [lambda whole: whole[:-100], lambda whole: b"", lambda whole: whole[:300] + bytes([whole[300] ^ 1]) + whole[301:]],
    ids=["torn", "empty", "one bit"],
)
def test_a_damaged_file_is_named(damage, content: bytes) -> None:
    with pytest.raises(DataError, match=r"latents-7\.parquet"):
        from_parquet(damage(content), "latents-7.parquet")


def test_no_changed_bit_gives_other_numbers(tensors: dict[str, Tensor], content: bytes) -> None:
    whole, _, _ = from_parquet(content, "shard")
    refused = 0
    for place in range(5, len(content), len(content) // 50):
        try:
            found, captions, ids = from_parquet(
                content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :], "shard"
            )
        except DataError:
            refused += 1
        else:
            assert (captions, ids) == (CAPTIONS, IDS)
            assert all(torch.equal(found[name], tensor) for name, tensor in whole.items())
    assert refused > 25


def test_clips_are_in_groups_and_compressed(content: bytes) -> None:
    import pyarrow
    from pyarrow import parquet

    metadata = parquet.ParquetFile(pyarrow.BufferReader(content)).metadata
    assert metadata.num_row_groups == 3
    columns = [metadata.row_group(0).column(number) for number in range(metadata.num_columns)]
    assert {column.compression for column in columns} == {"ZSTD"}
    in_dictionaries = {column.path_in_schema for column in columns if column.has_dictionary_page}
    assert in_dictionaries == {"id", "caption"}


def test_a_file_of_something_else_is_named(tensors: dict[str, Tensor]) -> None:
    with pytest.raises(DataError, match="moments"):
        from_parquet(to_parquet({"audio": tensors["audio"]}, CAPTIONS, IDS), "other.parquet")


def test_a_missing_package_is_named(tensors: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingExtraError, match="pyarrow"):
        to_parquet(tensors, CAPTIONS, IDS)

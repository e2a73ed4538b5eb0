"""Shards of encoded clips have what was written, clip by clip."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import torch
from torch import Tensor

from consistency_tta.runtime.errors import DataError, ShapeError
from consistency_tta.storage.parquet_shards import from_parquet
from consistency_tta.storage.shards import Format, Shard, captions_file, latents_file, noise_of_seed, write_shard

CAPTIONS, IDS = ["Ein Hündchen", "A dog", "Rain \u2028 falls"], ["a", "b", "c"]


@pytest.fixture
def tensors() -> dict[str, Tensor]:
    return {"text": torch.randn(7, 2), "text_ends": torch.tensor([2, 3, 7]), "audio": torch.randn(3, 4)}


@pytest.fixture
def moments() -> Tensor:
    return torch.randn(3, 4, 2, 5)


def test_each_clip_is_what_was_written(moments: Tensor, tensors: dict[str, Tensor], tmp_path: Path) -> None:
    write_shard(tmp_path / "new", 12, moments, CAPTIONS, IDS, tensors)
    shard = Shard(tmp_path / "new" / "latents-0012.safetensors")
    assert len(shard) == 3
    assert shard.contents == {"moments", *tensors}
    for one in (shard, pickle.loads(pickle.dumps(shard))):  # as in a worker
        assert list(one.captions) == list(zip(CAPTIONS, IDS, strict=True))
        for row, (begin, end) in enumerate([(0, 2), (2, 3), (3, 7)]):
            for _ in range(2):
                assert torch.equal(one.tensor("moments", row), moments[row].half())
                assert torch.equal(one.tensor("audio", row), tensors["audio"][row])
                assert torch.equal(one.text(row), tensors["text"][begin:end])
    written = captions_file(shard.latents)
    assert written.name == "captions-0012.jsonl"
    assert "Hündchen" in written.read_text(encoding="utf-8")  # for people, too


def test_a_shard_as_parquet_is_one_file(moments: Tensor, tensors: dict[str, Tensor], tmp_path: Path) -> None:
    write_shard(tmp_path, 3, moments, CAPTIONS, IDS, tensors, "parquet")
    (file,) = tmp_path.iterdir()
    assert file == latents_file(tmp_path, 3, "parquet")
    found, captions, ids = from_parquet(file.read_bytes(), file.name)
    assert torch.equal(found["moments"], moments.half())
    assert (captions, ids) == (CAPTIONS, IDS)


@pytest.mark.parametrize("file_format", ["safetensors", "parquet"])
def test_what_does_not_fit_or_is_not_finite_is_refused(file_format: Format, moments: Tensor, tmp_path: Path) -> None:
    with pytest.raises(ShapeError, match="3 captions for 2 latents"):
        write_shard(tmp_path, 0, moments[:2], CAPTIONS, IDS, None, file_format)
    for name, broken in (("moments", moments + 1e6), ("audio", moments)):  # float16 has no million
        more = {"audio": torch.full((3, 2), float("nan"))} if name == "audio" else None
        with pytest.raises(DataError, match=f"latents-0000.*{name}"):
            write_shard(tmp_path, 0, broken, CAPTIONS, IDS, more, file_format)
    assert not list(tmp_path.iterdir())


def test_a_shard_that_is_not_whole_is_named(moments: Tensor, tmp_path: Path) -> None:
    write_shard(tmp_path, 0, moments, CAPTIONS, IDS)
    file, captions = latents_file(tmp_path, 0), captions_file(latents_file(tmp_path, 0))
    whole, lines = file.read_bytes(), captions.read_bytes()
    captions.write_bytes(lines + b'{"id": "d", "caption": "D"}\n')
    with pytest.raises(DataError, match="3 latents for 4 captions"):
        Shard(file)
    captions.write_bytes(lines.replace("ü".encode(), b"\xff"))
    with pytest.raises(DataError, match=rf"{captions.name}, line 1: "):
        Shard(file).captions[0]
    captions.unlink()
    with pytest.raises(FileNotFoundError, match=f"expected captions .*{captions.name}"):
        Shard(file)
    captions.write_bytes(lines)
    file.write_bytes(whole[:-1])
    with pytest.raises(DataError, match=file.name):
        Shard(file)


def test_noise_depends_on_its_seed_alone() -> None:
    torch.manual_seed(3)
    noise = noise_of_seed(7, (40, 50))
    assert torch.equal(noise, noise_of_seed(7, (40, 50)))
    assert torch.equal(noise.flatten(), noise_of_seed(7, (2000,)))
    assert not torch.equal(noise, noise_of_seed(8, (40, 50)))
    assert abs(noise.mean()) < 0.1
    assert abs(noise.std() - 1) < 0.1

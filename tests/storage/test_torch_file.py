"""Which files of torch may be mapped into memory."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest
import torch

from consistency_tta.storage.torch_file import is_mappable
from tests.recompressed import recompress

WEIGHT = torch.arange(1000.0)


@pytest.mark.parametrize(
    ("compression", "mappable"), [(zipfile.ZIP_STORED, True), (zipfile.ZIP_DEFLATED, False), (zipfile.ZIP_LZMA, False)]
)
def test_files_whose_mapped_values_are_right(compression: int, mappable: bool, tmp_path: Path) -> None:
    torch.save(WEIGHT, tmp_path / "whole.pt")
    copy = recompress(tmp_path / "whole.pt", tmp_path / "copy.pt", compression)
    assert is_mappable(tmp_path / "whole.pt")
    assert is_mappable(copy) is mappable
    if mappable:
        assert torch.equal(torch.load(copy, mmap=True), WEIGHT)


def test_files_that_are_no_archives_are_read(tmp_path: Path) -> None:
    torch.save(WEIGHT, tmp_path / "legacy.pt", _use_new_zipfile_serialization=False)
    assert not is_mappable(tmp_path / "legacy.pt")

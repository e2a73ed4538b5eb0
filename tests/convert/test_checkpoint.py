"""Files of weights: what is read, and what is refused in words."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from consistency_tta.convert.checkpoint import read, read_all
from consistency_tta.runtime.errors import CheckpointError
from tests.recompressed import recompress

TENSORS = {"unet.conv_in.weight": torch.arange(6.0).reshape(2, 3), "unet.conv_in.bias": torch.ones(2)}


def same(tensors: Any) -> bool:
    return tensors.keys() == TENSORS.keys() and all(torch.equal(tensors[name], TENSORS[name]) for name in TENSORS)


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize(
    "content",
    [
        TENSORS,
        {"state_dict": TENSORS, "scale_factor": 0.5, "epoch": 3, "name": "x"},
        {"state_dict": TENSORS, "best": np.float64(0.9), "order": np.arange(3)},
        {"state_dict": {"state_dict": {f"module.{name}": tensor for name, tensor in TENSORS.items()}}},
        {name.replace("unet.", "module.unet._orig_mod."): tensor for name, tensor in TENSORS.items()},
    ],
)
def test_pickled_tensors_are_found_under_wrappers(content: Any, zipped: bool, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "it.bin", _use_new_zipfile_serialization=zipped)
    checkpoint = read(tmp_path / "it.bin")
    assert same(checkpoint.tensors)
    assert checkpoint.number("scale_factor") == content.get("scale_factor")


def test_an_archive_that_was_compressed_has_its_own_values(tmp_path: Path) -> None:
    torch.save(TENSORS, tmp_path / "it.bin")
    assert same(read(recompress(tmp_path / "it.bin", tmp_path / "compressed.bin")).tensors)


def test_safetensors_and_folders(tmp_path: Path) -> None:
    save_file(TENSORS, tmp_path / "b.safetensors")
    torch.save({"scale_factor": torch.tensor(0.25)}, tmp_path / "a.bin")
    torch.save({"state": {}}, tmp_path / "optimizer.bin")
    (tmp_path / "config.json").write_text("{}")
    first, second = read_all([tmp_path])
    assert (first.path.name, first.number("scale_factor")) == ("a.bin", 0.25)
    assert same(second.tensors)
    assert second.under("unet.", "none.").keys() == {"conv_in.weight", "conv_in.bias"}


class Malicious:
    """Writes a file when unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (open, (str(self.path), "w"))


def test_code_in_a_pickle_is_not_run(tmp_path: Path) -> None:
    torch.save(TENSORS | {"x": Malicious(tmp_path / "run")}, tmp_path / "it.bin")
    with pytest.raises(CheckpointError, match=r"it\.bin"):
        read(tmp_path / "it.bin")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", ["zipped.bin", "legacy.bin", "it.safetensors"])
@pytest.mark.parametrize("share", [0.1, 0.6, 0.99])
def test_a_truncated_file_is_named(name: str, share: float, tmp_path: Path) -> None:
    path, tensors = tmp_path / name, {"x": torch.arange(5000.0)}
    if path.suffix == ".safetensors":
        save_file(tensors, path)
    else:
        torch.save(tensors, path, _use_new_zipfile_serialization=name == "zipped.bin")
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(CheckpointError, match=path.name):
        read(path)


def test_what_is_no_checkpoint_is_told_apart(tmp_path: Path) -> None:
    pointer = tmp_path / "pointer.bin"
    pointer.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 3463926917\n")
    with pytest.raises(CheckpointError, match=r"pointer\.bin"):
        read(pointer)
    with zipfile.ZipFile(tmp_path / "ConsistencyTTA.zip", "w") as archive:
        archive.writestr("ConsistencyTTA/epoch_60/pytorch_model_2.bin", b"x")
    with pytest.raises(CheckpointError, match=r"ConsistencyTTA\.zip"):
        read(tmp_path / "ConsistencyTTA.zip")
    (tmp_path / "page.bin").write_text("<html>Not found</html>")
    with pytest.raises(CheckpointError, match=r"page\.bin"):
        read(tmp_path / "page.bin")
    torch.save({"epoch": 3, "args": {"x": 1}}, tmp_path / "numbers.bin")
    with pytest.raises(CheckpointError, match=r"numbers\.bin"):
        read(tmp_path / "numbers.bin")
    torch.save([torch.ones(1)], tmp_path / "list.bin")
    with pytest.raises(CheckpointError, match=r"list\.bin"):
        read(tmp_path / "list.bin")
    with pytest.raises(FileNotFoundError, match="nowhere"):
        read(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="empty"):
        read_all([tmp_path / "empty"])

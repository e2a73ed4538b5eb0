"""Where files of weights are looked for, and what is said of those that are not there or are others."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from consistency_tta.runtime.errors import CheckpointError
from consistency_tta.storage.published_weights import Published, load, locate, read

PUBLISHED = Published("net=1.pth", "https://example.org/net=1.pth", also=("net%3D1.pth",))


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Path]:
    before = torch.hub.get_dir()
    torch.hub.set_dir(tmp_path / "hub")
    (tmp_path / "hub/checkpoints").mkdir(parents=True)
    yield tmp_path / "hub"
    torch.hub.set_dir(before)


def test_a_file_a_folder_and_the_cache_are_looked_at(tmp_path: Path, hub: Path) -> None:
    for file in (hub / "net%3D1.pth", hub / "checkpoints/net=1.pth", tmp_path / "net%3D1.pth", tmp_path / "mine.pth"):
        file.touch()
        if file.parent in (hub, hub / "checkpoints"):
            assert locate(None, PUBLISHED) == file  # the later one comes first
    assert locate(tmp_path, PUBLISHED) == tmp_path / "net%3D1.pth"
    assert locate(tmp_path / "mine.pth", PUBLISHED) == tmp_path / "mine.pth"


@pytest.mark.parametrize(("given", "goal"), [(None, "hub/checkpoints/net=1.pth"), ("", "net=1.pth"), ("a.pt", "a.pt")])
def test_what_is_missing_is_named_with_its_place(tmp_path: Path, hub: Path, given: str | None, goal: str) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        locate(given if given is None else tmp_path / given, PUBLISHED)
    assert str(tmp_path / goal) in str(caught.value)
    assert PUBLISHED.url in str(caught.value)


def test_arrays_beside_the_weights_are_read_and_code_is_not(tmp_path: Path) -> None:
    path = tmp_path / "net.pth"
    beside = {"sampler": {"indexes": np.arange(5), "pointer": 3}, "score": np.float64(0.5)}
    torch.save({"model": {"weight": torch.ones(2)}} | beside, path)
    content = read(path, PUBLISHED)
    assert content["model"]["weight"].sum() == 2
    assert content["sampler"]["indexes"].tolist() == [0, 1, 2, 3, 4]
    assert content["score"] == 0.5
    torch.save({"model": os.getcwd}, path)
    with pytest.raises(CheckpointError, match=PUBLISHED.url):
        read(path, PUBLISHED)
    path.write_bytes(b"<html>")
    with pytest.raises(CheckpointError, match="net"):
        read(path, PUBLISHED)


def test_another_networks_weights_are_refused(tmp_path: Path) -> None:
    network = nn.Linear(3, 2)
    with pytest.raises(CheckpointError, match=r"net\.pth") as caught:
        load(network, {"weight": torch.ones(2, 3), "b": torch.ones(2)}, tmp_path / "net.pth", PUBLISHED)
    assert all(name in str(caught.value) for name in ('"bias"', '"b"'))


def test_weights_of_half_precision_become_float32_also_of_a_network_without_memory(tmp_path: Path) -> None:
    with torch.device("meta"):
        network = nn.Linear(3, 2)
    load(network, {"weight": torch.ones(2, 3).half(), "bias": torch.zeros(2)}, tmp_path / "net.pth", PUBLISHED)
    assert torch.equal(network(torch.ones(3)), torch.full((2,), 3.0))

"""Fixtures: a model of a few thousand parameters, saved as a folder, made by code."""

from __future__ import annotations

import gc
import itertools
import os
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

# Before any import of transformers: each miss of a hub would wait for half a minute.
os.environ["HF_HUB_OFFLINE"] = "1"

import pytest
import torch

from consistency_tta.pipeline import TextToAudioPipeline
from tests.toys import toy_parts

_TESTS = itertools.count()


def pytest_collection_finish() -> None:
    """Exempt what imports made, a million objects that stay, from garbage collection: it took an eighth of the time."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def _environment() -> Iterator[None]:
    """A test's own: Lightning leaves seeds and ranks in it, with which a later test's processes wait for others.

    And a port for processes that train together, another one in each test. Lightning takes one that is free when it
    asks; seconds later, when the processes have started, some connection may have got it. The system hands out ports
    from 32768 on.
    """
    port = str(20000 + (13 * os.getpid() + next(_TESTS)) % 12000)
    with mock.patch.dict(os.environ, {"MASTER_PORT": port}):
        yield


@pytest.fixture(scope="session")
def teacher_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A complete, untrained teacher."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("toy") / "teacher"
    TextToAudioPipeline(**toy_parts()).save_pretrained(folder)
    return folder

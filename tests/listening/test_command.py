"""The command with its two spellings."""

from __future__ import annotations

from pathlib import Path

import pytest

from consistency_tta.cli import main
from consistency_tta.cli.overview import overview
from consistency_tta.listening.key import Key
from tests.listening.noise import SYSTEMS, noise_folders


@pytest.mark.parametrize("words", [["listening-test"], ["listening-test", "make"]])
def test_makes_a_test(tmp_path: Path, words: list[str]) -> None:
    systems, output = noise_folders(tmp_path), tmp_path / "test"
    options = ["--captions", str(tmp_path / "captions.csv"), "--num_clips", "2", "--output", str(output)]
    assert main([*words, "--systems", *systems, *options, "--loudness", "null"]) == output / "index.html"
    key = Key.load(output)
    assert key.systems == SYSTEMS
    assert len(key.items) == 6
    assert key.settings["loudness"] is None


def test_the_overview_names_a_command_once() -> None:
    assert overview().count("Write a blinded listening test") == 1

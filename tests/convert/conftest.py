"""Text encoders of this size for ``--text_encoder``."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.convert.tango_files import text_encoder_folder


@pytest.fixture(scope="session")
def text_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A T5 of width 16 and its tokenizer."""
    return text_encoder_folder(tmp_path_factory.mktemp("text") / "t5")

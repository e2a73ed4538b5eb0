"""Text encoders of this size for ``--text_encoder``."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from consistency_tta.components.text import ByteTextEncoder


@pytest.fixture(scope="session")
def text_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A T5 of width 16 and its tokenizer, in the layout of the hub."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("text") / "t5"
    text = ByteTextEncoder(width=16, num_layers=1, num_heads=2)
    text.encoder.save_pretrained(folder)
    text.tokenizer.save_pretrained(folder)
    return folder

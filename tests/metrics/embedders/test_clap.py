from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import torch
from transformers import ClapModel

from consistency_tta.components.clap import TransformersClap
from consistency_tta.metrics.embedders import TinyCLAP, TransformersCLAP
from consistency_tta.storage.bundled import MODELS

TINY = MODELS / "tiny-clap"


def test_the_bundled_clap_is_the_default_and_hears_as_itself() -> None:
    embedder = TinyCLAP()
    waveform = 0.1 * torch.randn(2, embedder.sample_rate)
    heard = embedder(waveform)
    assert heard.logits is None
    assert heard.vectors.shape == (2, 1, embedder.num_features)
    encoder = TransformersClap("tiny-clap")
    assert embedder.sample_rate == encoder.sample_rate
    torch.testing.assert_close(heard.vectors[:, 0], encoder.embed_audio(waveform))
    torch.testing.assert_close(embedder.encoder.embed_text(["dog"]), encoder.embed_text(["dog"]))
    assert embedder.checksum == hashlib.sha256((TINY / "model.safetensors").read_bytes()).hexdigest()


def test_a_folder_in_several_files_has_one_checksum(tmp_path: Path) -> None:
    ClapModel.from_pretrained(TINY).save_pretrained(tmp_path, max_shard_size="200KB")
    (tmp_path / "preprocessor_config.json").write_text((TINY / "preprocessor_config.json").read_text())
    (tmp_path / "tokenizer_config.json").write_text((TINY / "tokenizer_config.json").read_text())
    files = sorted(tmp_path.glob("model-*.safetensors"))
    assert len(files) > 1
    embedder = TransformersCLAP(tmp_path)
    assert embedder.checksum == hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()
    assert embedder.name == "clap"


def test_a_clap_that_was_not_fetched_is_named() -> None:
    with pytest.raises(FileNotFoundError, match="hf download laion/clap-htsat-unfused"):
        TransformersCLAP()

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import torch

from consistency_tta.metrics.encoders import Mn04
from consistency_tta.metrics.mn04 import AudioTagger
from consistency_tta.runtime.errors import ShapeError


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("mn04")
    torch.save(AudioTagger().state_dict(), folder / "mn04_as_mAP_432.pt")
    return folder


def test_it_embeds_as_the_tagger_does(folder: Path) -> None:
    encoder = Mn04(folder)
    waveform = torch.randn(3, 32_000)
    embedding = encoder.embed_windows(waveform, 32_000)
    logits, vectors = AudioTagger.from_checkpoint(folder / "mn04_as_mAP_432.pt")(waveform, encoder.sample_rate)
    assert embedding.vectors.shape == (3, 1, encoder.num_features)
    torch.testing.assert_close(embedding.vectors[:, 0], vectors)
    torch.testing.assert_close(embedding.logits, logits)
    assert (logits[0] - logits[1]).abs().max() > 0


def test_its_checksum_is_that_of_the_file(folder: Path, tmp_path: Path) -> None:
    file = folder / "mn04_as_mAP_432.pt"
    assert Mn04(file).checksum == hashlib.sha256(file.read_bytes()).hexdigest()
    with pytest.raises(FileNotFoundError, match=str(tmp_path)):
        Mn04(tmp_path)
    with pytest.raises(ShapeError, match="1023"):
        Mn04(file).embed(torch.zeros(1, 1023), 32_000)

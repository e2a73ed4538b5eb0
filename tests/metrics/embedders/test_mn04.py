from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import torch

from consistency_tta.metrics.embedders import Mn04
from consistency_tta.metrics.mn04 import AudioTagger


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("mn04")
    torch.save(AudioTagger().state_dict(), folder / "mn04_as_mAP_432.pt")
    return folder


def test_it_hears_what_the_tagger_hears(folder: Path) -> None:
    embedder = Mn04(folder)
    waveform = torch.randn(3, 32_000)
    heard = embedder(waveform)
    logits, vectors = AudioTagger.from_checkpoint(folder / "mn04_as_mAP_432.pt")(waveform, embedder.sample_rate)
    assert heard.vectors.shape == (3, 1, embedder.num_features)
    torch.testing.assert_close(heard.vectors[:, 0], vectors)
    torch.testing.assert_close(heard.logits, logits)
    assert (logits[0] - logits[1]).abs().max() > 0


def test_it_tells_its_checkpoint(folder: Path, tmp_path: Path) -> None:
    file = folder / "mn04_as_mAP_432.pt"
    assert Mn04(file).checksum == hashlib.sha256(file.read_bytes()).hexdigest()
    with pytest.raises(
        FileNotFoundError, match=r"fetch https://github.com/fschmid56/EfficientAT/releases/\S*_432.pt and"
    ):
        Mn04(tmp_path)
    with pytest.raises(ValueError, match=r"mn04 expected .* at least 1024 samples at 32000 Hz, got \(1, 1023\)"):
        Mn04(file)(torch.zeros(1, 1023))

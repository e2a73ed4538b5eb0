"""Clips of a folder that ``encode`` wrote; what does not fit in it is named."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path

import pytest
import torch

from consistency_tta.datamodules import SyntheticDataModule
from consistency_tta.datamodules.latents_dataset import LatentsDataset
from consistency_tta.pipeline import TextToAudioPipeline
from consistency_tta.runtime.errors import DataError
from tests.toys import NUM_SAMPLES


def test_latents_are_those_of_the_recordings(encoded: Path, teacher_folder: Path) -> None:
    dataset = LatentsDataset(encoded)
    assert len(dataset) == 16
    source = SyntheticDataModule(num_clips=8, batch_size=4, num_samples=NUM_SAMPLES)
    source.setup("fit")
    codec = TextToAudioPipeline.from_pretrained(teacher_folder).codec
    originals = {name: (caption, waveform) for waveform, caption, name in (source.train_dataset[i] for i in range(8))}
    seen = set()
    for index in (0, 7, 8, 15):
        moments, caption, name = dataset[index][:3]
        assert caption == originals[name][0]
        with torch.no_grad():
            expected = codec.mel_to_moments(codec.waveform_to_mel(originals[name][1][None]))[0]
        torch.testing.assert_close(moments, expected, atol=2e-2, rtol=2e-3)  # stored in float16
        seen.add(name)
    assert len(seen) > 1


def test_workers_open_the_files_themselves(encoded: Path) -> None:
    dataset = LatentsDataset(encoded)
    before = dataset[3], dataset[12]
    sent = pickle.loads(pickle.dumps(dataset))
    for clip, index in zip(before, (3, 12), strict=True):
        assert torch.equal(sent[index].moments, clip.moments)
        assert sent[index][1:3] == clip[1:3]


def test_what_does_not_fit_is_named(encoded: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=str(tmp_path)):
        LatentsDataset(tmp_path)
    encoded = shutil.copytree(encoded, tmp_path / "changed")
    captions = encoded / "captions-0001.jsonl"
    captions.write_text(json.dumps({"id": "a", "caption": "b"}) + "\n")
    with pytest.raises(DataError, match="8"):
        LatentsDataset(encoded)
    captions.unlink()
    with pytest.raises(FileNotFoundError, match=r"captions-0001\.jsonl"):
        LatentsDataset(encoded)
    latents = encoded / "latents-0000.safetensors"
    latents.write_bytes(latents.read_bytes()[:-10])
    with pytest.raises(DataError, match=r"latents-0000\.safetensors"):
        LatentsDataset(encoded)

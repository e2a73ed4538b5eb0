"""Recordings to latents, of any codec."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderOobleck

from consistency_tta.datamodules import LatentsDataModule, SyntheticDataModule
from consistency_tta.encode import encode
from consistency_tta.pipeline import TextToAudioPipeline
from consistency_tta.runtime.errors import ConfigurationError
from tests.toys import OOBLECK, STEREO_SAMPLES


@pytest.fixture
def stereo_folder(tmp_path: Path) -> Path:
    """A stereo codec of waveforms, and nothing else."""
    TextToAudioPipeline(vae=AutoencoderOobleck(**OOBLECK)).save_pretrained(tmp_path / "codec")
    return tmp_path / "codec"


def data(**settings: int) -> SyntheticDataModule:
    return SyntheticDataModule(
        **({"num_val_clips": 3, "num_samples": STEREO_SAMPLES, "sample_rate": 44100, "channels": 2} | settings)
    )


def test_stereo_recordings_become_latents(stereo_folder: Path, tmp_path: Path) -> None:
    encode(data(), str(stereo_folder), tmp_path / "latents", "val", device="cpu")
    latents = LatentsDataModule(str(tmp_path / "latents"), batch_size=3)
    latents.setup("fit")
    batch = LatentsDataModule.collate([latents.train_dataset[index] for index in range(3)])
    codec = TextToAudioPipeline.from_pretrained(stereo_folder).codec.eval()
    [clips] = data(val_batch_size=3).val_dataloader()
    with torch.no_grad():
        expected = codec.encode(clips.waveform)
    torch.testing.assert_close(batch.moments, expected, atol=1e-2, rtol=1e-2)  # stored in half precision
    assert batch.captions == clips.captions
    assert codec.moments_to_latent(batch.moments).shape == (3, 4, 16)


def test_mono_recordings_are_encoded_as_both_channels(stereo_folder: Path, tmp_path: Path) -> None:
    encode(data(channels=1), str(stereo_folder), tmp_path / "latents", "val", device="cpu")
    latents = LatentsDataModule(str(tmp_path / "latents"))
    latents.setup("fit")
    assert latents.train_dataset[0][0].shape == (8, 16)


def test_another_sample_rate_is_refused_before_the_work(stereo_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="16000"):
        encode(data(sample_rate=16000), str(stereo_folder), tmp_path / "latents", "val", device="cpu")
    assert not (tmp_path / "latents").exists()
    with pytest.raises(ConfigurationError, match="copies=2"):
        encode(data(), str(stereo_folder), tmp_path / "latents", "val", copies=2)

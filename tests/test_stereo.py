"""A flow-matching transformer over a stereo codec at 44.1 kHz: the same folder, pipeline and commands as for mels."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from consistency_tta.diffusion.sampler import ODESampler
from consistency_tta.generate import generate
from consistency_tta.generation.teacher_samples import TeacherSamples
from consistency_tta.pipeline import TextToAudioPipeline
from consistency_tta.runtime.errors import ModelFolderError
from tests.toys import STEREO_SAMPLES, stereo_parts


@pytest.fixture(scope="module")
def stereo_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A complete, untrained teacher."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("toy") / "stereo"
    TextToAudioPipeline(**stereo_parts(), sampler=ODESampler(2)).save_pretrained(folder)
    return folder


def test_a_folder_keeps_every_bit(stereo_folder: Path, tmp_path: Path) -> None:
    pipeline, noise = TextToAudioPipeline.from_pretrained(stereo_folder), torch.randn(2, 4, 16)
    made = pipeline(["a dog", "rain"], latents=noise)
    assert made.waveform.shape == (2, 2, STEREO_SAMPLES)
    assert made.sample_rate == 44100
    assert made.queries == 2 * 2  # classifier-free guidance
    assert pipeline.latent_shape == pipeline.codec.latent_shape(STEREO_SAMPLES) == (4, 16)
    pipeline.save_pretrained(tmp_path)
    again = TextToAudioPipeline.from_pretrained(tmp_path)(["a dog", "rain"], latents=noise)
    assert torch.equal(again.waveform, made.waveform)
    index = json.loads((tmp_path / "model_index.json").read_text())
    assert index["transformer"] == ["diffusers", "StableAudioDiTModel"]
    assert index["vae"] == ["diffusers", "AutoencoderOobleck"]


def test_captions_guidance_and_durations_reach_the_transformer(stereo_folder: Path) -> None:
    pipeline, noise = TextToAudioPipeline.from_pretrained(stereo_folder), torch.randn(1, 4, 16)

    def latent(caption: str = "a dog", scale: float = 3.0, seconds: float | None = None) -> torch.Tensor:
        return pipeline.sample(caption, scale, latents=noise, seconds=seconds)[0]

    assert torch.equal(latent(), latent())
    for other in (latent("rain"), latent(scale=1.0), latent(seconds=0.01)):
        assert not torch.allclose(other, latent(), atol=1e-5)
    assert pipeline("a dog", seconds=0.01).waveform.shape == (1, 2, 441)


def test_generate_writes_stereo_files(stereo_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    [file] = generate(["a dog"], str(stereo_folder), tmp_path, device="cpu")
    sound, rate = soundfile.read(file)
    assert rate == 44100
    assert sound.shape == (STEREO_SAMPLES, 2)
    assert not np.allclose(sound[:, 0], sound[:, 1], atol=1e-3)
    captions = tmp_path / "captions.csv"
    captions.write_text("id,caption\na,rain\nb,wind\n")
    files = generate([str(captions)], str(stereo_folder), tmp_path / "out", device="cpu")
    assert [soundfile.info(path).channels for path in files] == [2, 2]
    assert "2 sounds of 2 written, 4 queries each" in capsys.readouterr().out


def test_a_teachers_samples_are_moments_of_its_codec(stereo_folder: Path) -> None:
    moments = TeacherSamples(str(stereo_folder), 3.0, 2, device="cpu")(["a dog", "rain"], 7)
    assert moments.shape == (2, 8, 16)
    pipeline = TextToAudioPipeline.from_pretrained(stereo_folder)
    expected, _ = pipeline.sample(["a dog", "rain"], 3.0, 2, generator=torch.Generator().manual_seed(7))
    torch.testing.assert_close(pipeline.codec.moments_to_latent(moments), expected)


def test_half_precision_changes_little(stereo_folder: Path) -> None:
    pipeline, noise = TextToAudioPipeline.from_pretrained(stereo_folder), torch.randn(1, 4, 16)
    expected = pipeline("a dog", 1.0, latents=noise).waveform
    made = pipeline.to(torch.bfloat16)("a dog", 1.0, latents=noise).waveform
    assert made.dtype == torch.float32
    torch.testing.assert_close(made, expected, atol=0.1 * float(expected.abs().max()), rtol=0)


def test_what_is_missing_is_named() -> None:
    for part in ("transformer", "projection_model", "vae", "scheduler"):
        with pytest.raises(ModelFolderError, match=part):
            TextToAudioPipeline(**(stereo_parts() | {part: None}))("a dog")

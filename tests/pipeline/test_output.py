"""What a pipeline returns: sounds of any length, as tensors, arrays, files, players; what it calls on the way."""

from __future__ import annotations

import base64
import io
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from torch import Tensor

from consistency_tta.pipeline import TextToAudioPipeline
from consistency_tta.runtime.errors import ConfigurationError
from tests.pipeline.models import student, teacher
from tests.toys import STEREO_SAMPLES, stereo_parts


def test_sounds_are_files_and_players(tmp_path: Path) -> None:
    made = student()(["a dog", "rain"], output_type="np")
    assert isinstance(made.audios, np.ndarray)
    assert made[0] is made["audios"] is made.audios
    assert torch.equal(made.waveform, torch.from_numpy(made.audios))
    files = made.save(tmp_path / "new" / "dog.flac")
    assert [file.name for file in files] == ["dog_0.flac", "dog_1.flac"]
    sounds = re.findall(r"base64,([^\"]+)", made._repr_html_())
    for row, (file, encoded) in enumerate(zip(files, sounds, strict=True)):
        for source in (file, io.BytesIO(base64.b64decode(encoded))):
            samples, rate = soundfile.read(source, dtype="float32")
            assert rate == 16000
            np.testing.assert_allclose(samples, made.audios[row], atol=2**-15)
    for path in ("dog", "dog.txt"):
        with pytest.raises(ConfigurationError, match="dog"):
            made.save(tmp_path / path)


def test_a_stereo_sound_has_two_channels(tmp_path: Path) -> None:
    pipeline = TextToAudioPipeline(**stereo_parts())
    pipeline.set_progress_bar_config(disable=True)
    made = pipeline("a dog", num_inference_steps=1)
    (file,) = made.save(tmp_path / "dog.wav")
    assert soundfile.read(file)[0].shape == (STEREO_SAMPLES, 2)
    assert made._repr_html_().count("<audio") == 1


def test_latents_are_not_decoded() -> None:
    pipeline, noise = student(), torch.randn(1, 4, 8, 4)
    made = pipeline("a dog", latents=noise, output_type="latent")
    assert torch.equal(made.audios, pipeline("a dog", latents=noise).latent)
    assert "audio" in made._repr_html_()
    with pytest.raises(ConfigurationError, match="latent"):
        _ = made.waveform
    (audios,) = pipeline("a dog", latents=noise, return_dict=False)
    torch.testing.assert_close(pipeline.codec.decode(made.latent)[:, 0], audios)


def test_a_unet_makes_longer_sounds() -> None:
    pipeline = student()
    assert pipeline("a dog", audio_length_in_s=0.5).audios.shape == (1, 8000)
    latent, _ = pipeline.sample("a dog", audio_length_in_s=0.33)
    assert latent.shape == (1, 4, 10, 4)  # 9 frames, to a multiple of 2
    with pytest.raises(ConfigurationError, match="audio_length_in_s"):
        pipeline("a dog", audio_length_in_s=0.5, latents=torch.randn(1, 4, 8, 4))
    with pytest.raises(ConfigurationError, match="audio_length_in_s"):
        TextToAudioPipeline(**stereo_parts())("a dog", audio_length_in_s=1.0)


@pytest.mark.parametrize("make", [student, teacher])
def test_callbacks_see_and_may_change_the_latents_of_each_step(make: Any) -> None:
    pipeline, noise = make(), torch.randn(1, 4, 8, 4)
    seen: list[tuple[int, float]] = []

    def silence(pipe: TextToAudioPipeline, step: int, timestep: float, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        assert pipe is pipeline
        seen.append((step, timestep))
        return {"latents": torch.zeros_like(tensors["latents"])} if step == 2 else {}

    made = pipeline("a dog", 3.0, 3, latents=noise, callback_on_step_end=silence)
    assert [step for step, _ in seen] == [0, 1, 2]
    assert seen[0][1] == 1000
    assert seen[0][1] > seen[1][1] > seen[2][1]
    assert not made.latent.any()
    pipeline("a dog", 3.0, 3, latents=noise, callback=lambda *given: seen.append(given[:2]), callback_steps=2)
    assert [step for step, _ in seen[3:]] == [0, 2]

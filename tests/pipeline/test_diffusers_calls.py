"""Scripts for diffusers' StableAudioPipeline and AudioLDM2Pipeline run on our folders, with only the name changed."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy
import soundfile
import torch
from diffusers import AudioLDM2Pipeline, CosineDPMSolverMultistepScheduler, DiffusionPipeline, StableAudioPipeline
from diffusers.utils import dynamic_modules_utils

from consistency_tta.pipeline import TextToAudioPipeline
from consistency_tta.pipeline.alternatives import NEUTRAL
from consistency_tta.runtime.errors import ConfigurationError
from tests.pipeline import models
from tests.pipeline.audioldm2 import audioldm2
from tests.toys import stereo_parts

PROMPT, NEGATIVE = "The sound of a hammer hitting a wooden surface.", "Low quality."


def stable_audio(folder: Path) -> None:
    """Diffusers' own pipeline, of random weights: the script is one that it accepts."""
    parts = {name: part.eval() if hasattr(part, "eval") else part for name, part in stereo_parts().items()}
    parts["tokenizer"].model_max_length = 64
    StableAudioPipeline(**(parts | {"scheduler": CosineDPMSolverMultistepScheduler()})).save_pretrained(folder)


def teacher(folder: Path) -> None:
    models.teacher().save_pretrained(folder)


def student(folder: Path) -> None:
    models.student().save_pretrained(folder)


def stereo_teacher(folder: Path) -> None:
    TextToAudioPipeline(**stereo_parts()).save_pretrained(folder)


def script(folder: Path, output: Path) -> None:
    """Twenty calls."""
    pipe = DiffusionPipeline.from_pretrained(folder, trust_remote_code=True)  # 1
    pipe = pipe.to("cpu")  # 2
    pipe.set_progress_bar_config(disable=True)  # 3
    few: dict[str, Any] = {"num_inference_steps": 2}

    generator = torch.Generator("cpu").manual_seed(0)
    audio = pipe(  # 4
        PROMPT,
        negative_prompt=NEGATIVE,
        num_inference_steps=3,
        audio_end_in_s=0.01,
        num_waveforms_per_prompt=3,
        generator=generator,
    ).audios
    rate = pipe.vae.sampling_rate  # 5
    soundfile.write(output / "hammer.wav", audio[0].T.float().cpu().numpy(), rate)
    assert (len(audio), audio.shape[-1]) == (3, int(0.01 * rate))
    assert len(soundfile.read(output / "hammer.wav")[0]) == int(0.01 * rate)

    assert len(pipe([PROMPT, "Rain"], guidance_scale=1.0, **few).audios) == 2  # 6
    latents = torch.randn(1, *pipe("a", output_type="latent", **few).audios.shape[1:])  # 7
    expected = pipe(PROMPT, latents=latents, generator=torch.manual_seed(0), **few).audios  # 8
    both = [torch.manual_seed(0), torch.Generator().manual_seed(1)]
    assert len(pipe(PROMPT, num_waveforms_per_prompt=2, generator=both, **few).audios) == 2  # 9

    def again(**options: Any) -> Any:
        return pipe(**({"latents": latents, "generator": torch.manual_seed(0)} | few | options))

    longest = {"padding": "max_length", "max_length": pipe.tokenizer.model_max_length, "truncation": True}
    tokens = pipe.tokenizer(PROMPT, return_tensors="pt", **longest)  # 10
    embedding = pipe.text_encoder(tokens.input_ids, attention_mask=tokens.attention_mask)[0]
    embeds = {"prompt_embeds": embedding, "attention_mask": tokens.attention_mask}
    torch.testing.assert_close(again(**embeds).audios, expected, atol=1e-4, rtol=1e-3)  # 11
    negative = {f"negative_{name}": value for name, value in embeds.items()}
    assert again(**embeds, **negative).audios.shape == expected.shape  # 12
    torch.testing.assert_close(torch.from_numpy(again(prompt=PROMPT, output_type="np").audios), expected)  # 13
    torch.testing.assert_close(again(prompt=PROMPT, return_dict=False)[0], expected)  # 14

    seen: list[int] = []
    again(prompt=PROMPT, callback=lambda step, _timestep, _latents: seen.append(step), callback_steps=1)  # 15
    assert seen == [0, 1]
    with pytest.raises(ValueError, match="prompt"):
        again()  # 16

    other = type(pipe)(**pipe.components)  # 17
    other.set_progress_bar_config(disable=True)
    made = other(PROMPT, latents=latents, generator=torch.manual_seed(0), **few).audios
    torch.testing.assert_close(made, expected)

    pipe.save_pretrained(output / "copy")  # 18
    half = DiffusionPipeline.from_pretrained(output / "copy", torch_dtype=torch.bfloat16, trust_remote_code=True)  # 19
    half.set_progress_bar_config(disable=True)
    assert half.vae.dtype == torch.bfloat16
    assert half(PROMPT, **few).audios.isfinite().all()

    pipe.enable_model_cpu_offload(device="cpu")  # 20
    torch.testing.assert_close(again(prompt=PROMPT).audios, expected)
    assert all(hasattr(getattr(pipe, name), "_hf_hook") for name in ("text_encoder", "vae"))


def audioldm2_model(folder: Path) -> None:
    """Diffusers' own pipeline again."""
    audioldm2().save_pretrained(folder)


def audioldm2_script(folder: Path, output: Path) -> None:
    """Twenty calls, the first four as AudioLDM2Pipeline documents them, with its default output_type said."""
    pipe = DiffusionPipeline.from_pretrained(folder, torch_dtype=torch.float32, trust_remote_code=True)  # 1
    pipe = pipe.to("cpu")  # 2
    pipe.set_progress_bar_config(disable=True)
    generator = torch.Generator("cpu").manual_seed(0)
    audio = pipe(  # 3
        PROMPT,
        negative_prompt=NEGATIVE,
        num_inference_steps=3,
        audio_length_in_s=0.01,
        num_waveforms_per_prompt=3,
        generator=generator,
        output_type="np",
    ).audios
    scipy.io.wavfile.write(output / "techno.wav", rate=16000, data=audio[0])  # 4
    rate, read = scipy.io.wavfile.read(output / "techno.wav")
    assert (rate, audio.dtype, audio.shape) == (16000, np.float32, (3, 160))
    assert np.array_equal(read, audio[0])

    pipe.enable_attention_slicing()  # 5
    pipe.disable_attention_slicing()  # 6
    shape = (1, *pipe(PROMPT, num_inference_steps=1, output_type="latent").audios.shape[1:])  # 7
    latents = torch.randn(shape, generator=torch.manual_seed(1))

    def again(prompt: Any = PROMPT, **options: Any) -> Any:
        fixed = {"num_inference_steps": 2, "latents": latents, "generator": torch.manual_seed(0), "output_type": "np"}
        return pipe(prompt, **(fixed | options))

    expected = again().audios  # 8
    for neutral in (  # 9 to 14
        {"eta": 0.0},
        {"transcription": None, "max_new_tokens": None},
        {"generated_prompt_embeds": None, "negative_generated_prompt_embeds": None},
        {"cross_attention_kwargs": None},
        {
            "prompt_embeds": None,
            "attention_mask": None,
            "negative_prompt_embeds": None,
            "negative_attention_mask": None,
        },
        {"callback": None, "callback_steps": 1},
    ):
        np.testing.assert_allclose(again(**neutral).audios, expected, atol=1e-5)
    np.testing.assert_allclose(again(return_dict=False)[0], expected, atol=1e-5)  # 15
    np.testing.assert_allclose(again(output_type="pt").audios.numpy(), expected, atol=1e-5)  # 16
    seen: list[tuple[int, torch.Size]] = []
    again(callback=lambda step, _timestep, latent: seen.append((step, latent.shape)), callback_steps=1)  # 17
    assert seen == [(0, shape), (1, shape)]
    assert len(again([PROMPT, "Rain"], latents=None, negative_prompt=[NEGATIVE, "Wind"]).audios) == 2  # 18
    assert len(again(latents=None, guidance_scale=1.0, num_waveforms_per_prompt=2).audios) == 2  # 19
    half = DiffusionPipeline.from_pretrained(folder, torch_dtype=torch.bfloat16, trust_remote_code=True)  # 20
    half.set_progress_bar_config(disable=True)
    made = half(PROMPT, num_inference_steps=1, output_type="np").audios
    assert made.dtype == np.float32
    assert np.isfinite(made).all()


@pytest.mark.parametrize(
    ("run", "make"),
    [
        (script, stable_audio),
        (script, teacher),
        (script, student),
        (script, stereo_teacher),
        (audioldm2_script, audioldm2_model),
        (audioldm2_script, teacher),
        (audioldm2_script, student),
    ],
)
def test_the_script_runs_with_only_the_folder_changed(
    run: Any, make: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dynamic_modules_utils, "HF_MODULES_CACHE", str(tmp_path / "modules"))
    make(tmp_path / "model")
    run(tmp_path / "model", tmp_path)


@pytest.mark.parametrize("diffusers_pipeline", [StableAudioPipeline, AudioLDM2Pipeline])
def test_every_argument_of_diffusers_pipelines_is_known(diffusers_pipeline: Any) -> None:
    theirs, ours = (inspect.signature(one.__call__).parameters for one in (diffusers_pipeline, TextToAudioPipeline))
    assert set(theirs) - set(ours) <= set(NEUTRAL)


@pytest.mark.parametrize(
    ("name", "value"),
    [("eta", 0.5), ("transcription", "hello"), ("initial_audio_waveforms", torch.zeros(1, 9)), ("max_new_tokens", 8)],
)
def test_what_the_model_cannot_do_is_refused(name: str, value: Any) -> None:
    with pytest.raises(ConfigurationError, match=name):
        models.student()("a dog", **{name: value})


def test_an_unknown_argument_is_a_type_error() -> None:
    with pytest.raises(TypeError, match="guidance_scal'"):
        models.student()("a dog", guidance_scal=3.0)

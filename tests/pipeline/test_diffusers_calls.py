"""A script that was written for diffusers' StableAudioPipeline runs on our folders, with only their name changed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import soundfile
import torch
from diffusers import CosineDPMSolverMultistepScheduler, DiffusionPipeline, StableAudioPipeline
from diffusers.utils import dynamic_modules_utils

from consistency_tta.pipeline import TextToAudioPipeline
from tests.pipeline import models
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


@pytest.mark.parametrize("make", [stable_audio, teacher, student, stereo_teacher])
def test_the_script_runs_with_only_the_folder_changed(
    make: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dynamic_modules_utils, "HF_MODULES_CACHE", str(tmp_path / "modules"))
    make(tmp_path / "model")
    script(tmp_path / "model", tmp_path)

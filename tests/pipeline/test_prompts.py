"""Prompts and negative prompts, as captions and as embeddings."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from consistency_tta.pipeline.arguments import as_prompts
from consistency_tta.pipeline.latent_sampling import NEGATIVE_GUIDANCE
from consistency_tta.runtime.errors import ConfigurationError, ShapeError
from tests.pipeline.models import student, teacher

NOISE = torch.randn(1, 4, 8, 4, generator=torch.Generator().manual_seed(1))


def test_a_teacher_is_guided_away_from_a_negative_prompt() -> None:
    pipeline = teacher()

    def latent(prompt: str, w: float = 1.0, **options: Any) -> torch.Tensor:
        return pipeline.sample(prompt, w, 1, latents=NOISE, **options)[0]

    guided, dog, rain = latent("a dog", 3.0, negative_prompt="rain"), latent("a dog"), latent("rain")
    torch.testing.assert_close(guided, rain + 3 * (dog - rain), atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(latent("a dog", 3.0, negative_prompt=""), latent("a dog", 3.0))
    assert torch.equal(latent("a dog", 1.0, negative_prompt="rain"), dog)  # no guidance


def test_a_student_is_guided_away_at_twice_the_queries() -> None:
    pipeline = student()

    def latent(prompt: str, **options: Any) -> torch.Tensor:
        return pipeline.sample(prompt, latents=NOISE, **options)[0]

    dog, rain = latent("a dog"), latent("rain")
    for options, w in (({}, NEGATIVE_GUIDANCE), ({"external_guidance_scale": 3.0}, 3.0)):
        away = latent("a dog", negative_prompt="rain", **options)
        torch.testing.assert_close(away, rain + w * (dog - rain), atol=1e-4, rtol=1e-3)
    assert pipeline("a dog", latents=NOISE, negative_prompt="rain").queries == 2
    assert pipeline("a dog", latents=NOISE, negative_prompt="rain", external_guidance_scale=1.0).queries == 1


def test_each_prompt_may_have_a_negative_prompt_and_several_waveforms() -> None:
    pipeline, noise = student(), torch.randn(4, 4, 8, 4)
    made = pipeline(["a dog", "rain"], latents=noise, negative_prompt=["sea", "wind"], num_waveforms_per_prompt=2)
    assert len(made.audios) == 4
    alone = pipeline("rain", latents=noise[3:], negative_prompt="wind").audios
    torch.testing.assert_close(made.audios[3:], alone, atol=1e-5, rtol=1e-3)


def test_embeddings_stand_for_their_captions() -> None:
    pipeline = student()
    expected = pipeline("a dog", latents=NOISE, negative_prompt="rain").audios
    embedding, mask = pipeline.encode_prompt("a dog")
    negative, negative_mask = pipeline.encode_prompt("rain")
    made = pipeline(
        prompt_embeds=embedding,
        attention_mask=mask,
        latents=NOISE,
        negative_prompt_embeds=negative,
        negative_attention_mask=negative_mask.long(),
    )
    torch.testing.assert_close(made.audios, expected, atol=1e-5, rtol=1e-3)
    assert torch.equal(  # no mask: all tokens are the caption's
        pipeline(prompt_embeds=embedding, latents=NOISE).audios, pipeline("a dog", latents=NOISE).audios
    )


@pytest.mark.parametrize(
    ("options", "error", "named"),
    [
        ({}, ConfigurationError, "prompt_embeds"),
        ({"prompt": "a", "prompt_embeds": torch.zeros(1, 2, 16)}, ConfigurationError, "prompt_embeds"),
        ({"attention_mask": torch.ones(1, 2)}, ConfigurationError, "attention_mask"),
        ({"prompt_embeds": torch.zeros(2, 16)}, ShapeError, "prompt_embeds"),
        ({"prompt_embeds": torch.zeros(1, 2, 16), "attention_mask": torch.ones(1, 3)}, ShapeError, "3"),
        ({"prompt": ["a", "b", "c"], "negative_prompt": ["d", "e"]}, ShapeError, "negative_prompt"),
        ({"prompt": "a", "negative_prompt": 5}, ConfigurationError, "5"),
        ({"prompt": "a", "negative_attention_mask": torch.ones(1, 2)}, ConfigurationError, "negative_attention_mask"),
        ({"prompt": "a", "num_waveforms_per_prompt": 0}, ConfigurationError, "num_waveforms_per_prompt"),
        ({"prompt": "a", "num_waveforms_per_prompt": 2.0}, ConfigurationError, "num_waveforms_per_prompt"),
        ({"prompt": "a", "seconds": 0.1, "audio_length_in_s": 0.2}, ConfigurationError, "audio_length_in_s"),
        ({"prompt": "a", "output_type": "wav"}, ConfigurationError, "wav"),
        ({"prompt": "a", "callback": print, "callback_on_step_end": print}, ConfigurationError, "callback"),
        (
            {"prompt": "a", "callback_on_step_end": print, "callback_on_step_end_tensor_inputs": ["noise"]},
            ConfigurationError,
            "noise",
        ),
        ({"prompt": "a", "callback": print, "callback_steps": 0}, ConfigurationError, "callback_steps"),
    ],
)
def test_arguments_that_contradict_each_other_are_refused(
    options: dict[str, Any], error: type[Exception], named: str
) -> None:
    with pytest.raises(error, match=named):
        student()(**options)


@pytest.mark.parametrize("prompt", ["", " \t", ["", " "]])
def test_blank_prompts_alone_are_refused(prompt: str | list[str]) -> None:
    pipeline = student()
    with pytest.raises(ConfigurationError, match="blank"):
        pipeline(prompt)
    embedding, mask = pipeline.encode_prompt(prompt)
    assert pipeline(prompt_embeds=embedding, attention_mask=mask).audios.isfinite().all()
    assert pipeline.sample(prompt)[0].isfinite().all()


@pytest.mark.parametrize(
    ("prompt", "wordless"),
    [("", True), (" \n", True), ("\u200b", True), ("\x01", True), ("...", True), ("雨", False), ("🐶", False)],
)
def test_prompts_without_words_are_warned_of(prompt: str, wordless: bool, caplog: pytest.LogCaptureFixture) -> None:
    assert as_prompts(["rain", prompt]) == ["rain", prompt]
    assert ("prompt 1 " in caplog.text) == wordless

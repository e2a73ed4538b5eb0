"""Stable Audio's transformer as a denoiser, compared with diffusers' own pipeline."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from diffusers import AutoencoderOobleck, CosineDPMSolverMultistepScheduler, StableAudioDiTModel, StableAudioPipeline
from diffusers.pipelines.stable_audio.modeling_stable_audio import StableAudioProjectionModel
from transformers import ByT5Tokenizer, T5Config, T5EncoderModel

from consistency_tta.components.backbones import StableAudioBackbone
from consistency_tta.components.text import TextEncoder
from consistency_tta.contracts import Conditioning, TextEmbedding
from consistency_tta.diffusion.guidance import CFGDenoiser
from consistency_tta.diffusion.schedules import RectifiedFlowSchedule, schedule_from_config
from consistency_tta.runtime.errors import ConfigurationError, ModelFolderError

WIDTH = 16
TRANSFORMER: dict[str, Any] = {
    "sample_size": 12,
    "in_channels": 4,
    "out_channels": 4,
    "num_layers": 2,
    "attention_head_dim": 8,
    "num_attention_heads": 2,
    "num_key_value_attention_heads": 1,
    "cross_attention_dim": 8,
    "time_proj_dim": 8,
    "global_states_input_dim": 2 * WIDTH,
    "cross_attention_input_dim": WIDTH,
}


def parts() -> dict[str, Any]:
    """Tiny, random parts of a StableAudioPipeline."""
    torch.manual_seed(0)
    text = T5Config(vocab_size=300, d_model=WIDTH, d_kv=8, d_ff=16, num_layers=1, num_heads=2)
    return {
        "vae": AutoencoderOobleck(
            encoder_hidden_size=4,
            downsampling_ratios=[2, 2],
            channel_multiples=[1, 2],
            decoder_channels=4,
            decoder_input_channels=4,
        ).eval(),
        "text_encoder": T5EncoderModel(text).eval(),
        "tokenizer": ByT5Tokenizer(extra_ids=0, model_max_length=32),
        "projection_model": StableAudioProjectionModel(WIDTH, WIDTH, 0, 512).eval(),
        "transformer": StableAudioDiTModel(**TRANSFORMER).eval(),
        "scheduler": CosineDPMSolverMultistepScheduler(solver_order=2, prediction_type="v_prediction"),
    }


def backbone(made: dict[str, Any], schedule: Any = None, prediction_type: str = "v_prediction") -> StableAudioBackbone:
    schedule = schedule or schedule_from_config(made["scheduler"].config)
    own = {"projection_model": made["projection_model"]}
    return StableAudioBackbone(made["transformer"], schedule, prediction_type, parts=own, text_length=32)


def conditioning(made: dict[str, Any], captions: list[str], seconds: float) -> Conditioning:
    text = TextEncoder(made["tokenizer"], made["text_encoder"])(captions)
    rows = len(captions)
    return Conditioning(
        text, scalars={"seconds_start": torch.zeros(rows), "seconds_total": torch.full((rows,), seconds)}
    )


@torch.no_grad()
def test_guided_queries_are_those_of_diffusers_pipeline() -> None:
    """What StableAudioPipeline gives its transformer at the first step, and what it makes of the answer."""
    made = parts()
    pipeline = StableAudioPipeline(**made)
    pipeline.set_progress_bar_config(disable=True)
    seen: list[tuple[Any, torch.Tensor]] = []
    made["transformer"].register_forward_hook(
        lambda _m, args, kwargs, out: seen.append(((args, kwargs), out[0])), with_kwargs=True
    )
    captions, w = ["a dog barks", "rain"], 5.0
    noise = torch.randn(2, 4, 12)
    pipeline(
        captions,
        audio_end_in_s=12 * 4 / 44100,
        num_inference_steps=4,
        guidance_scale=w,
        latents=noise,
        output_type="latent",
    )
    (args, kwargs), theirs = seen[0]
    del seen[:]
    # Theirs is a step at the top; ours is asked at the t of that timestep, and given what their network was.
    ours = backbone(made)
    timestep = args[1] if len(args) > 1 else kwargs["timestep"]
    time = ours.schedule.time(torch.tan(timestep.double() * torch.pi / 2)).float().expand(2)
    given = conditioning(made, captions, 12 * 4 / 44100)
    scaled = args[0][:2]
    empty = ours.unconditional(TextEncoder(made["tokenizer"], made["text_encoder"])([""]))
    CFGDenoiser(ours, empty, w)(scaled, time, given)
    (our_args, our_kwargs), answer = seen[0]
    torch.testing.assert_close(our_args[0], args[0])
    torch.testing.assert_close(our_kwargs["encoder_hidden_states"], kwargs["encoder_hidden_states"])
    torch.testing.assert_close(our_kwargs["global_hidden_states"], kwargs["global_hidden_states"])
    torch.testing.assert_close(our_args[1], timestep.expand(4), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(answer, theirs, atol=1e-4, rtol=1e-4)


def test_a_student_starts_at_the_conditional_prediction_at_every_w_and_s() -> None:
    made = parts()
    teacher = backbone(made, RectifiedFlowSchedule(), "flow_prediction")
    z_t, t = torch.randn(2, 4, 12), torch.tensor([1000.0, 250.0])
    for part in (made["text_encoder"], made["projection_model"]):
        part.requires_grad_(False)
    given = conditioning(made, ["a", "bc"], 1.0)
    with torch.no_grad():
        expected = teacher(z_t, t, given)
    for second_time in (False, True):
        student = teacher.student_copy(second_time=second_time)
        for w in (0.0, 3.0):
            given.guidance_scale = torch.full((2,), w)
            s = torch.tensor([0.0, 100.0]) if second_time else None
            torch.testing.assert_close(student(z_t, t, given, s), expected)
        student(z_t, t, given, s).square().sum().backward()
        assert student.network.global_proj[0].weight.grad[:, 2 * WIDTH :].abs().max() > 0  # it can learn to read them
        assert all(parameter.grad is None for parameter in teacher.network.parameters())
        # A student of the student reads the same features.
        assert student.student_copy(second_time=second_time).network.config == student.network.config


def test_the_latents_shape_and_what_is_missing_are_named() -> None:
    made = parts()
    assert backbone(made).latent_shape == (4, 12)
    with pytest.raises(ModelFolderError, match="projection_model"):
        StableAudioBackbone(made["transformer"], schedule_from_config(made["scheduler"].config), "v_prediction")
    student = backbone(made).student_copy()
    z_t, t, given = torch.randn(1, 4, 12), torch.tensor([500.0]), conditioning(made, ["a"], 1.0)
    with pytest.raises(ConfigurationError):
        student(z_t, t, given)
    long = TextEmbedding(torch.zeros(1, 40, WIDTH), torch.ones(1, 40).bool())
    with pytest.raises(ConfigurationError, match="32"):
        backbone(made)(z_t, t, Conditioning(long))

"""TangoFlux's transformer as a denoiser, compared with the network used as TangoFlux's own code does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderOobleck, FlowMatchEulerDiscreteScheduler, FluxTransformer2DModel, StableAudioDiTModel
from torch import Tensor

from consistency_tta.components.backbones import FluxBackbone, build_backbone, new_backbone
from consistency_tta.components.tangoflux_projection import TangoFluxProjection
from consistency_tta.components.text import ByteTextEncoder, TextEncoder
from consistency_tta.contracts import Conditioning
from consistency_tta.diffusion.sampler import ODESampler
from consistency_tta.diffusion.schedules import RectifiedFlowSchedule
from consistency_tta.pipeline import TextToAudioPipeline
from consistency_tta.runtime.errors import ModelFolderError
from tests.toys import DIT, OOBLECK, TEXT

WIDTH, FRAMES, SECONDS = 16, 16, 0.02
FLUX: dict[str, Any] = {
    "in_channels": 4,
    "num_layers": 1,
    "num_single_layers": 1,
    "attention_head_dim": 8,
    "num_attention_heads": 2,
    "joint_attention_dim": WIDTH,
    "pooled_projection_dim": WIDTH,
    "axes_dims_rope": (2, 2, 4),
}


def parts() -> dict[str, Any]:
    """Components of a tiny, random TangoFlux, whose projection knows what padding of the empty prompt is."""
    torch.manual_seed(0)
    text = ByteTextEncoder(**TEXT).eval()
    projection = TangoFluxProjection(WIDTH, 30, FRAMES)
    with torch.no_grad():
        projection.padding.copy_(text(["", "ab"]).embedding[0, -1])
    return {
        "vae": AutoencoderOobleck(**OOBLECK).eval(),
        "text_encoder": text.encoder,
        "tokenizer": text.tokenizer,
        "projection_model": projection.eval(),
        "transformer": FluxTransformer2DModel(**FLUX).eval(),
        "scheduler": FlowMatchEulerDiscreteScheduler(num_train_timesteps=1000),
    }


def backbone(made: dict[str, Any]) -> FluxBackbone:
    own = {"projection_model": made["projection_model"]}
    built = build_backbone(made["transformer"], RectifiedFlowSchedule(), "flow_prediction", parts=own)
    assert isinstance(built, FluxBackbone)
    return built


@torch.no_grad()
def tangoflux(made: dict[str, Any], caption: str, noise: Tensor, steps: int, w: float, seconds: float) -> Tensor:
    """Latents (1, C, T) of one caption, as ``TangoFlux.inference_flow`` makes them; padding is attended to."""
    encoder, tokenizer, projection = made["text_encoder"], made["tokenizer"], made["projection_model"]
    ids = tokenizer([caption], return_tensors="pt").input_ids
    both = tokenizer(["", caption], padding="max_length", max_length=ids.shape[1], return_tensors="pt")
    text = encoder(input_ids=both.input_ids, attention_mask=both.attention_mask).last_hidden_state
    mean = torch.stack([row[kept == 1].mean(0) for row, kept in zip(text, both.attention_mask, strict=True)])
    states = torch.cat([text, projection.duration(torch.tensor([seconds])).repeat(2, 1, 1)], dim=1)
    scheduler = FlowMatchEulerDiscreteScheduler(num_train_timesteps=1000)
    scheduler.set_timesteps(sigmas=torch.linspace(1, 1 / steps, steps).numpy())
    latents = noise.transpose(1, 2)
    for timestep in scheduler.timesteps:
        unconditional, conditional = made["transformer"](
            latents.repeat(2, 1, 1),
            encoder_hidden_states=states,
            pooled_projections=projection.pooled(mean),
            timestep=timestep[None] / 1000,
            img_ids=torch.arange(noise.shape[2]).float()[:, None].repeat(1, 3),
            txt_ids=torch.zeros(states.shape[1], 3),
        ).sample.chunk(2)
        flow = unconditional + w * (conditional - unconditional)
        latents = scheduler.step(flow, timestep, latents).prev_sample
    return latents.transpose(1, 2)


def test_sounds_are_those_of_tangofluxs_own_use_of_the_network() -> None:
    made = parts()
    pipeline = TextToAudioPipeline(**made, sampler=ODESampler(4))
    pipeline.set_progress_bar_config(disable=True)
    noise, captions = torch.randn(2, 4, FRAMES), ["a dog barks", "rain"]
    expected = torch.cat(
        [tangoflux(made, caption, row[None], 4, 4.5, SECONDS) for caption, row in zip(captions, noise, strict=True)]
    )
    latents, queries = pipeline.sample(captions, 4.5, latents=noise, seconds=SECONDS)
    assert queries == 2 * 4
    # Both captions at once: neither depends on the other's length.
    torch.testing.assert_close(latents, expected, atol=1e-5, rtol=1e-4)
    # The padding of the empty prompt matters, so that its being right is tested above.
    made["projection_model"].padding.zero_()
    assert not torch.allclose(pipeline.sample(captions, 4.5, latents=noise, seconds=SECONDS)[0], expected, atol=1e-3)


def test_a_folder_keeps_every_bit(tmp_path: Path) -> None:
    made, noise = parts(), torch.randn(1, 4, FRAMES)
    pipeline = TextToAudioPipeline(**made, sampler=ODESampler(2))
    pipeline.save_pretrained(tmp_path / "flux")
    again = TextToAudioPipeline.from_pretrained(tmp_path / "flux")
    assert again.latent_shape == (4, FRAMES)
    expected = pipeline("a dog", latents=noise)
    assert expected.waveform.shape == (1, 2, FRAMES * 64)
    assert torch.equal(again("a dog", latents=noise).waveform, expected.waveform)


def conditioning(made: dict[str, Any]) -> Conditioning:
    with torch.no_grad():
        text = TextEncoder(made["tokenizer"], made["text_encoder"])(["a", "bcd"])
    made["projection_model"].requires_grad_(False)
    return Conditioning(text, scalars={"seconds_total": torch.tensor([1.0, 20.0])})


def test_a_student_starts_at_the_conditional_prediction_at_every_w_and_s() -> None:
    made = parts()
    teacher, given = backbone(made), conditioning(made)
    z_t, t = torch.randn(2, 4, FRAMES), torch.tensor([1000.0, 250.0])
    with torch.no_grad():
        expected = teacher(z_t, t, given)
    for second_time in (False, True):
        student = teacher.student_copy(second_time=second_time)
        for w in (0.0, 3.0):
            given.guidance_scale = torch.full((2,), w)
            s = torch.tensor([0.0, 100.0]) if second_time else None
            torch.testing.assert_close(student(z_t, t, given, s), expected)
        student(z_t, t, given, s).square().sum().backward()
        first = student.network.time_text_embed.text_embedder.linear_1
        assert first.weight.grad[:, WIDTH:].abs().max() > 0  # it can learn to read them
        assert all(parameter.grad is None for parameter in teacher.network.parameters())
        assert student.student_copy(second_time=second_time).network.config == student.network.config


@torch.no_grad()
def test_captions_and_durations_reach_the_transformer_and_padding_does_not() -> None:
    made = parts()
    teacher, given = backbone(made), conditioning(made)
    z_t, t = torch.randn(2, 4, FRAMES), torch.tensor([700.0, 700.0])
    expected = teacher(z_t, t, given)
    given.text.embedding[0, -1] += 100.0  # the first caption is shorter than the second
    torch.testing.assert_close(teacher(z_t, t, given), expected)
    given.scalars["seconds_total"] = torch.tensor([1.0, 10.0])
    changed = teacher(z_t, t, given)
    torch.testing.assert_close(changed[0], expected[0])
    assert not torch.allclose(changed[1], expected[1], atol=1e-5)
    assert not torch.allclose(teacher(z_t, t, Conditioning(given.text))[0], expected[0], atol=1e-5)
    longest = Conditioning(given.text, scalars={"seconds_total": torch.tensor([30.0, 99.0])})
    torch.testing.assert_close(teacher(z_t, t, longest), teacher(z_t, t, Conditioning(given.text)))


def test_what_is_missing_is_named() -> None:
    made = parts()
    with pytest.raises(ModelFolderError, match="TangoFluxProjection"):
        FluxBackbone(made["transformer"], RectifiedFlowSchedule(), "flow_prediction")
    own = {"projection_model": made["projection_model"]}
    guided = FluxTransformer2DModel(**FLUX, guidance_embeds=True)
    with pytest.raises(ModelFolderError, match="guidance_embeds"):
        FluxBackbone(guided, RectifiedFlowSchedule(), "flow_prediction", parts=own)


def test_a_new_transformer_gets_a_projection_of_its_own() -> None:
    made = new_backbone(FluxTransformer2DModel(**FLUX), RectifiedFlowSchedule(), "flow_prediction", WIDTH, 64)
    assert made.latent_shape == (4, 645)
    other = new_backbone(StableAudioDiTModel(**DIT), RectifiedFlowSchedule(), "flow_prediction", 16, 64)
    assert not isinstance(other, FluxBackbone)

"""A U-Net as a denoiser, and a student that starts at its teacher."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from diffusers import UNet2DConditionModel

from consistency_tta.components.backbones.unet import UNetBackbone, widen_unet
from consistency_tta.components.guidance import GuidanceEmbedding
from consistency_tta.contracts import Conditioning, TextEmbedding
from consistency_tta.diffusion.schedules import NoiseSchedule, schedule_from_config, stable_diffusion_scheduler
from consistency_tta.runtime.errors import ConfigurationError, ModelFolderError
from tests.toys import UNET_OF_ALL_BLOCKS


def schedule() -> NoiseSchedule:
    return schedule_from_config(stable_diffusion_scheduler().config)


def inputs(guidance_scale: float | None = None) -> tuple[torch.Tensor, torch.Tensor, Conditioning]:
    text = TextEmbedding(torch.randn(2, 3, 16), torch.tensor([[True, True, True], [True, False, False]]))
    scale = None if guidance_scale is None else torch.full((2,), guidance_scale)
    return torch.randn(2, 4, 8, 4), torch.tensor([1000.0, 250.5]), Conditioning(text, scale)


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction", "sample"])
def test_the_output_means_what_prediction_type_says(prediction_type: str) -> None:
    unet = UNet2DConditionModel(**UNET_OF_ALL_BLOCKS).eval()
    z_t, t, conditioning = inputs()
    text = conditioning.text
    # The contract's t = k + 1 is the network's timestep k.
    raw = unet(z_t, t - 1, text.embedding, encoder_attention_mask=text.mask).sample
    cumulative = torch.cat([torch.ones(1), stable_diffusion_scheduler().alphas_cumprod])
    alpha = cumulative[1000].sqrt().reshape(1, 1, 1, 1)  # the first example is at a whole t
    sigma = (1 - cumulative[1000]).sqrt().reshape(1, 1, 1, 1)
    z, output = z_t[:1], raw[:1]
    expected = {
        "epsilon": (z - sigma * output) / alpha,
        "v_prediction": alpha * z - sigma * output,
        "sample": output,
    }[prediction_type]
    got = UNetBackbone(unet, schedule(), prediction_type)(z_t, t, conditioning)
    torch.testing.assert_close(got[:1], expected, atol=1e-4, rtol=1e-4)
    assert got.shape == z_t.shape


def test_the_network_is_given_t_minus_1_and_the_mask() -> None:
    unet = UNet2DConditionModel(**UNET_OF_ALL_BLOCKS)
    seen: list[tuple[Any, Any]] = []
    unet.register_forward_pre_hook(lambda _m, args, kwargs: seen.append((args, kwargs)), with_kwargs=True)
    z_t, t, conditioning = inputs()
    UNetBackbone(unet, schedule(), "v_prediction")(z_t, t, conditioning)
    (args, kwargs) = seen[0]
    assert torch.equal(args[1], torch.tensor([999.0, 249.5]))
    assert torch.equal(kwargs["encoder_attention_mask"], conditioning.text.mask)


def test_masked_tokens_are_not_read() -> None:
    denoiser = UNetBackbone(UNet2DConditionModel(**UNET_OF_ALL_BLOCKS).eval(), schedule(), "v_prediction")
    z_t, t, conditioning = inputs()
    expected = denoiser(z_t, t, conditioning)
    conditioning.text.embedding[1, 1:] += 100
    torch.testing.assert_close(denoiser(z_t, t, conditioning), expected)
    conditioning.text.embedding[1, 0] += 1
    assert not torch.allclose(denoiser(z_t, t, conditioning)[1], expected[1], atol=1e-4)


def test_a_student_starts_at_the_teacher_and_shares_nothing() -> None:
    teacher, features = UNet2DConditionModel(**UNET_OF_ALL_BLOCKS), GuidanceEmbedding()
    student = widen_unet(teacher, features.num_features)
    z_t, t, conditioning = inputs(3.0)
    expected = UNetBackbone(teacher, schedule(), "v_prediction")(z_t, t, Conditioning(conditioning.text))
    got = UNetBackbone(student, schedule(), "v_prediction", features)(z_t, t, conditioning)
    torch.testing.assert_close(got, expected)
    with torch.no_grad():
        for parameter in student.parameters():
            parameter.add_(1)
    again = UNetBackbone(teacher, schedule(), "v_prediction")(z_t, t, Conditioning(conditioning.text))
    assert torch.equal(again, expected)
    # The new branch ends in zeros, but not in dead ones: its last layer has gradients at once.
    fresh = widen_unet(teacher, features.num_features)
    UNetBackbone(fresh, schedule(), "v_prediction", features)(z_t, t, conditioning).square().sum().backward()
    assert fresh.class_embedding.linear_2.weight.grad.abs().max() > 0


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_networks_answer_in_float32(dtype: torch.dtype) -> None:
    features = GuidanceEmbedding()
    student = widen_unet(UNet2DConditionModel(**UNET_OF_ALL_BLOCKS), features.num_features)
    z_t, t, conditioning = inputs(3.0)
    expected = UNetBackbone(student, schedule(), "v_prediction", features)(z_t, t, conditioning)
    half = UNetBackbone(student.to(dtype), schedule(), "v_prediction", features)(z_t, t, conditioning)
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, expected, atol=0.1, rtol=0)


def test_a_network_and_its_guidance_must_agree() -> None:
    teacher, features = UNet2DConditionModel(**UNET_OF_ALL_BLOCKS), GuidanceEmbedding()
    with pytest.raises(ModelFolderError):
        UNetBackbone(teacher, schedule(), "v_prediction", features)
    student = widen_unet(teacher, features.num_features)
    with pytest.raises(ModelFolderError):
        UNetBackbone(student, schedule(), "v_prediction")
    with pytest.raises(ConfigurationError, match="prediction_type"):
        UNetBackbone(teacher, schedule(), "v")
    z_t, t, conditioning = inputs()
    with pytest.raises(ConfigurationError):
        UNetBackbone(student, schedule(), "v_prediction", features)(z_t, t, conditioning)

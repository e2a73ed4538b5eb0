"""Derivatives along a direction, of every backbone, under autocast and in inference mode."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from consistency_tta.components.backbones import Backbone
from consistency_tta.contracts import Conditioning, TextEmbedding
from consistency_tta.diffusion.derivative import central_difference, value_and_derivative
from consistency_tta.diffusion.noise import expand
from consistency_tta.pipeline import TextToAudioPipeline
from tests.components.backbones import test_flux
from tests.toys import stereo_parts, toy_parts

BACKBONES = {
    "unet": lambda: TextToAudioPipeline(**toy_parts()).denoiser,
    "stable_audio": lambda: TextToAudioPipeline(**stereo_parts()).denoiser,
    "flux": lambda: test_flux.backbone(test_flux.parts()),
}


def inputs(student: Backbone) -> tuple[Tensor, Tensor, Tensor, Conditioning]:
    """z_t, t, dz/dt and conditioning; the caption's embedding is made where it is used, such as in inference mode."""
    z_t, direction = torch.randn(2, 2, *student.latent_shape)
    text = TextEmbedding(torch.randn(2, 5, 16), torch.ones(2, 5, dtype=torch.bool))
    return z_t, torch.tensor([900.0, 300.0]), direction, Conditioning(text, torch.tensor([3.0, 2.0]))


@pytest.mark.parametrize("name", BACKBONES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_both_ways_agree_for_every_backbone(name: str, dtype: torch.dtype) -> None:
    student = BACKBONES[name]().student_copy().train()
    for inference in (False, True):
        autocast = torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16)
        with autocast, torch.inference_mode(inference):
            z_t, t, direction, given = inputs(student)

            def query(z_t: Tensor, t: Tensor, given: Conditioning = given) -> Tensor:
                return student(z_t, t, given)

            value, exact = value_and_derivative(query, z_t, t, direction)

            def path(time: Tensor, start: tuple[Tensor, ...] = (z_t, t, direction)) -> Tensor:
                return start[0] + expand(time - start[1], start[2]) * start[2]

            plain, near = central_difference(query, path, t, 0.03)
        assert not exact.requires_grad
        torch.testing.assert_close(value, plain, atol=1e-5 if dtype == torch.float32 else 0.05, rtol=0)
        assert (exact - near).norm() < 0.04 * exact.norm()


def test_gradients_of_the_value_are_those_of_a_plain_query() -> None:
    student = BACKBONES["unet"]().student_copy()
    z_t, t, direction, given = inputs(student)

    def gradients(value: Tensor) -> Any:
        return torch.autograd.grad(value.square().mean(), list(student.parameters()))

    value, _ = value_and_derivative(lambda z_t, t: student(z_t, t, given), z_t, t, direction)
    torch.testing.assert_close(gradients(value), gradients(student(z_t, t, given)))


def test_autocast_keeps_the_gradients_of_later_queries() -> None:
    """Autocast keeps converted weights for later queries: those of a derivative must be as good as any other."""
    student = BACKBONES["unet"]().student_copy()
    z_t, t, direction, given = inputs(student)

    def gradients(first: bool) -> Any:
        with torch.autocast("cpu", torch.bfloat16):
            if first:
                value_and_derivative(lambda z_t, t: student(z_t, t, given), z_t, t, direction)
            value = student(z_t, t, given)
        return torch.autograd.grad(value.square().mean(), list(student.parameters()))

    torch.testing.assert_close(gradients(first=True), gradients(first=False))


def test_differences_are_narrower_at_the_ends() -> None:
    times: list[Tensor] = []

    def square(z: Tensor, t: Tensor) -> Tensor:
        times.append(t)
        return z**2 + t[:, None]

    t = torch.tensor([10.0, 4.0, 1.5], dtype=torch.float64)
    value, found = central_difference(square, lambda t: t[:, None], t, step=2.0, lowest=1.0, highest=10.0)
    assert [time.tolist() for time in times] == [[10.0, 4.0, 1.5], [10.0, 6.0, 3.5], [8.0, 2.0, 1.0]]
    torch.testing.assert_close(value, (t**2 + t)[:, None])
    torch.testing.assert_close(found, torch.tensor([[19.0], [9.0], [5.5]], dtype=torch.float64))  # earlier + later + 1

"""Directional derivatives of networks, against central finite differences."""

from __future__ import annotations

import pytest
import torch

from consistency_tta.components.backbones import build_backbone, new_backbone
from consistency_tta.contracts import Conditioning, TextEmbedding
from consistency_tta.diffusion.derivative import directional_derivative
from consistency_tta.diffusion.schedules import prediction_type_from_config, schedule_from_config
from tests.toys import TEXT, stereo_parts, toy_parts


def student(kind):
    """A student with a second time, no weight of which is 0."""
    parts = toy_parts() if kind == "unet" else stereo_parts()
    schedule = schedule_from_config(parts["scheduler"].config)
    prediction_type = prediction_type_from_config(parts["scheduler"].config)
    if kind == "unet":
        teacher = build_backbone(parts["unet"], schedule, prediction_type)
    else:
        teacher = new_backbone(parts["transformer"], schedule, prediction_type, TEXT["width"], 8)
    network = teacher.student_copy(second_time=True)
    for parameter in network.parameters():
        if not parameter.detach().any():
            torch.nn.init.normal_(parameter, std=0.1)
    return network


def inputs(network, dtype):
    """Inputs, a direction of z_t and t, and the query that is differentiated."""
    text = TextEmbedding(torch.randn(2, 8, TEXT["width"], dtype=dtype), torch.ones(2, 8, dtype=torch.bool))
    conditioning = Conditioning(text, torch.tensor([3.0, 1.0], dtype=dtype))
    z_t, dz = torch.randn(2, 2, *network.latent_shape, dtype=dtype)
    t, s = torch.tensor([900.3, 300.6], dtype=dtype), torch.tensor([0.0, 150.0], dtype=dtype)
    return z_t, t, dz, torch.full_like(t, 5.0), lambda z, time: network(z, time, conditioning, s)


@pytest.mark.parametrize(("kind", "h", "tolerance"), [("unet", 1e-5, 1e-6), ("transformer", 1e-3, 1e-4)])
def test_the_derivative_of_a_student_is_that_of_finite_differences(kind, h, tolerance, monkeypatch):
    # What networks cast by `float()` stays in float64; the transformer has other casts to float32, too.
    monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)
    network = student(kind).double()
    z_t, t, dz, dt, query = inputs(network, torch.float64)
    found = directional_derivative(query, (z_t, t), (dz, dt))
    with torch.no_grad():
        expected = (query(z_t + h * dz, t + h * dt) - query(z_t - h * dz, t - h * dt)) / (2 * h)
    assert expected.std() > 1e-2
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance / 10)


def test_both_parts_of_the_direction_count():
    z_t, t, dz, dt, query = inputs(student("unet"), torch.float32)
    whole = directional_derivative(query, (z_t, t), (dz.double(), dt.bfloat16()))  # cast to the inputs' types
    assert whole.dtype == torch.float32
    by_latent = directional_derivative(query, (z_t, t), (dz, 0 * dt))
    by_time = directional_derivative(query, (z_t, t), (0 * dz, dt))
    assert min(by_latent.std(), by_time.std()) > 1e-3
    torch.testing.assert_close(whole, by_latent + by_time, rtol=1e-3, atol=1e-4)


def test_autocast_inference_mode_and_gradients_do_not_matter():
    network = student("unet")
    z_t, t, dz, dt, query = inputs(network, torch.float32)
    expected = directional_derivative(query, (z_t, t), (dz, dt))
    assert not expected.requires_grad
    with torch.inference_mode():
        torch.testing.assert_close(directional_derivative(query, (z_t * 1, t), (dz * 1, dt)), expected)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = query(z_t, t)
        torch.testing.assert_close(directional_derivative(query, (z_t, t), (dz, dt)), expected)
        out.sum().backward()  # the weights' gradients outlive the derivative
    assert network.unet.conv_in.weight.grad.any()

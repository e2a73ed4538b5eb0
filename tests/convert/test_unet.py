"""TANGO's U-Net and ConsistencyTTA's student."""

from __future__ import annotations

import math

import pytest
import torch

from consistency_tta.convert.unet import guided_unet, unet
from consistency_tta.runtime.errors import CheckpointError
from tests.convert import published

LIGHT = {"channels": (256, 512, 1024, 1024)}


def meta(shapes: published.Shapes) -> dict[str, torch.Tensor]:
    return {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}


@pytest.mark.parametrize(
    ("form", "plain", "guided", "parameters"),
    [
        (
            {},
            "abef48fe302420fb5a4f8658885dfef176a90ab672c18553f8e6bd1ce49c83eb",
            "8e6def7faece8cec59e0441cfe9ba27e26f301889a5ef38348ccf8404f63d70d",
            865_933_768,
        ),
        (
            LIGHT,
            "466b755276b1d1c993e0c5ddedfc4845d079e673e0866b1ea9c10a37df6e76dc",
            "c994d68ce1662310666d632ac86751253e4470bcba04e5b3f7f9dcc972299ffd",
            557_109_964,
        ),
    ],
    ids=["tango", "light"],
)
def test_at_full_size_names_shapes_and_counts_are_the_published_ones(
    form: dict, plain: str, guided: str, parameters: int
) -> None:
    """Digests and counts: of the official classes in configs/tango_diffusion.json and tango_diffusion_light.json.

    866 M is also what TANGO's README says.
    """
    shapes, with_guidance = published.unet(**form), published.unet(**form, guided=True)
    assert (published.digest(shapes), published.digest(with_guidance)) == (plain, guided)
    assert published.count(shapes) == parameters
    network = unet(meta(shapes), (256, 16), "x")
    assert sum(parameter.numel() for parameter in network.parameters()) == parameters
    # As in the published configurations.
    assert network.config.attention_head_dim == (5, 10, 20, 20)
    assert network.config.cross_attention_dim == 1024
    assert (network.config.use_linear_projection, network.config.upcast_attention) == (True, True)
    assert network.config.sample_size == (256, 16)
    student, embedding = guided_unet(meta(with_guidance), (256, 16), "x")
    assert student.config.class_embed_type == "projection"
    assert embedding is not None
    assert embedding.num_features == 4 * student.config.block_out_channels[0]


@torch.no_grad()
def test_the_student_computes_what_the_official_code_computes() -> None:
    """Expected values: of ``UNet2DConditionGuidedModel`` in Bai-YT/ConsistencyTTA at commit 8ea43b6.

    Its configuration was tango_diffusion_light.json at the widths below, its weights ``published.filled``. The widths
    have heads that do not divide them, as 256 and 5 do in the real one.
    """
    shapes = published.unet(**published.SMALL_UNET | {"latent": 8}, guided=True)
    network, embedding = guided_unet(published.filled(shapes), (8, 4), "x")
    assert embedding is not None
    noise = (torch.arange(512.0) * 0.37).sin().reshape(2, 8, 8, 4)
    text = (torch.arange(96.0) * 0.53).cos().reshape(2, 3, 16)
    mask = torch.tensor([[True, True, True], [True, False, False]])

    def student(*scales: float) -> torch.Tensor:
        features = embedding(torch.tensor(scales))
        return network(
            noise, torch.tensor(999.0), text, class_labels=features, encoder_attention_mask=mask
        ).sample.double()

    out = student(4.0, 1.5)
    expected = [[-0.00393311, 0.04301479, 0.06045460, -0.05977133], [0.31500819, 0.28659096, 0.08379671, 0.37556425]]
    torch.testing.assert_close(out[0, 0, :2], torch.tensor(expected).double(), atol=5e-5, rtol=0)
    expected = [0.52998483, 0.31015363, 0.19105639, 0.29160905]
    torch.testing.assert_close(out[1, 3, 5], torch.tensor(expected).double(), atol=5e-5, rtol=0)
    assert float(out.sum()) == pytest.approx(-3.32402372, abs=2e-3)
    assert float(out.square().sum()) == pytest.approx(128.99359756, rel=1e-5)
    assert float((out - student(1.0, 1.0)).abs().max()) > 0.1  # it does read the guidance scale


@torch.no_grad()
def test_the_guidance_branch_is_the_same_function() -> None:
    """[cos, sin] features of w, then two layers with a SiLU between them."""
    weights = published.filled(published.unet(**published.SMALL_UNET, guided=True))
    network, embedding = guided_unet(weights, (8, 4), "x")
    assert embedding is not None
    scales = torch.tensor([0.0, 1.0, 3.7, 6.0])
    phase = 2 * math.pi * scales[:, None] * weights["guidance_proj.weight"]
    first, second = (weights[f"guidance_embedding.linear_{index}.weight"] for index in (1, 2))
    hidden = torch.cat([phase.cos(), phase.sin()], 1) @ first.T + weights["guidance_embedding.linear_1.bias"]
    expected = torch.nn.functional.silu(hidden) @ second.T + weights["guidance_embedding.linear_2.bias"]
    torch.testing.assert_close(network.class_embedding(embedding(scales)), expected, atol=1e-5, rtol=1e-5)


def test_without_the_branch_there_is_no_embedding() -> None:
    _, embedding = guided_unet(published.filled(published.unet(**published.SMALL_UNET)), (8, 4), "x")
    assert embedding is None


def test_another_network_is_refused_with_names() -> None:
    weights = published.filled(published.unet(**published.SMALL_UNET, guided=True))
    with pytest.raises(CheckpointError, match=r"x\.bin .*conv_in\.weight"):
        unet({}, (8, 4), "x.bin")
    with pytest.raises(CheckpointError, match="128"):
        guided_unet(weights | {"guidance_proj.weight": torch.ones(3)}, (8, 4), "x.bin")
    lora = weights | {"mid_block.attentions.0.processor.to_q_lora.down.weight": torch.ones(1)}
    with pytest.raises(CheckpointError, match=r"mid_block\.attentions\.0\.processor"):
        guided_unet(lora, (8, 4), "x.bin")
    truncated = {name: tensor for name, tensor in weights.items() if not name.startswith("up_blocks.1")}
    with pytest.raises(CheckpointError, match=r"up_blocks\.1\.attentions"):
        guided_unet(truncated, (8, 4), "x.bin")

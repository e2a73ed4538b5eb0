"""TANGO's U-Net, and ConsistencyTTA's, which also reads the guidance scale."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor

from consistency_tta.components import networks
from consistency_tta.components.guidance import GuidanceEmbedding
from consistency_tta.convert.exact import build_matching, count, shape
from consistency_tta.runtime.errors import CheckpointError

#: Mel frames of 10.24 s, and so the sounds all of these models make; the published configurations lack it.
MEL_FRAMES = 1024


def unet(tensors: Mapping[str, Tensor], latent_size: tuple[int, int], origin: object) -> UNet2DConditionModel:
    """A U-Net of diffusers, which TANGO and ConsistencyTTA use in the stock form and with stock names.

    Widths are read from the weights. Heads cannot be: all published configurations have 5 times the level's width over
    the first level's (TANGO's ``diffusion_model_config.json``, ConsistencyTTA's ``tango_diffusion_light.json``).

    Args:
        tensors: its weights, and no others.
        latent_size: (T, F) of the latents.
        origin: where they come from, in messages.
    """
    what = "a U-Net of TANGO's kind"
    _, latent_channels, *_ = shape(tensors, "conv_in.weight", what, origin)
    first, attention = "down_blocks.{}.resnets.0.conv1.weight", "down_blocks.{}.attentions.0.proj_in.weight"
    channels = [tensors[first.format(level)].shape[0] for level in range(count(tensors, first))]
    projections = "mid_block.attentions.0.transformer_blocks.0.attn2.to_k.weight"
    class_embedding = tensors.get("class_embedding.linear_1.weight")

    def make() -> UNet2DConditionModel:
        network = networks.unet(
            latent_size=latent_size,
            latent_channels=latent_channels,
            text_width=shape(tensors, projections, what, origin)[1],
            channels=channels,
            attention=[attention.format(level) in tensors for level in range(len(channels))],
            heads=[5 * width // channels[0] for width in channels],
            layers_per_block=count(tensors, "down_blocks.0.resnets.{}.conv1.weight"),
        )
        if class_embedding is None:
            return network
        return reading_guidance(network, class_embedding.shape[1])

    return build_matching(make, tensors, what, origin)


def reading_guidance(unet: UNet2DConditionModel, num_features: int) -> UNet2DConditionModel:
    """A new U-Net of the same form, with a class embedding of so many features."""
    config = {key: value for key, value in unet.config.items() if not key.startswith("_")}
    guided = {"class_embed_type": "projection", "projection_class_embeddings_input_dim": num_features}
    return UNet2DConditionModel.from_config(config | guided)


def guided_unet(
    tensors: Mapping[str, Tensor], latent_size: tuple[int, int], origin: object
) -> tuple[UNet2DConditionModel, GuidanceEmbedding | None]:
    """ConsistencyTTA's student, whose guidance branch is a class embedding of stock networks.

    Its ``guidance_proj`` makes features [cos, sin](2 pi w f), w itself and not its logarithm, of frozen frequencies f;
    :class:`GuidanceEmbedding` makes [sin, cos]. So the halves of the first layer's columns change places.

    Args:
        tensors: its weights, and no others; without the branch, a student of one fixed guidance scale.
        latent_size: (T, F) of the latents.
        origin: where they come from, in messages.
    """
    renamed = {name.replace("guidance_embedding.", "class_embedding."): tensor for name, tensor in tensors.items()}
    frequencies = renamed.pop("guidance_proj.weight", None)
    if frequencies is None:
        return unet(tensors, latent_size, origin), None
    first = "class_embedding.linear_1.weight"
    _, features = shape(renamed, first, "the student's guidance branch", origin)
    if features != 2 * len(frequencies):
        raise CheckpointError(
            f"{origin}: expected guidance_embedding.linear_1.weight to have two columns for each of the "
            f"{len(frequencies)} frequencies in guidance_proj.weight, got {features}"
        )
    cosines, sines = renamed[first].chunk(2, dim=1)
    renamed[first] = torch.cat([sines, cosines], dim=1)
    embedding = build_matching(
        partial(GuidanceEmbedding, num_frequencies=len(frequencies), scale=1.0),
        {"frequencies": frequencies},
        "guidance frequencies",
        origin,
    )
    return unet(renamed, latent_size, origin), embedding

"""The U-Net of latent diffusion: AudioLDM, TANGO, ConsistencyTTA, and the bundled models."""

from __future__ import annotations

from typing import Any, cast

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor, nn

from consistency_tta.components.backbones.base import Backbone, widened
from consistency_tta.contracts import Conditioning
from consistency_tta.runtime.errors import ModelFolderError
from consistency_tta.runtime.shared_copies import sharing_copies


class UNetBackbone(Backbone):
    """``UNet2DConditionModel`` over latents (B, C, T, F).

    Scalars are its class embedding (``class_embed_type="projection"``), added to the time's; so a student is a stock
    network, too.
    """

    network_class = UNet2DConditionModel
    component = "unet"
    scalar_layers = ("class_embedding",)

    def __init__(self, network: nn.Module, *args: Any, **kwargs: Any) -> None:
        super().__init__(network, *args, **kwargs)
        reads = self.network.config.class_embed_type == "projection"
        given = self.guidance_embedding is not None or self.second_time_embedding is not None
        if reads != given:
            raise ModelFolderError(
                f"the U-Net has class_embed_type={self.network.config.class_embed_type!r}, which goes "
                f"{'only with' if reads else 'not with'} a guidance embedding"
            )

    @property
    def latent_shape(self) -> tuple[int, ...]:
        """(C, T, F); an integer ``sample_size`` means a square.

        Raises:
            ModelFolderError: if the configuration has no ``sample_size``.
        """
        size = self.network.config.sample_size
        if size is None:
            raise ModelFolderError(
                "the U-Net's configuration has no sample_size: set it to (T, F) of the latents in unet/config.json"
            )
        return self.network.config.in_channels, *((size, size) if isinstance(size, int) else size)

    @property
    def frame_multiple(self) -> int:  # type: ignore[override]
        """How many frames become one in the U-Net, which is convolutional in time."""
        return 2 ** (len(self.network.config.down_block_types) - 1)

    @property
    def text_width(self) -> int:
        """Of the captions' embeddings."""
        return self.network.config.encoder_hid_dim or self.network.config.cross_attention_dim

    def predict(self, z_t: Tensor, t: Tensor, conditioning: Conditioning, s: Tensor | None = None) -> Tensor:
        """See :meth:`Backbone.predict`."""
        return self.network(
            z_t.to(self.dtype),
            self.schedule.timestep(t),
            encoder_hidden_states=conditioning.text.embedding.to(self.dtype),
            encoder_attention_mask=conditioning.text.mask,
            class_labels=self.scalar_features(conditioning, s),
        ).sample.float()

    def blocks(self) -> dict[str, tuple[nn.Module, int]]:
        """Down, mid and up blocks; what they hand on is (B, channels, T', F')."""
        channels = list(self.network.config.block_out_channels)
        found = {f"down_blocks.{i}": width for i, width in enumerate(channels)} | {"mid_block": channels[-1]}
        found |= {f"up_blocks.{i}": width for i, width in enumerate(reversed(channels))}
        return {name: (self.network.get_submodule(name), width) for name, width in found.items()}

    def widen(self, network: Any, features: int) -> UNet2DConditionModel:
        """See :meth:`Backbone.widen`."""
        return widen_unet(network, features)


def widen_unet(unet: UNet2DConditionModel, features: int) -> UNet2DConditionModel:
    """A copy of a U-Net that reads so many more features of scalars by its class embedding.

    At the start it equals the U-Net whatever the features: a new class embedding ends in zeros, and one that is there
    already gets wider by columns of zeros.
    """
    # Not the private entries: one of them lists the keys, class_embed_type among them, to be reset to defaults.
    config = {key: value for key, value in unet.config.items() if not key.startswith("_")}
    reads_some = config["class_embed_type"] == "projection"
    width = features + (config["projection_class_embeddings_input_dim"] if reads_some else 0)
    config |= {"class_embed_type": "projection", "projection_class_embeddings_input_dim": width}
    wider = UNet2DConditionModel.from_config(config)
    state, shared = unet.state_dict(), sharing_copies()
    if reads_some:
        first = widened(cast(nn.Linear, unet.class_embedding.linear_1), features)
        wider.load_state_dict(state | {"class_embedding.linear_1.weight": first.weight.data}, assign=shared)
    else:
        own = {f"class_embedding.{key}": value for key, value in wider.class_embedding.state_dict().items()}
        wider.load_state_dict(state | own, assign=shared)
        nn.init.zeros_(wider.class_embedding.linear_2.weight)
        nn.init.zeros_(wider.class_embedding.linear_2.bias)
    return wider.to(unet.device, torch.float32)

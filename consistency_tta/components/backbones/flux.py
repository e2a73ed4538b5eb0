"""The flow-matching transformer of TangoFlux."""

from __future__ import annotations

from typing import Any, cast

import torch
from diffusers import FluxTransformer2DModel
from torch import Tensor, nn

from consistency_tta.components.backbones.base import Backbone, widened
from consistency_tta.components.tangoflux_projection import TangoFluxProjection
from consistency_tta.contracts import Conditioning
from consistency_tta.diffusion.guidance import CAPTION_TOKENS
from consistency_tta.diffusion.schedules import RectifiedFlowSchedule
from consistency_tta.runtime.errors import ModelFolderError

#: The layer whose input is the pooled text, and the features of w and s after it.
POOLED = "time_text_embed.text_embedder"


class FluxBackbone(Backbone):
    """``FluxTransformer2DModel`` over latents (B, C, T) of waveforms, each frame a token.

    It attends to [text; duration], which have no positions, and modulates its layers by the time and the pooled text.
    Only a caption's own tokens are attended to, so that a sound does not depend on the other captions of its batch.
    Under classifier-free guidance the empty prompt is padded to the number of its caption's tokens, and this padding is
    attended to, as in TangoFlux. Features of w and s are appended to the pooled text, which a student has wider.

    Sources: Hung et al., "TangoFlux", 2024, https://arxiv.org/abs/2412.21037, section 2; Esser et al., "Scaling
    Rectified Flow Transformers for High-Resolution Image Synthesis", 2024, https://arxiv.org/abs/2403.03206.

    Args:
        network: the transformer.
        *args: as for :class:`Backbone`.
        **kwargs: as for :class:`Backbone`; ``parts`` has ``projection_model``, a :class:`TangoFluxProjection`.

    Raises:
        ModelFolderError: if there is no such projection, or the transformer has a guidance embedding of its own.
    """

    network_class = FluxTransformer2DModel
    component = "transformer"
    scalar_layers = (POOLED,)

    def __init__(self, network: nn.Module, *args: Any, **kwargs: Any) -> None:
        super().__init__(network, *args, **kwargs)
        part = self.get_submodule("projection_model") if "projection_model" in self.part_names else None
        if not isinstance(part, TangoFluxProjection):
            raise ModelFolderError(
                f"FluxTransformer2DModel needs a TangoFluxProjection as projection_model, got {type(part).__name__}"
            )
        if self.network.config.guidance_embeds:
            raise ModelFolderError("expected a FluxTransformer2DModel with guidance_embeds=False, got True")

    @property
    def projection(self) -> TangoFluxProjection:
        """What projects the pooled text and durations."""
        return cast(TangoFluxProjection, self.get_submodule("projection_model"))

    @property
    def latent_shape(self) -> tuple[int, ...]:
        """(C, T)."""
        return self.network.config.in_channels, self.projection.config["latent_frames"]

    @property
    def text_width(self) -> int:
        """Of the captions' embeddings."""
        return self.projection.config["text_width"]

    def predict(self, z_t: Tensor, t: Tensor, conditioning: Conditioning, s: Tensor | None = None) -> Tensor:
        """See :meth:`Backbone.predict`."""
        states, attended, pooled = self.states(conditioning)
        features = self.scalar_features(conditioning, s)
        if features is not None:
            pooled = torch.cat([pooled, features], dim=1)
        frames = torch.arange(z_t.shape[2], device=z_t.device)
        keys = torch.cat([attended, attended.new_ones(len(z_t), len(frames))], dim=1)
        out = self.network(
            z_t.transpose(1, 2).to(self.dtype),
            encoder_hidden_states=states,
            pooled_projections=pooled,
            timestep=self.timestep(t).to(self.dtype),
            img_ids=frames[:, None].expand(-1, 3).float(),
            txt_ids=z_t.new_zeros(states.shape[1], 3, dtype=torch.float32),
            joint_attention_kwargs={"attention_mask": keys[:, None, None]},
        ).sample
        return out.transpose(1, 2).float()

    def timestep(self, t: Tensor) -> Tensor:
        """The time in [0, 1] that the transformer reads: sigma_t of a rectified flow."""
        flow = isinstance(self.schedule, RectifiedFlowSchedule)
        return self.schedule.sigma(t) if flow else self.schedule.timestep(t) / self.schedule.num_train_timesteps

    def states(self, conditioning: Conditioning) -> tuple[Tensor, Tensor, Tensor]:
        """What the transformer attends to, which of it, and the pooled text.

        Returns:
            States (B, tokens + 1, width), a mask (B, tokens + 1) of those that are attended to, and the pooled text
            (B, width).
        """
        embedding, mask = conditioning.text.embedding.to(self.dtype), conditioning.text.mask
        seconds = conditioning.scalars.get("seconds_total")
        if seconds is None:
            seconds = torch.full((len(mask),), float(self.projection.config["max_seconds"]), device=mask.device)
        pooled, duration = self.projection(embedding, mask, seconds)
        attended = mask
        if CAPTION_TOKENS in conditioning.scalars:
            position = torch.arange(mask.shape[1], device=mask.device)
            attended = mask | (position < conditioning.scalars[CAPTION_TOKENS][:, None])
        text = torch.where(mask[..., None], embedding, self.projection.padding.to(self.dtype))
        attended = torch.cat([attended, attended.new_ones(len(mask), 1)], dim=1)
        return torch.cat([text, duration], dim=1), attended, pooled

    @classmethod
    def new_parts(cls, network: Any, text_width: int) -> dict[str, nn.Module]:
        """A projection for sounds of 30 s; put one for another length into the folder from which training starts."""
        return {"projection_model": TangoFluxProjection(text_width)}

    def blocks(self) -> dict[str, tuple[nn.Module, int]]:
        """Double and single blocks; what they hand on is (B, tokens, channels) of the sound."""
        width = self.network.config.num_attention_heads * self.network.config.attention_head_dim
        return {
            f"{kind}.{i}": (block, width)
            for kind in ("transformer_blocks", "single_transformer_blocks")
            for i, block in enumerate(getattr(self.network, kind))
        }

    @staticmethod
    def block_features(output: Any) -> Tensor:
        """The sound's tokens come last."""
        return output[-1] if isinstance(output, tuple) else output

    def widen(self, network: Any, features: int) -> FluxTransformer2DModel:
        """See :meth:`Backbone.widen`."""
        config = {key: value for key, value in network.config.items() if not key.startswith("_")}
        config["pooled_projection_dim"] += features
        wider = FluxTransformer2DModel.from_config(config)
        first = widened(cast(nn.Linear, network.time_text_embed.text_embedder.linear_1), features)
        wider.load_state_dict(network.state_dict() | {f"{POOLED}.linear_1.weight": first.weight.data})
        return wider.to(network.device)

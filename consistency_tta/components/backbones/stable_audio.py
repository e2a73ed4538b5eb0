"""The diffusion transformer of Stable Audio."""

from __future__ import annotations

from typing import Any, cast

import torch
from diffusers import StableAudioDiTModel
from diffusers.models.embeddings import get_1d_rotary_pos_embed
from diffusers.pipelines.stable_audio.modeling_stable_audio import StableAudioProjectionModel
from torch import Tensor, nn
from torch.nn.functional import pad

from consistency_tta.components.backbones.base import Backbone, widened
from consistency_tta.contracts import Conditioning, TextEmbedding
from consistency_tta.diffusion.schedules import RectifiedFlowSchedule
from consistency_tta.runtime.errors import ConfigurationError, ModelFolderError


class StableAudioBackbone(Backbone):
    """``StableAudioDiTModel`` over latents (B, C, T) of waveforms.

    It attends to [text; seconds_start; seconds_total], projected by ``projection_model``; the two durations are its
    global states as well. A caption whose mask is empty is no caption: what the transformer attends to is then zeros,
    as in ``StableAudioPipeline``. Features of w and s are appended to the global states, which a student has wider.

    Sources: Evans et al., "Stable Audio Open", 2024, https://arxiv.org/abs/2407.14358, section 2.3;
    ``StableAudioPipeline`` of diffusers.

    Args:
        network: the transformer.
        *args: as for :class:`Backbone`.
        parts: ``projection_model``, a ``StableAudioProjectionModel``.
        text_length: tokens to which captions are padded with zeros; the transformer attends to the padding. 128, as in
            Stable Audio Open, if not given.
        **kwargs: as for :class:`Backbone`.

    Raises:
        ModelFolderError: if there is no projection model.
    """

    network_class = StableAudioDiTModel
    component = "transformer"
    scalar_layers = ("global_proj",)

    def __init__(self, network: nn.Module, *args: Any, **kwargs: Any) -> None:
        super().__init__(network, *args, **kwargs)
        if "projection_model" not in self.part_names:
            raise ModelFolderError("StableAudioDiTModel needs a projection_model, but the folder has none: add one")
        self.text_length: int = self.text_length or 128

    @property
    def projection(self) -> StableAudioProjectionModel:
        """What projects text and durations."""
        return cast(StableAudioProjectionModel, self.get_submodule("projection_model"))

    @property
    def latent_shape(self) -> tuple[int, ...]:
        """(C, T)."""
        return self.network.config.in_channels, self.network.config.sample_size

    @property
    def text_width(self) -> int:
        """Of the captions' embeddings."""
        return self.projection.config["text_encoder_dim"]

    def predict(self, z_t: Tensor, t: Tensor, conditioning: Conditioning, s: Tensor | None = None) -> Tensor:
        """See :meth:`Backbone.predict`."""
        states, durations = self.states(conditioning)
        features = self.scalar_features(conditioning, s)
        if features is not None:
            durations = torch.cat([durations, features[:, None]], dim=2)
        rotary = get_1d_rotary_pos_embed(
            self.network.config.attention_head_dim // 2, z_t.shape[2] + 1, use_real=True, repeat_interleave_real=False
        )
        return self.network(
            z_t.to(self.dtype),
            self.timestep(t).to(self.dtype),
            encoder_hidden_states=states,
            global_hidden_states=durations,
            rotary_embedding=tuple(part.to(z_t.device) for part in rotary),
        ).sample.float()

    def unconditional(self, empty: TextEmbedding) -> TextEmbedding:
        """No token at all."""
        return TextEmbedding(torch.zeros_like(empty.embedding), torch.zeros_like(empty.mask))

    def timestep(self, t: Tensor) -> Tensor:
        """The time in [0, 1] that the transformer reads; of a rectified flow sigma_t."""
        flow = isinstance(self.schedule, RectifiedFlowSchedule)
        return self.schedule.sigma(t) if flow else self.schedule.timestep(t)

    def states(self, conditioning: Conditioning) -> tuple[Tensor, Tensor]:
        """Cross-attention states (B, text_length + 2, width) and global states (B, 1, 2 width)."""
        embedding, mask = conditioning.text.embedding.to(self.dtype), conditioning.text.mask
        missing = self.text_length - mask.shape[1]
        if missing < 0:
            raise ConfigurationError(
                f"expected at most {self.text_length} tokens, got {mask.shape[1]}: set the text encoder's max_length so"
            )
        # Stable Audio sets padding to zero before and after the projection, which has a bias.
        text = self.projection(text_hidden_states=embedding * mask[..., None]).text_hidden_states * mask[..., None]
        start, total = (self._seconds(conditioning, name, len(mask)) for name in ("seconds_start", "seconds_total"))
        out = self.projection(start_seconds=start, end_seconds=total)
        durations = torch.cat([out.seconds_start_hidden_states, out.seconds_end_hidden_states], dim=1)
        states = torch.cat([pad(text, (0, 0, 0, missing)), durations], dim=1)
        return states * mask.any(1)[:, None, None], durations.flatten(1)[:, None]

    @classmethod
    def new_parts(cls, network: Any, text_width: int) -> dict[str, nn.Module]:
        """A projection of text and durations; durations reach from 0 to 512 s, as in Stable Audio Open."""
        width = network.config.cross_attention_input_dim
        return {"projection_model": StableAudioProjectionModel(text_width, width, 0, 512)}

    def blocks(self) -> dict[str, tuple[nn.Module, int]]:
        """The transformer's blocks; what they hand on is (B, tokens, channels)."""
        width = self.network.config.num_attention_heads * self.network.config.attention_head_dim
        return {f"transformer_blocks.{i}": (block, width) for i, block in enumerate(self.network.transformer_blocks)}

    def widen(self, network: Any, features: int) -> StableAudioDiTModel:
        """See :meth:`Backbone.widen`."""
        config = {key: value for key, value in network.config.items() if not key.startswith("_")}
        config["global_states_input_dim"] += features
        wider = StableAudioDiTModel.from_config(config)
        first = widened(cast(nn.Linear, network.global_proj[0]), features)
        wider.load_state_dict(network.state_dict() | {"global_proj.0.weight": first.weight.data})
        return wider.to(network.device)

    def _seconds(self, conditioning: Conditioning, name: str, batch_size: int) -> Tensor:
        """(B,) of the conditioning; where it has none, from the beginning to the longest that the network knows."""
        seconds = conditioning.scalars.get(name)
        if seconds is None:
            whole = 0.0 if name == "seconds_start" else float(self.projection.config.max_value)
            return torch.full((batch_size,), whole, device=conditioning.text.mask.device)
        return seconds

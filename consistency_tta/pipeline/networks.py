"""A model's parts, put together: codec, text encoder and denoiser."""

from __future__ import annotations

from dataclasses import dataclass

from consistency_tta.components.backbones import Backbone, build_backbone
from consistency_tta.components.build_codec import build_codec
from consistency_tta.components.codec import MelCodec
from consistency_tta.components.reward_lineage import RewardLineage
from consistency_tta.components.text import TextEncoder, max_tokens
from consistency_tta.components.text_cache import TextCache
from consistency_tta.contracts import Codec
from consistency_tta.diffusion.schedules import prediction_type_from_config, schedule_from_config
from consistency_tta.pipeline.model_folder import ModelFolder
from consistency_tta.runtime.errors import ModelFolderError


@dataclass(frozen=True)
class InferenceNetworks:
    """The networks that a pipeline generates with, put together once instead of at each call."""

    text: TextCache
    denoiser: Backbone
    codec: Codec


class ModelNetworks(ModelFolder):
    """A model folder whose parts are used together; each property raises a ``ModelFolderError`` if one is missing.

    Attributes:
        prepared: what :func:`~consistency_tta.pipeline.inference.prepare_for_generation` made of the parts.
    """

    prepared: InferenceNetworks | None = None

    @property
    def rewards(self) -> RewardLineage:
        """By which audio-text encoders any part was trained."""
        return RewardLineage.from_dict(self.config["rewards"])

    @property
    def codec(self) -> Codec:
        """Autoencoder, mel front end and vocoder as one."""
        self.require("vae")
        return build_codec(self.vae, self.mel, self.vocoder)

    @property
    def mel_codec(self) -> MelCodec:
        """The codec, which must be one of mel spectrograms.

        Raises:
            ModelFolderError: if it is another, or decodes without mels.
        """
        codec = self.codec
        if not isinstance(codec, MelCodec):
            raise ModelFolderError(
                f"expected a codec that decodes by way of mel spectrograms, got {type(codec).__name__} over "
                f"{type(self.vae).__name__}: use a model folder with an AutoencoderKL and a vocoder that reads mels"
            )
        return codec

    @property
    def text(self) -> TextEncoder:
        """Tokenizer and text encoder as one."""
        self.require("text_encoder", "tokenizer")
        return TextEncoder(self.tokenizer, self.text_encoder)

    @property
    def denoiser(self) -> Backbone:
        """The network as an estimate of the clean latent."""
        self.require("unet|transformer", "scheduler")
        network = self.transformer if self.unet is None else self.unet
        parts = {} if self.projection_model is None else {"projection_model": self.projection_model}
        device = self._execution_device if hasattr(network, "_hf_hook") else network.device  # a hook offloads it
        return build_backbone(
            network,
            schedule_from_config(self.scheduler.config).to(device),
            prediction_type_from_config(self.scheduler.config),
            guidance_embedding=self.guidance_embedding,
            second_time_embedding=self.second_time_embedding,
            parts=parts,
            text_length=None if self.tokenizer is None else max_tokens(self.tokenizer),
        )

    @property
    def latent_shape(self) -> tuple[int, ...]:
        """(C, *) of the latents that the network generates."""
        return self.denoiser.latent_shape

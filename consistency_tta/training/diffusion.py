"""Training or fine-tuning a text-to-audio latent diffusion teacher."""

from __future__ import annotations

from typing import Any, cast

from diffusers import SchedulerMixin
from torch import Tensor, nn

from consistency_tta.components.backbones import Backbone, new_backbone
from consistency_tta.components.text import ByteTextEncoder, TextEncoder
from consistency_tta.contracts import Batch, Conditioning, Optimization, TextEmbedding, Weighting
from consistency_tta.diffusion.schedules import (
    prediction_type_from_config,
    schedule_from_config,
    stable_diffusion_scheduler,
)
from consistency_tta.diffusion.weighting import FlowMatching, SNRPlusOne
from consistency_tta.pipeline import TextToAudioPipeline
from consistency_tta.runtime.errors import ConfigurationError
from consistency_tta.training.ema import ExponentialMovingAverage
from consistency_tta.training.latents import LatentTraining, embed_with_dropout
from consistency_tta.training.step_rng import StepRNG
from consistency_tta.training.time_binned_losses import TimeBinnedLosses


class LatentDiffusion(LatentTraining):
    """Denoising in the latent space of an autoencoder, with captions dropped at random for classifier-free guidance.

    Sources: Ho and Salimans, "Classifier-Free Diffusion Guidance", 2022, https://arxiv.org/abs/2207.12598, algorithm 1;
    Ghosal et al., "Text-to-Audio Generation using Instruction-Tuned LLM and Latent Diffusion Model" (TANGO), 2023,
    https://arxiv.org/abs/2304.13731.

    Args:
        model: folder or hub id with a codec; and, for fine-tuning, a network and a text
            encoder.
        network: a new network, of a class that a backbone adapts; the folder's if not given.
        text_encoder: another text encoder; the folder's if not given.
        train_text_encoder: whether the text encoder is trained along (for a small, new one).
        scheduler: noise schedule and prediction type; if not given, the folder's for the folder's network and
            Stable Diffusion 2.1's for a new one.
        caption_dropout: share of examples trained without their caption, in [0, 1).
        weighting: of the squared error of z_0. If not given the plain error of v (``SNRPlusOne``), or of the flow
            (``FlowMatching``) on schedules that do not preserve variance; ``MinSNR`` is TANGO's.
        ema_decay: of the averaged weights, which validation and ``export`` use.
        optimization: optimizer and schedule.
        seed: of all random draws; that of ``seed_everything`` if not given.
    """

    def __init__(
        self,
        model: str,
        network: nn.Module | None = None,
        text_encoder: TextEncoder | None = None,
        train_text_encoder: bool = False,
        scheduler: SchedulerMixin | None = None,
        caption_dropout: float = 0.1,
        weighting: Weighting | None = None,
        ema_decay: float = 0.999,
        optimization: Optimization = Optimization(),  # noqa: B008  # frozen
        seed: int | None = None,
    ) -> None:
        if not 0 <= caption_dropout < 1:
            raise ConfigurationError(f"expected a caption_dropout in [0, 1), got {caption_dropout}")
        parts = TextToAudioPipeline.from_pretrained(model)
        text = text_encoder or parts.text
        if network is None:
            parts.require("unet|transformer")
        if isinstance(text, ByteTextEncoder) and not train_text_encoder:
            raise ConfigurationError("a new ByteTextEncoder knows no language: set train_text_encoder to true")
        # A folder's scheduler belongs to its network.
        scheduler = scheduler or (parts.scheduler if network is None else None) or stable_diffusion_scheduler()
        super().__init__(parts, optimization, seed, **({} if train_text_encoder else {"text": text}))
        self.caption_dropout = caption_dropout
        self.schedule = schedule_from_config(scheduler.config)
        self.weighting = weighting or (SNRPlusOne() if self.schedule.variance_preserving else FlowMatching())
        self.binned = TimeBinnedLosses(["loss"], self.schedule.num_train_timesteps)
        if network is None:
            denoiser = TextToAudioPipeline(**(parts.components | {"scheduler": scheduler})).denoiser
        else:
            prediction_type, width = prediction_type_from_config(scheduler.config), text.encoder.config.hidden_size
            denoiser = new_backbone(network, self.schedule, prediction_type, width, text.max_length)
        networks: dict[str, nn.Module] = {"denoiser": denoiser} | ({"text": text} if train_text_encoder else {})
        self.networks = nn.ModuleDict(networks).requires_grad_(True).train()
        self.average = ExponentialMovingAverage(self.networks, ema_decay, warm_up=True)
        # Not registered: what was loaded is in `frozen`, and what is new is saved by `pipeline`.
        self.parts: dict[str, Any] = {name: getattr(parts, name) for name in ("mel", "vae", "vocoder")}
        self.parts |= {"scheduler": scheduler, "rewards": parts.config["rewards"]}
        self.parts["audio_length_in_s"] = self.audio_length_in_s

    @property
    def latent_shape(self) -> tuple[int, ...]:
        """(C, *) of the latents that the teacher generates."""
        return cast(Backbone, self.networks["denoiser"]).latent_shape

    def trainable(self) -> nn.Module:
        """The network, and the text encoder if it is trained."""
        return self.networks

    def emas(self) -> tuple[ExponentialMovingAverage]:
        """The evaluation average."""
        return (self.average,)

    def active_networks(self) -> nn.ModuleDict:
        """The weights in training, or their average outside of it."""
        return self.networks if self.trainer.training else cast(nn.ModuleDict, self.average.module)

    def text_encoder(self, networks: nn.ModuleDict) -> TextEncoder:
        """The one of the given networks, or the frozen one."""
        # A ModuleDict has no `get`.
        return cast(TextEncoder, networks["text"] if "text" in networks else self.frozen.text)  # noqa: SIM401

    def embed(self, batch: Batch, rng: StepRNG) -> TextEmbedding:
        """Embeddings of the captions, some of them dropped in training."""
        encoder = self.text_encoder(self.active_networks())
        dropout = self.caption_dropout if self.trainer.training else 0.0
        unconditional = cast(Backbone, self.networks["denoiser"]).unconditional
        empty = self.embed_empty if "text" in self.frozen.held else lambda: encoder([""])
        return embed_with_dropout(batch, encoder, dropout, rng, unconditional, empty)

    def loss(self, batch: Batch, rng: StepRNG) -> Tensor:
        """Weighted squared error of z_0 at uniformly drawn noise levels."""
        z_0 = self.latents(batch, rng)
        conditioning = Conditioning(self.embed(batch, rng), scalars=self.durations(z_0))
        t = rng.to_device(1.0 + rng.integers(self.schedule.num_train_timesteps, len(batch)))
        z_t = self.schedule.add_noise(z_0, rng.normal_like(z_0), t)
        error = (self.active_networks()["denoiser"](z_t, t, conditioning) - z_0).square().flatten(1).mean(1)
        loss = (error * self.weighting(t, self.schedule)).mean()
        self.log_losses({"loss": loss}, len(batch))
        self.bin_by_time({"loss": error}, t)
        return loss

    def pipeline(self) -> TextToAudioPipeline:
        """The teacher with averaged weights."""
        averaged = self.whole(cast(nn.ModuleDict, self.average.module))
        text = self.text_encoder(averaged)
        parts = {"text_encoder": text.encoder, "tokenizer": text.tokenizer} | self.parts
        networks = cast(Backbone, averaged["denoiser"]).components()
        return TextToAudioPipeline(**networks, **self.whole_parts(parts))

"""Noise and captions to latents."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from typing import Any

import torch
from diffusers.utils.torch_utils import randn_tensor
from torch import Tensor

from consistency_tta.components.backbones import Backbone
from consistency_tta.contracts import Conditioning, Denoiser, Solver, TimeGrid
from consistency_tta.diffusion.guidance import CFGDenoiser
from consistency_tta.diffusion.sample import OnStep
from consistency_tta.pipeline.alternatives import one_of
from consistency_tta.pipeline.arguments import as_generators, check_finite, check_latents, check_sampled
from consistency_tta.pipeline.networks import InferenceNetworks, ModelNetworks
from consistency_tta.pipeline.prompts import Prompts, embed_prompts
from consistency_tta.pipeline.sound_length import latent_frames
from consistency_tta.runtime.errors import ConfigurationError
from consistency_tta.runtime.kinds import require_kind

logger = logging.getLogger(__name__)

#: w of external guidance away from a negative prompt, where none is given.
NEGATIVE_GUIDANCE = 1.5


class LatentSampling(ModelNetworks):
    """A model folder that generates latents."""

    @property
    def default_steps(self) -> int:
        """``num_inference_steps`` where it is not given."""
        self.require("sampler")
        return self.sampler.default_steps

    @property
    def latent_seconds(self) -> float:
        """Length of the sounds that the network's latents have, before any padding is cut."""
        codec = self._networks.codec
        return self._networks.denoiser.latent_shape[1] * (codec.samples_per_frame / codec.sample_rate)

    @property
    def quiet(self) -> bool:
        """Whether progress bars are switched off (``set_progress_bar_config(disable=True)``)."""
        return bool(getattr(self, "_progress_bar_config", {}).get("disable", False))

    def encode_prompt(self, prompt: str | Sequence[str]) -> tuple[Tensor, Tensor]:
        """The arguments ``prompt_embeds`` (B, tokens, width) and ``attention_mask`` (B, tokens) of B captions."""
        with torch.no_grad():
            text = embed_prompts(self.text, prompt).text
        return text.embedding, text.mask

    @torch.no_grad()
    def sample(
        self,
        prompt: str | Sequence[str] | None = None,
        guidance_scale: float = 3.0,
        num_inference_steps: int | None = None,
        solver: Solver | None = None,
        grid: TimeGrid | None = None,
        latents: Tensor | None = None,
        generator: torch.Generator | list[torch.Generator] | None = None,
        external_guidance_scale: float | None = None,
        audio_length_in_s: float | None = None,
        *,
        seconds: float | None = None,
        on_step: OnStep | None = None,
        **prompts: Any,
    ) -> tuple[Tensor, int]:
        """Generate latents, with the arguments of :meth:`TextToAudioPipeline.__call__`.

        Args:
            prompt, guidance_scale, num_inference_steps, solver, grid: see there.
            latents, generator, external_guidance_scale, audio_length_in_s, seconds: see there.
            on_step: see :data:`~consistency_tta.diffusion.sample.OnStep`.
            **prompts: what else there is of prompts, see :func:`~consistency_tta.pipeline.prompts.embed_prompts`.

        Returns:
            Latents (B, C, *), and the queries of the network that each took.
        """
        self.require("sampler")
        for name, plugin, kind in (("solver", solver, Solver), ("grid", grid, TimeGrid)):
            if plugin is not None:
                require_kind(name, plugin, kind)
        embedded = embed_prompts(self._networks.text, prompt, **prompts)
        generator = as_generators(generator, len(embedded))
        length = one_of(audio_length_in_s=audio_length_in_s, seconds=seconds)
        denoiser = self._networks.denoiser
        noise = self._noise(denoiser, latents, len(embedded), length, generator)
        embedded = embedded.to(noise.device)
        guided, queries_per_step = self._guided(denoiser, embedded, guidance_scale, external_guidance_scale)
        latent, steps = self.sampler.sample(
            guided,
            noise,
            self._conditioning(embedded, noise, guidance_scale, length),
            num_steps=num_inference_steps,
            solver=solver,
            grid=grid,
            generator=generator,
            progress=not self.quiet,
            **({} if on_step is None else {"on_step": on_step}),  # which samplers of third parties may not know
        )
        check_sampled(latent, denoiser.dtype)
        return latent, steps * queries_per_step

    @property
    def _networks(self) -> InferenceNetworks | LatentSampling:
        """What generates: the parts, or what was prepared of them."""
        return self.prepared or self

    def _guided(
        self, denoiser: Backbone, prompts: Prompts, guidance_scale: float, external_guidance_scale: float | None
    ) -> tuple[Denoiser, int]:
        """The denoiser with what guidance is external, and its queries of the network for each of its own."""
        scale = self._external_guidance(guidance_scale, external_guidance_scale, prompts.negative is not None)
        if scale == 1:
            return denoiser, 1
        away = denoiser.unconditional(self._networks.text([""])) if prompts.negative is None else prompts.negative
        return CFGDenoiser(denoiser, away, scale), 2

    def _external_guidance(self, guidance_scale: float, external: float | None, negative: bool) -> float:
        """W of classifier-free guidance, 1 for none."""
        check_finite(guidance_scale=guidance_scale, external_guidance_scale=1.0 if external is None else external)
        low, high = self.config.get("guidance_range") or (-math.inf, math.inf)
        if not low <= guidance_scale <= high:
            logger.warning(
                f"guidance_scale {guidance_scale:g} is outside what the network was trained for, {low:g} to {high:g}"
            )
        if not self.sampler.classifier_free_guidance:
            return (NEGATIVE_GUIDANCE if negative else 1.0) if external is None else external
        if external not in (None, 1):
            raise ConfigurationError(
                f"the network has learnt nothing of guidance, all of which is external: give guidance_scale="
                f"{external:g} and leave external_guidance_scale out"
            )
        return guidance_scale

    def _noise(
        self, denoiser: Backbone, latents: Tensor | None, batch_size: int, seconds: float | None, generator: Any
    ) -> Tensor:
        """Starting noise (B, C, *) in float32, drawn where ``latents`` is None."""
        channels, own, *rest = denoiser.latent_shape
        if latents is not None:
            check_latents(latents, batch_size, denoiser.latent_shape)
        if seconds is not None:
            given = None if latents is None else latents.shape[2]
            own = latent_frames(seconds, denoiser, self._networks.codec, given)
        device = self._execution_device
        if latents is None:
            latents = randn_tensor((batch_size, channels, own, *rest), generator=generator, device=device)
        return latents.to(device, torch.float32)

    def _conditioning(
        self, prompts: Prompts, noise: Tensor, guidance_scale: float, seconds: float | None
    ) -> Conditioning:
        """What the network may read of captions, w and durations."""
        conditioning = Conditioning(prompts.text, noise.new_full(noise.shape[:1], guidance_scale))
        if self.vae is not None:
            codec = self._networks.codec
            start = noise.new_zeros(noise.shape[:1])
            whole = noise.shape[2] * codec.samples_per_frame / codec.sample_rate
            conditioning.scalars |= {"seconds_start": start, "seconds_total": start + (seconds or whole)}
        return conditioning

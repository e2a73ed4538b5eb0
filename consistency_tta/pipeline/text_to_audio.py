"""Noise and captions to sound."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Sequence
from typing import Any

import torch
from diffusers import AutoencoderKL
from diffusers.utils.torch_utils import randn_tensor
from torch import Tensor

from consistency_tta.components.decoding import decode
from consistency_tta.contracts import Conditioning, Solver, TextEmbedding, TimeGrid, squeeze_mono
from consistency_tta.diffusion.guidance import CFGDenoiser
from consistency_tta.pipeline.arguments import as_generators, as_prompts, check_finite, check_latents, check_sampled
from consistency_tta.pipeline.networks import ModelNetworks
from consistency_tta.pipeline.output import TextToAudioOutput
from consistency_tta.runtime.errors import ConfigurationError

logger = logging.getLogger(__name__)


class TextToAudioPipeline(ModelNetworks):
    """Text to audio, by a diffusion teacher in many queries or by its distilled student in one.

    A folder written half-way through training (an autoencoder without a network, say) is a pipeline, too: what is
    missing is None, and generating raises an error that names it. For the parts see
    :class:`~consistency_tta.pipeline.model_folder.ModelFolder`.
    """

    @property
    def default_steps(self) -> int:
        """``num_inference_steps`` where it is not given."""
        self.require("sampler")
        return self.sampler.default_steps

    @torch.no_grad()
    def __call__(
        self,
        prompt: str | Sequence[str],
        guidance_scale: float = 3.0,
        num_inference_steps: int | None = None,
        solver: Solver | None = None,
        grid: TimeGrid | None = None,
        latents: Tensor | None = None,
        generator: torch.Generator | list[torch.Generator] | None = None,
        external_guidance_scale: float = 1.0,
        seconds: float | None = None,
    ) -> TextToAudioOutput:
        """Generate one sound per prompt.

        Args:
            prompt: B captions; a blank one stands for "no caption".
            guidance_scale: w; 1 is the plain conditional model, more follows the text more closely.
            num_inference_steps: the sampler's own if not given: 1 for a student (more re-noise and refine), 50 for a
                teacher.
            solver: instead of the sampler's.
            grid: times of the solver, or of a student's queries, instead of the sampler's. ``LinspaceGrid`` has the
                times at which the official ConsistencyTTA queries a student several times.
            latents: starting noise (B, C, *), drawn from a unit normal; fix it to compare models.
            generator: draws the noise; a list has one for each prompt, which makes sounds independent of the batch.
            external_guidance_scale: w of classifier-free guidance on top of what the network has learnt of guidance, at
                twice the queries; 1 for none. For a student of an unguided teacher (``guidance_scale`` 1) this is the
                direct guidance of the paper. Train with ``caption_dropout``, or the student does not know the empty
                prompt.
            seconds: length of the sound, at most that of the latents. The network is conditioned by it, if it reads
                durations, and the waveform is cut there. The whole latents if not given.

        Raises:
            ConfigurationError: a prompt is no text, there is none, a scale is not finite, or steps or seconds are out
                of range.
            ShapeError: latents or generators do not go with the prompts.
            DataError: the network computed NaN or infinity.
            ModelFolderError: a part of the model is missing.
        """
        by_mel = self.vae is None or isinstance(self.vae, AutoencoderKL)
        needed = ("mel", "vae", "vocoder") if by_mel else ("vae",)
        self.require(*needed, "text_encoder", "tokenizer", "unet|transformer", "scheduler")
        networks = self.prepared or self
        started = time.perf_counter()
        latent, queries = self.sample(
            prompt,
            guidance_scale,
            num_inference_steps,
            solver,
            grid,
            latents,
            generator,
            external_guidance_scale,
            seconds,
        )
        self._wait()
        sampled = time.perf_counter()
        codec = networks.codec
        audio = decode(codec, latent).clamp(-1, 1).cpu()
        if seconds is not None:
            audio = audio[..., : max(1, round(seconds * codec.sample_rate))]
        elapsed = {"latents": sampled - started, "decoders": time.perf_counter() - sampled}
        return TextToAudioOutput(squeeze_mono(audio), codec.sample_rate, latent, queries, elapsed)

    @torch.no_grad()
    def sample(
        self,
        prompt: str | Sequence[str],
        guidance_scale: float = 3.0,
        num_inference_steps: int | None = None,
        solver: Solver | None = None,
        grid: TimeGrid | None = None,
        latents: Tensor | None = None,
        generator: torch.Generator | list[torch.Generator] | None = None,
        external_guidance_scale: float = 1.0,
        seconds: float | None = None,
    ) -> tuple[Tensor, int]:
        """The latents (B, C, *) of :meth:`__call__`, which has the same arguments, and the queries they took."""
        self.require("sampler")
        prompts = as_prompts(prompt)
        generator = as_generators(generator, len(prompts))
        check_finite(guidance_scale=guidance_scale, external_guidance_scale=external_guidance_scale)
        external = self._external_guidance(guidance_scale, external_guidance_scale)
        networks = self.prepared or self
        text, denoiser = networks.text, networks.denoiser
        guided = denoiser if external == 1 else CFGDenoiser(denoiser, denoiser.unconditional(text([""])), external)
        noise = self._noise(latents, len(prompts), denoiser.latent_shape, generator)
        conditioning = self._conditioning(text(prompts), noise, guidance_scale, seconds)
        latent, queries = self.sampler.sample(
            guided,
            noise,
            conditioning,
            num_steps=num_inference_steps,
            solver=solver,
            grid=grid,
            generator=generator,
            progress=not self.quiet,
        )
        check_sampled(latent, denoiser.dtype)
        return latent, queries * (1 if external == 1 else 2)

    def _external_guidance(self, guidance_scale: float, external_guidance_scale: float) -> float:
        """W of classifier-free guidance, 1 for none."""
        low, high = self.config.get("guidance_range") or (-math.inf, math.inf)
        if not low <= guidance_scale <= high:
            logger.warning(
                f"guidance_scale {guidance_scale:g} is outside what the network was trained for, {low:g} to {high:g}"
            )
        if not self.sampler.classifier_free_guidance:
            return external_guidance_scale
        if external_guidance_scale != 1:
            raise ConfigurationError(
                "the network has learnt nothing of guidance, all of which is external: give "
                f"guidance_scale={external_guidance_scale:g} and leave external_guidance_scale at 1"
            )
        return guidance_scale

    def _noise(self, latents: Tensor | None, batch_size: int, latent_shape: tuple[int, ...], generator: Any) -> Tensor:
        """Starting noise (B, C, *) in float32, drawn where ``latents`` is None."""
        device = self._execution_device
        if latents is None:
            latents = randn_tensor((batch_size, *latent_shape), generator=generator, device=device)
        else:
            check_latents(latents, batch_size, latent_shape)
        return latents.to(device, torch.float32)

    def _conditioning(
        self, text: TextEmbedding, noise: Tensor, guidance_scale: float, seconds: float | None
    ) -> Conditioning:
        """What the network may read of captions, w and durations."""
        conditioning = Conditioning(text, noise.new_full(noise.shape[:1], guidance_scale))
        if self.vae is None and seconds is None:
            return conditioning
        codec = self.codec
        longest = noise.shape[2] * codec.samples_per_frame / codec.sample_rate
        if seconds is not None and not 0 < seconds <= longest:
            raise ConfigurationError(
                f"expected seconds above 0 and at most {longest:g}, the length of the latents, got {seconds:g}"
            )
        start = noise.new_zeros(noise.shape[:1])
        conditioning.scalars |= {"seconds_start": start, "seconds_total": start + (seconds or longest)}
        return conditioning

    def _wait(self) -> None:
        """Wait for the accelerator, so that times are those of the work."""
        device = self._execution_device
        if device.type != "cpu":
            torch.accelerator.synchronize(device)

    @property
    def quiet(self) -> bool:
        """Whether progress bars are switched off (``set_progress_bar_config(disable=True)``)."""
        return bool(getattr(self, "_progress_bar_config", {}).get("disable", False))

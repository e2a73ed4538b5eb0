"""Noise and captions to sound."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
from diffusers import AutoencoderKL
from torch import Tensor

from consistency_tta.components.decoding import decode
from consistency_tta.contracts import Solver, TimeGrid, squeeze_mono
from consistency_tta.pipeline.alternatives import check_neutral, one_of, step_callback
from consistency_tta.pipeline.arguments import check_decoded, check_not_blank
from consistency_tta.pipeline.latent_sampling import LatentSampling
from consistency_tta.pipeline.lora import LoRAWeights
from consistency_tta.pipeline.output import TextToAudioOutput
from consistency_tta.runtime.errors import ConfigurationError

OUTPUT_TYPES = ("pt", "np", "latent")


class TextToAudioPipeline(LoRAWeights, LatentSampling):
    """Text to audio, by a diffusion teacher in many queries or by its distilled student in one.

    A folder written half-way through training (an autoencoder without a network, say) is a pipeline, too: what is
    missing is None, and generating raises an error that names it. For the parts see
    :class:`~consistency_tta.pipeline.model_folder.ModelFolder`.
    """

    @torch.no_grad()
    def __call__(
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
        negative_prompt: str | Sequence[str] | None = None,
        num_waveforms_per_prompt: int = 1,
        prompt_embeds: Tensor | None = None,
        attention_mask: Tensor | None = None,
        negative_prompt_embeds: Tensor | None = None,
        negative_attention_mask: Tensor | None = None,
        output_type: str = "pt",
        return_dict: bool = True,
        callback_on_step_end: Callable[..., dict[str, Tensor] | None] | None = None,
        callback_on_step_end_tensor_inputs: Sequence[str] = ("latents",),
        seconds: float | None = None,
        audio_end_in_s: float | None = None,
        callback: Callable[[int, int, Tensor], None] | None = None,
        callback_steps: int = 1,
        **neutral: Any,
    ) -> TextToAudioOutput:
        """Generate sounds, N for each of B prompts, in the order of the prompts.

        Args:
            prompt: B captions; a blank one among others stands for "no caption". For no caption at all give
                ``prompt_embeds`` of :meth:`encode_prompt`.
            guidance_scale: w; 1 is the plain conditional model, more follows the text more closely.
            num_inference_steps: the sampler's own if not given: 1 for a student (more re-noise and refine), 50 for a
                teacher.
            solver: instead of the sampler's.
            grid: times of the solver, or of a student's queries, instead of the sampler's. ``LinspaceGrid`` has the
                times at which the official ConsistencyTTA queries a student several times.
            latents: starting noise (B N, C, *), drawn from a unit normal; fix it to compare models.
            generator: draws the noise; a list has one for each sound, which makes sounds independent of the batch.
            external_guidance_scale: w of classifier-free guidance on top of what the network has learnt of guidance, at
                twice the queries; 1, the default, for none. For a student of an unguided teacher (``guidance_scale`` 1)
                this is the direct guidance of the paper. Train with ``caption_dropout``, or the student does not know
                the empty prompt.
            audio_length_in_s: length of the sound. By default that of the latents, cut where the model's folder says
                that its recordings ended (the bundled models' after 5 s of 5.12), unless ``latents`` are given. A U-Net
                makes longer ones, too, with a warning. The network is conditioned by it, if it reads durations, and the
                waveform is cut there.
            negative_prompt: what the sounds should not be: one for all, or one for each prompt. Guidance leads away
                from it, not from the empty prompt; that of a network that has learnt guidance is external, with a scale
                of 1.5 if none is given. Without guidance (w = 1) it has no effect.
            num_waveforms_per_prompt: N.
            prompt_embeds, attention_mask: instead of ``prompt``, its embeddings (B, tokens, width) and their mask
                (B, tokens), as :meth:`encode_prompt` makes them.
            negative_prompt_embeds, negative_attention_mask: the same of the negative prompts.
            output_type: "pt" for tensors, "np" for numpy arrays, "latent" for latents that are not decoded.
            return_dict: false for a tuple, whose first item is the sounds.
            callback_on_step_end: called after each step as ``(pipeline, step, timestep, {"latents": (B N, C, *)})``,
                where ``timestep`` falls from the number of training steps; may return a dictionary with the latents to
                go on with.
            callback_on_step_end_tensor_inputs: what is in that dictionary.
            seconds, audio_end_in_s: other names of ``audio_length_in_s``.
            callback, callback_steps: ``(step, timestep, latents)`` at every so many steps, as StableAudioPipeline and
                AudioLDM2Pipeline have it.
            **neutral: their other arguments, such as ``eta`` and ``transcription``, at the values that change nothing.

        Raises:
            ConfigurationError: a prompt is no text, there is none or all are blank, a scale is not finite, steps or
                length are out of range, an argument is given under two names with two values, or one of ``neutral`` has
                another value.
            ShapeError: latents, generators, embeddings or negative prompts do not go with the prompts.
            DataError: the network or the decoders computed NaN or infinity.
            ModelFolderError: a part of the model is missing.
        """
        check_neutral(neutral)
        check_not_blank(prompt)
        if output_type not in OUTPUT_TYPES:
            raise ConfigurationError(f"expected an output_type among {', '.join(OUTPUT_TYPES)}, got {output_type!r}")
        length = one_of(audio_length_in_s=audio_length_in_s, seconds=seconds, audio_end_in_s=audio_end_in_s)
        on_step = step_callback(
            self, callback_on_step_end, callback_on_step_end_tensor_inputs, callback, callback_steps
        )
        self._require_parts()
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
            length,
            on_step=on_step,
            prompt_embeds=prompt_embeds,
            attention_mask=attention_mask,
            negative_prompt=negative_prompt,
            negative_prompt_embeds=negative_prompt_embeds,
            negative_attention_mask=negative_attention_mask,
            num_waveforms_per_prompt=num_waveforms_per_prompt,
        )
        self._wait()
        sampled = time.perf_counter()
        cut = self.config.get("audio_length_in_s") if length is None and latents is None else length
        audios: Any = latent if output_type == "latent" else self._decode(latent, cut)
        elapsed = {"latents": sampled - started, "decoders": time.perf_counter() - sampled}
        self.maybe_free_model_hooks()
        if output_type == "np":
            audios = audios.numpy()
        if not return_dict:
            return cast(Any, (audios,))
        return TextToAudioOutput(audios, self._networks.codec.sample_rate, latent, queries, elapsed)

    def _require_parts(self) -> None:
        """Check that all parts of a text-to-audio model are there."""
        by_mel = self.vae is None or isinstance(self.vae, AutoencoderKL)
        decoders = ("mel", "vae", "vocoder") if by_mel else ("vae",)
        self.require(*decoders, "text_encoder", "tokenizer", "unet|transformer", "scheduler")

    def _decode(self, latent: Tensor, seconds: float | None) -> Tensor:
        """The sounds (B, samples) or (B, channels, samples) of latents (B, C, *)."""
        codec = self._networks.codec
        audio = decode(codec, latent)
        check_decoded(audio)
        audio = audio.clamp(-1, 1).cpu()
        if seconds is not None:
            audio = audio[..., : max(1, round(seconds * codec.sample_rate))]
        return squeeze_mono(audio)

    def _wait(self) -> None:
        """Wait for the accelerator, so that times are those of the work."""
        device = self._execution_device
        if device.type != "cpu":
            torch.accelerator.synchronize(device)

"""A model is a folder, and the folder is a diffusers pipeline."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from diffusers import AutoencoderKL, DDIMScheduler, DiffusionPipeline, UNet2DConditionModel
from diffusers.utils.torch_utils import randn_tensor
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase, SpeechT5HifiGan

from consistency_tta.components.codec import MelCodec
from consistency_tta.components.griffin_lim import GriffinLimVocoder
from consistency_tta.components.guidance import GuidanceEmbedding
from consistency_tta.components.mel import MelSpectrogram
from consistency_tta.components.reward_lineage import RewardLineage
from consistency_tta.components.text import TextEncoder
from consistency_tta.components.unet import UNetDenoiser
from consistency_tta.components.vocoder import FourierVocoder
from consistency_tta.contracts import Conditioning, Solver, TimeGrid
from consistency_tta.diffusion.denoise import CFGDenoiser
from consistency_tta.diffusion.grid import UniformGrid
from consistency_tta.diffusion.noise import VariancePreservingSchedule
from consistency_tta.diffusion.sample import consistency_times, sample_consistency, sample_diffusion
from consistency_tta.diffusion.solve import DDIM
from consistency_tta.storage.atomic_directory import atomic_directory
from consistency_tta.storage.model_folder import HUB_OPTIONS, base_folder, model_folder, model_index

logger = logging.getLogger(__name__)


@dataclass
class TextToAudioOutput:
    """Generated sound.

    Attributes:
        waveform: (B, samples) float32 on the CPU, in [-1, 1].
        sample_rate: in Hz.
        latent: (B, C, T, F).
        queries: how many times the U-Net was evaluated on each sound (classifier-free guidance counts twice).
        seconds: time to the latents (text encoder and U-Net), and from them in the decoders (autoencoder and vocoder).
    """

    waveform: Tensor
    sample_rate: int
    latent: Tensor
    queries: int
    seconds: dict[str, float]


class TextToAudioPipeline(DiffusionPipeline):
    """Text to audio, by a diffusion teacher in many queries or by its distilled student in one.

    A folder written half-way through training (an autoencoder without a U-Net, say) is a pipeline, too: what is missing
    is None, and generating says so.

    Args:
        mel: front end.
        vae: autoencoder of mel spectrograms.
        vocoder: mel to waveform.
        text_encoder: any Hugging Face text encoder.
        tokenizer: of the text encoder.
        unet: teacher or student.
        scheduler: noise schedule and ``prediction_type``; only its configuration is used.
        guidance_embedding: for a U-Net that reads the guidance scale: a student, or a diffusion model that was
            distilled to be guided in one query.
        distilled: whether the U-Net is a consistency student, to be asked once.
        guidance_range: the guidance scales that a U-Net which reads them was trained for, lowest and highest.
        rewards: by which encoders any part was trained, as
            :meth:`~consistency_tta.components.reward_lineage.RewardLineage.to_dict` has it; None if nothing is known.
    """

    _optional_components: ClassVar[list[str]] = [
        "mel",
        "vae",
        "vocoder",
        "text_encoder",
        "tokenizer",
        "unet",
        "scheduler",
        "guidance_embedding",
    ]
    model_cpu_offload_seq = "text_encoder->unet->vae->vocoder"

    def __init__(
        self,
        mel: MelSpectrogram | None = None,
        vae: AutoencoderKL | None = None,
        vocoder: SpeechT5HifiGan | FourierVocoder | GriffinLimVocoder | None = None,
        text_encoder: PreTrainedModel | None = None,
        tokenizer: PreTrainedTokenizerBase | None = None,
        unet: UNet2DConditionModel | None = None,
        scheduler: DDIMScheduler | None = None,
        guidance_embedding: GuidanceEmbedding | None = None,
        distilled: bool = False,
        guidance_range: list[float] | None = None,
        rewards: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.register_modules(
            mel=mel,
            vae=vae,
            vocoder=vocoder,
            text_encoder=text_encoder,
            tokenizer=tokenizer,
            unet=unet,
            scheduler=scheduler,
            guidance_embedding=guidance_embedding,
        )
        self.register_to_config(distilled=distilled, guidance_range=guidance_range, rewards=rewards)

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | Path, **kwargs: Any) -> TextToAudioPipeline:
        """Load a model folder, a bundled model by its name, or a hub id; see ``diffusers.DiffusionPipeline``.

        A folder may rest on another: where ``model_index.json`` has ``"_base": "../teacher"``, a part that it lists but
        for which there is no subfolder is that folder's. What ``save_pretrained`` writes is whole again.
        """
        hub = {option: kwargs.pop(option) for option in HUB_OPTIONS if option in kwargs}
        folder = model_folder(pretrained_model_name_or_path, **hub)
        parts = cls._parts_of_base(folder, kwargs)
        # Low-memory loading needs accelerate, which nothing else here does.
        pipeline = super().from_pretrained(str(folder), **({"low_cpu_mem_usage": False} | parts | kwargs))
        if not {"dtype", "torch_dtype"} & kwargs.keys():
            # diffusers loads in float32; transformers would train and run a float16 folder's text encoder in float16.
            for part in pipeline.components.values():
                if isinstance(part, PreTrainedModel):
                    part.float()
        return pipeline

    def save_pretrained(self, save_directory: str | Path, **kwargs: Any) -> None:
        """Write a model folder, whole or not at all; see ``diffusers.DiffusionPipeline``."""
        with atomic_directory(Path(save_directory), last="model_index.json") as folder:
            super().save_pretrained(folder, **kwargs)

    @classmethod
    def _parts_of_base(cls, folder: Path, kwargs: dict[str, Any]) -> dict[str, Any]:
        """The parts that a folder leaves to the one it rests on."""
        index = model_index(folder)
        base = base_folder(folder, index)
        if base is None:
            return {}
        listed = [name for name in cls._optional_components if index.get(name, [None])[0]]
        wanted = [name for name in listed if name not in kwargs and not (folder / name).is_dir()]
        unwanted = dict.fromkeys(set(cls._optional_components) - set(wanted))  # None: diffusers does not load it
        loaded = cls.from_pretrained(base, **(kwargs | unwanted))
        return {name: getattr(loaded, name) for name in wanted}

    def require(self, *names: str) -> None:
        """Raise if one of the named components is missing."""
        missing = [name for name in names if getattr(self, name) is None]
        if missing:
            raise ValueError(
                f"the model in {self.config.get('_name_or_path') or 'memory'} lacks {', '.join(missing)}; "
                "train what is missing, or point to the folder of a later stage"
            )

    @property
    def rewards(self) -> RewardLineage:
        """By which audio-text encoders any part was trained."""
        return RewardLineage.from_dict(self.config["rewards"])

    @property
    def codec(self) -> MelCodec:
        """Mel front end, autoencoder and vocoder as one."""
        self.require("mel", "vae")
        return MelCodec(self.mel, self.vae, self.vocoder)

    @property
    def text(self) -> TextEncoder:
        """Tokenizer and text encoder as one."""
        self.require("text_encoder", "tokenizer")
        return TextEncoder(self.tokenizer, self.text_encoder)

    @property
    def denoiser(self) -> UNetDenoiser:
        """The U-Net as an estimate of the clean latent."""
        self.require("unet", "scheduler")
        schedule = VariancePreservingSchedule.from_scheduler_config(self.scheduler.config).to(self.unet.device)
        return UNetDenoiser(self.unet, schedule, self.scheduler.config.prediction_type, self.guidance_embedding)

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
    ) -> TextToAudioOutput:
        """Generate one sound per prompt.

        Args:
            prompt: B captions.
            guidance_scale: w; 1 is the plain conditional model, more follows the text more closely.
            num_inference_steps: 1 for a student (more re-noise and refine), 50 for a teacher.
            solver: of a teacher; DDIM by default.
            grid: times of a teacher's solver, or of a student's queries; uniform by default. ``LinspaceGrid`` has the
                times at which the official ConsistencyTTA asks a student several times.
            latents: starting noise (B, C, T, F), drawn from a unit normal; fix it to compare models.
            generator: draws the noise; a list has one for each prompt, which makes sounds independent of the batch.
            external_guidance_scale: w of classifier-free guidance on top of what the U-Net has learnt of guidance, at
                twice the queries; 1 for none. For a student of an unguided teacher (``guidance_scale`` 1) this is the
                direct guidance of the paper. Train with ``caption_dropout``, or the student does not know the empty
                prompt.
        """
        self.require("mel", "vae", "vocoder", "text_encoder", "tokenizer", "unet", "scheduler")
        codec = self.codec
        started = time.perf_counter()
        latent, queries = self.sample(
            prompt, guidance_scale, num_inference_steps, solver, grid, latents, generator, external_guidance_scale
        )
        self._wait()
        sampled = time.perf_counter()
        waveform = codec.mel_to_waveform(codec.latent_to_mel(latent)).clamp(-1, 1).cpu()
        seconds = {"latents": sampled - started, "decoders": time.perf_counter() - sampled}
        return TextToAudioOutput(waveform, codec.sample_rate, latent, queries, seconds)

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
    ) -> tuple[Tensor, int]:
        """The latents (B, C, T, F) of :meth:`__call__`, which has the same arguments, and the queries they took."""
        prompts = [prompt] if isinstance(prompt, str) else list(prompt)
        if isinstance(generator, list) and len(generator) != len(prompts):
            raise ValueError(f"expected one generator for each of {len(prompts)} prompts, got {len(generator)}")
        low, high = self.config.get("guidance_range") or (-math.inf, math.inf)
        if not low <= guidance_scale <= high:
            logger.warning(
                f"guidance_scale {guidance_scale:g} is outside what the U-Net was trained for, {low:g} to {high:g}"
            )
        text, denoiser = self.text, self.denoiser
        # A diffusion model that has learnt nothing of guidance is guided from outside.
        plain = self.guidance_embedding is None and not self.config["distilled"]
        if plain and external_guidance_scale != 1:
            raise ValueError(
                "the U-Net has learnt nothing of guidance, all of which is external: give "
                f"guidance_scale={external_guidance_scale:g} and leave external_guidance_scale at 1"
            )
        external = guidance_scale if plain else external_guidance_scale
        guided = denoiser if external == 1 else CFGDenoiser(denoiser, text([""]), external)
        cost = 1 if external == 1 else 2
        if latents is None:
            shape = (len(prompts), self.unet.config.in_channels, *self.unet.config.sample_size)
            latents = randn_tensor(shape, generator=generator, device=self._execution_device)
        elif latents.shape[0] != len(prompts):
            raise ValueError(f"expected latents for {len(prompts)} prompts, got {tuple(latents.shape)}")
        noise = latents.to(self._execution_device, torch.float32)
        conditioning = Conditioning(text(prompts), noise.new_full((len(prompts),), guidance_scale))
        num_steps = self.default_steps if num_inference_steps is None else num_inference_steps
        if self.config["distilled"]:
            times = consistency_times(denoiser.schedule, num_steps, grid)
            latent = sample_consistency(guided, noise, conditioning, times, generator=generator)
            return latent, len(times) * cost
        solver = solver or DDIM()
        times = (grid or UniformGrid())(denoiser.schedule, num_steps)
        latent = sample_diffusion(guided, solver, times, noise, conditioning, progress=not self.quiet)
        return latent, (len(times) - 1) * solver.queries_per_step * cost

    @property
    def default_steps(self) -> int:
        """``num_inference_steps`` where it is not given."""
        return 1 if self.config["distilled"] else 50

    def _wait(self) -> None:
        """Let the accelerator finish, so that a clock tells the truth."""
        if self._execution_device.type != "cpu":
            torch.accelerator.synchronize(self._execution_device)

    @property
    def quiet(self) -> bool:
        """Whether progress bars are switched off (``set_progress_bar_config(disable=True)``)."""
        return bool(getattr(self, "_progress_bar_config", {}).get("disable", False))

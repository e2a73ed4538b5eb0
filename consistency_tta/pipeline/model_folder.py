"""The parts of a model: loaded from a folder and saved as one."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Self

from diffusers import AutoencoderKL, AutoencoderOobleck, DiffusionPipeline, ModelMixin, SchedulerMixin
from transformers import PreTrainedModel, PreTrainedTokenizerBase, SpeechT5HifiGan

# diffusers loads parts of our own classes only out of modules that are imported: all of them must be here.
from consistency_tta.components.griffin_lim import GriffinLimVocoder
from consistency_tta.components.guidance import GuidanceEmbedding as GuidanceEmbedding  # of folders of version 0.1
from consistency_tta.components.mel import MelSpectrogram
from consistency_tta.components.scalar_embedding import ScalarEmbedding
from consistency_tta.components.tangoflux_projection import TangoFluxProjection as TangoFluxProjection
from consistency_tta.components.vocoder import FourierVocoder
from consistency_tta.diffusion.sampler import ConsistencySampler, ODESampler, Sampler
from consistency_tta.pipeline.trusted_parts import check_parts
from consistency_tta.runtime.errors import ModelFolderError
from consistency_tta.runtime.trusted_class import trusted_class
from consistency_tta.storage.atomic_directory import atomic_directory
from consistency_tta.storage.model_folder import HUB_OPTIONS, base_folder, model_folder, model_index


class ModelFolder(DiffusionPipeline):
    """A model's parts, any of which may be None, such as those of later trainings.

    Args:
        mel: front end of a codec of mel spectrograms; of a codec of waveforms for losses and pictures alone.
        vae: autoencoder of mel spectrograms or of waveforms, or any :class:`~consistency_tta.contracts.Codec`.
        vocoder: mel to waveform.
        text_encoder: any Hugging Face text encoder.
        tokenizer: of the text encoder.
        unet: the network, where it is a U-Net.
        scheduler: noise schedule and ``prediction_type``; only its configuration is used.
        guidance_embedding: for a network that reads the guidance scale: a student, or a diffusion model that was
            distilled to be guided in one query.
        distilled: what folders of version 0.1 have instead of ``sampler``: whether it is one query.
        guidance_range: the guidance scales that a network which reads them was trained for, lowest and highest.
        rewards: by which encoders any part was trained, as
            :meth:`~consistency_tta.components.reward_lineage.RewardLineage.to_dict` has it; None if nothing is known.
        transformer: the network, where it is a transformer.
        projection_model: of text embeddings and durations, as Stable Audio and TangoFlux have it.
        second_time_embedding: for a flow map, which reads a second time.
        sampler: how the network is sampled. By default as ``distilled`` says: in one query, or by 50 steps along the
            probability-flow ODE, with classifier-free guidance unless the network has learnt guidance.
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
        "transformer",
        "projection_model",
        "second_time_embedding",
        "sampler",
    ]
    model_cpu_offload_seq = "text_encoder->projection_model->unet->transformer->vae->vocoder"

    def __init__(
        self,
        mel: MelSpectrogram | None = None,
        vae: AutoencoderKL | AutoencoderOobleck | None = None,
        vocoder: SpeechT5HifiGan | FourierVocoder | GriffinLimVocoder | None = None,
        text_encoder: PreTrainedModel | None = None,
        tokenizer: PreTrainedTokenizerBase | None = None,
        unet: ModelMixin | None = None,
        scheduler: SchedulerMixin | None = None,
        guidance_embedding: ScalarEmbedding | None = None,
        distilled: bool | None = None,
        guidance_range: list[float] | None = None,
        rewards: dict[str, Any] | None = None,
        transformer: ModelMixin | None = None,
        projection_model: ModelMixin | None = None,
        second_time_embedding: ScalarEmbedding | None = None,
        sampler: Sampler | None = None,
    ) -> None:
        super().__init__()
        if sampler is None and (unet is not None or transformer is not None):
            guided = guidance_embedding is not None
            sampler = ConsistencySampler() if distilled else ODESampler(classifier_free_guidance=not guided)
        self.register_modules(
            mel=mel,
            vae=vae,
            vocoder=vocoder,
            text_encoder=text_encoder,
            tokenizer=tokenizer,
            unet=unet,
            scheduler=scheduler,
            guidance_embedding=guidance_embedding,
            transformer=transformer,
            projection_model=projection_model,
            second_time_embedding=second_time_embedding,
            sampler=sampler,
        )
        self.register_to_config(guidance_range=guidance_range, rewards=rewards)

    def use_sampler(self, sampler: Sampler) -> None:
        """Replace the sampler."""
        self.register_modules(sampler=sampler)

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | Path, **kwargs: Any) -> Self:
        """Load a model folder, a bundled model by its name, or a hub id; see ``diffusers.DiffusionPipeline``.

        A folder may rest on another: where ``model_index.json`` has ``"_base": "../teacher"``, a part that it lists but
        for which there is no subfolder is that folder's. What ``save_pretrained`` writes is whole again.

        Raises:
            UntrustedClassError: the folder names a class of a module that is not trusted, see
                :mod:`consistency_tta.runtime.trust`, or has code of its own.
        """
        hub = {option: kwargs.pop(option) for option in HUB_OPTIONS if option in kwargs}
        folder = model_folder(pretrained_model_name_or_path, **hub)
        check_parts(folder, cls._optional_components)
        parts = cls._parts_of_base(folder, kwargs)
        given = parts | kwargs
        # Not by diffusers, which takes only classes of modules that import one of its base classes by name.
        sampler = given["sampler"] if "sampler" in given else load_sampler(folder)
        # Low-memory loading needs accelerate, which nothing else here does. Pickles are for `convert`.
        options = {"low_cpu_mem_usage": False, "use_safetensors": True} | given | {"sampler": None}
        pipeline = super().from_pretrained(str(folder), **options)
        if sampler is not None:
            pipeline.use_sampler(sampler)
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
        """Check that parts are there.

        Args:
            *names: of parts; ``unet|transformer`` for either.

        Raises:
            ModelFolderError: if one is missing; it names all that are.
        """
        missing = [name for name in names if all(getattr(self, part) is None for part in name.split("|"))]
        if missing:
            parts = ", ".join(missing).replace("|", " or ")
            raise ModelFolderError(
                f"the model in {self.config.get('_name_or_path') or 'memory'} lacks {parts}; "
                "train what is missing, or point to the folder of a later stage"
            )

    def __getattr__(self, name: str) -> Any:
        """Report an AttributeError inside a property as what it is; diffusers would say that there is no property."""
        described = getattr(type(self), name, None)
        if isinstance(described, property) and described.fget is not None:
            return described.fget(self)
        return super().__getattr__(name)


def load_sampler(folder: Path) -> Sampler | None:
    """The sampler of a model folder, of a class that is trusted; None in a folder without one."""
    if not (folder / "sampler").is_dir():
        return None
    library, name = model_index(folder)["sampler"]
    return trusted_class(f"{library}.{name}", Sampler, folder / "model_index.json").from_pretrained(folder / "sampler")

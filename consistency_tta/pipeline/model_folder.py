"""The parts of a model: loaded from a folder and saved as one."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar, Self

import torch
from diffusers import AutoencoderKL, AutoencoderOobleck, DiffusionPipeline, ModelMixin, SchedulerMixin
from transformers import PreTrainedModel, PreTrainedTokenizerBase, SpeechT5HifiGan

# diffusers loads parts of our own classes only out of modules that are imported: all of them must be here.
from consistency_tta.components.fourier_decoder import FourierDecoder
from consistency_tta.components.griffin_lim import GriffinLimVocoder
from consistency_tta.components.guidance import GuidanceEmbedding as GuidanceEmbedding  # of folders of version 0.1
from consistency_tta.components.mel import MelSpectrogram
from consistency_tta.components.narrow_convolutions import compute_narrow_in_float32, wrong_in_bfloat16
from consistency_tta.components.scalar_embedding import ScalarEmbedding
from consistency_tta.components.tangoflux_projection import TangoFluxProjection as TangoFluxProjection
from consistency_tta.components.vocoder import FourierVocoder
from consistency_tta.diffusion.sampler import ConsistencySampler, ODESampler, Sampler
from consistency_tta.pipeline.loader_file import CLASS_IN_FOLDER, write_loader
from consistency_tta.pipeline.model_card import write_model_card
from consistency_tta.pipeline.part_files import check_files
from consistency_tta.pipeline.part_weights import check_weights
from consistency_tta.pipeline.scheduler_swap import sampler_for
from consistency_tta.pipeline.trusted_parts import check_parts
from consistency_tta.pipeline.upload import UPLOAD_OPTIONS, upload_model
from consistency_tta.runtime.errors import ConfigurationError, ModelFolderError
from consistency_tta.runtime.quiet import hide_empty_warnings
from consistency_tta.runtime.trusted_class import trusted_class
from consistency_tta.storage.atomic_directory import atomic_directory
from consistency_tta.storage.model_folder import HUB_OPTIONS, base_folder, model_folder, model_index, nested_too_deep


class ModelFolder(DiffusionPipeline):
    """A model's parts, any of which may be None, such as those of later trainings.

    Args:
        mel: front end of a codec of mel spectrograms; of a codec of waveforms for losses and pictures alone.
        vae: autoencoder of mel spectrograms or of waveforms, or any :class:`~consistency_tta.contracts.Codec`.
        vocoder: mel to waveform, or latent to waveform in the place of the autoencoder's decoder.
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
        training: what is known of the trainings that made it, one after another, for its card.
        audio_length_in_s: length of the recordings that the network learnt from, where its latents are longer since
            clips were padded. Sounds are cut there by default.
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
    #: Without parameters: small, and accelerate cannot offload them.
    _exclude_from_cpu_offload: ClassVar[list[str]] = ["mel", "guidance_embedding", "second_time_embedding"]

    def __init__(
        self,
        mel: MelSpectrogram | None = None,
        vae: AutoencoderKL | AutoencoderOobleck | None = None,
        vocoder: SpeechT5HifiGan | FourierVocoder | FourierDecoder | GriffinLimVocoder | None = None,
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
        training: list[dict[str, Any]] | None = None,
        audio_length_in_s: float | None = None,
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
        self.register_to_config(
            guidance_range=guidance_range, rewards=rewards, training=training, audio_length_in_s=audio_length_in_s
        )
        if wrong_in_bfloat16():
            for part in (vae, vocoder, unet, transformer):
                if part is not None:
                    compute_narrow_in_float32(part)
        if isinstance(vae, AutoencoderKL) and mel is not None:
            # Where users of StableAudioPipeline look for it, whose autoencoder is one of waveforms.
            vae.sampling_rate = mel.config["sample_rate"]

    def __setattr__(self, name: str, value: Any) -> None:
        """Set a part. Another scheduler is another way of sampling, so it also replaces the sampler.

        Raises:
            ConfigurationError: if another scheduler is given to a network that its own sampler alone can sample.
        """
        before = self.__dict__.get("scheduler") if name == "scheduler" else None
        if before is not None and self.__dict__.get("sampler") is not None:
            sampler = sampler_for(value, before, self.sampler)
            super().__setattr__("sampler", sampler)
        super().__setattr__(name, value)

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
        check_files(folder, set(cls._optional_components) - kwargs.keys(), kwargs.get("variant"))
        scheduler = kwargs.pop("scheduler") if kwargs.get("scheduler") is not None else None
        for option in {"dtype", "torch_dtype"} & kwargs.keys():
            kwargs[option] = _dtype(kwargs[option])
        parts = cls._parts_of_base(folder, kwargs)
        given = parts | kwargs
        # Not by diffusers, which takes only classes of modules that import one of its base classes by name.
        sampler = given["sampler"] if "sampler" in given else load_sampler(folder)
        # Low-memory loading needs accelerate, which nothing else here does. Pickles are for `convert`.
        hide_empty_warnings()
        options = {"low_cpu_mem_usage": False, "use_safetensors": True} | given | {"sampler": None}
        try:
            pipeline = super().from_pretrained(str(folder), **options)
        except RecursionError:
            raise nested_too_deep(folder) from None
        except torch.OutOfMemoryError:  # of the device, not of the folder
            raise
        except (LookupError, RuntimeError, TypeError) as error:  # of the libraries: settings that do not go together
            said = " ".join(str(error).split())
            raise ModelFolderError(
                f"the weights or settings of a part of {folder} do not go together: {said:.200}: copy the folder again"
            ) from error
        own = {name: part for name, part in pipeline.components.items() if name not in given}
        check_weights(folder, own, kwargs.get("variant"))
        if sampler is not None:
            pipeline.use_sampler(sampler)
        if scheduler is not None:
            pipeline.scheduler = scheduler
        if not {"dtype", "torch_dtype"} & kwargs.keys():
            # diffusers loads in float32; transformers would train and run a float16 folder's text encoder in float16.
            for part in pipeline.components.values():
                if isinstance(part, PreTrainedModel):
                    part.float()
        return pipeline

    @classmethod
    def load_config(cls, *args: Any, **kwargs: Any) -> Any:
        """The content of ``model_index.json``, without the folder's own code, which loading by this class does not run.

        It is there for ``DiffusionPipeline.from_pretrained``, see :mod:`consistency_tta.pipeline.loader_file`.
        """
        loaded = super().load_config(*args, **kwargs)
        config = loaded[0] if isinstance(loaded, tuple) else loaded
        if config.get("_class_name") == CLASS_IN_FOLDER:
            config["_class_name"] = CLASS_IN_FOLDER[1]
        return loaded

    @classmethod
    def extract_init_dict(cls, config_dict: Any, **kwargs: Any) -> Any:
        """What of ``model_index.json`` the constructor takes.

        Raises:
            ModelFolderError: diffusers alone loads a folder that rests on another, whose parts it would not find.
        """
        if config_dict.get("_class_name") == CLASS_IN_FOLDER and "_base" in config_dict:
            raise ModelFolderError(
                f"expected a whole model folder, got one that rests on {config_dict['_base']}, which diffusers does "
                "not follow: load it by consistency_tta.TextToAudioPipeline.from_pretrained"
            )
        return super().extract_init_dict(config_dict, **kwargs)

    def save_pretrained(self, save_directory: str | Path, push_to_hub: bool = False, **kwargs: Any) -> None:
        """Write a model folder, whole or not at all; see ``diffusers.DiffusionPipeline``.

        Args:
            save_directory: the folder.
            push_to_hub: whether to upload it, too; then ``repo_id``, ``commit_message``, ``private``, ``create_pr`` and
                ``token`` are those of :meth:`push_to_hub`.
            **kwargs: ``license`` of the weights for the card, by the hub's name such as ``mit``; others see there.
        """
        licence = kwargs.pop("license", None)
        upload = {name: kwargs.pop(name) for name in UPLOAD_OPTIONS if name in kwargs}
        with atomic_directory(Path(save_directory), last="model_index.json") as folder:
            super().save_pretrained(folder, **kwargs)
            if type(self).__module__.startswith("consistency_tta."):
                write_loader(folder)
            write_model_card(folder, self, Path(save_directory).absolute() / "README.md", licence)
        if push_to_hub:
            upload_model(Path(save_directory), **upload)

    def push_to_hub(self, repo_id: str, **options: Any) -> str:
        """Upload the model folder with its card to the Hugging Face hub; returns the address.

        Args:
            repo_id: such as ``user/name``.
            **options: ``commit_message``, ``private``, ``create_pr`` and ``token``; others are those of
                :meth:`save_pretrained`.
        """
        upload = {name: options.pop(name) for name in UPLOAD_OPTIONS if name in options}
        with TemporaryDirectory() as parent:
            folder = Path(parent) / "model"
            self.save_pretrained(folder, **options)
            return upload_model(folder, repo_id, **upload)

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


def _dtype(dtype: Any) -> Any:
    """What diffusers takes as ``dtype``, also by the name of a torch.dtype, for which it would load in float32.

    Raises:
        ConfigurationError: if torch has none of that name.
    """
    found = getattr(torch, dtype, None) if isinstance(dtype, str) else dtype
    if isinstance(dtype, str) and not isinstance(found, torch.dtype):
        raise ConfigurationError(f"expected a dtype of torch, such as torch.bfloat16, got {dtype!r}")
    return found

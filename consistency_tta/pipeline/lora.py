"""LoRA adapters of a pipeline's network, loaded and weighted as in diffusers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from diffusers.loaders import PeftAdapterMixin
from diffusers.loaders.lora_base import LORA_WEIGHT_NAME_SAFE, LoraBaseMixin
from huggingface_hub import hf_hub_download
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

from consistency_tta.pipeline.networks import ModelNetworks
from consistency_tta.runtime.errors import MissingExtraError, ModelFolderError
from consistency_tta.storage.model_folder import HUB_OPTIONS


class LoRAWeights(LoraBaseMixin, ModelNetworks):
    """Adapters of the U-Net or transformer; ``set_adapters``, ``fuse_lora`` and others are diffusers' own.

    Source: Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", 2021, https://arxiv.org/abs/2106.09685
    """

    _lora_loadable_modules = ("unet", "transformer")

    def load_lora_weights(
        self,
        pretrained_model_name_or_path_or_dict: str | Path | Mapping[str, Tensor],
        adapter_name: str | None = None,
        weight_name: str = LORA_WEIGHT_NAME_SAFE,
        **options: Any,
    ) -> None:
        """Load an adapter, and use it.

        The layers that read the guidance scale, which a training with LoRA trains in full and leaves next to the
        adapter, are replaced; ``unload_lora_weights`` does not bring them back.

        Args:
            pretrained_model_name_or_path_or_dict: a folder, such as the ``adapter_folder`` of a training with LoRA; a
                file of safetensors; a hub id; or weights by name. Names may have the prefix ``unet.`` or
                ``transformer.``.
            adapter_name: by which ``set_adapters`` weights it.
            weight_name: of the file in a folder, or of the hub.
            **options: of the hub, and of diffusers' ``load_lora_adapter``.

        Raises:
            MissingExtraError: if ``peft`` is not installed.
            ModelFolderError: if there is no network, or it takes no adapter, or none of the weights is its own.
        """
        network, component = self._adaptable()
        if isinstance(pretrained_model_name_or_path_or_dict, Mapping):
            weights = dict(pretrained_model_name_or_path_or_dict)
            prefix = _prefix(weights, component)
            network.load_lora_adapter(weights, prefix, adapter_name=adapter_name, **options)
            return
        hub = {option: options.pop(option) for option in HUB_OPTIONS if option in options}
        file = _file(Path(pretrained_model_name_or_path_or_dict), weight_name, hub)
        with safe_open(file, "pt") as weights:
            prefix = _prefix(weights.keys(), component)
        layers = {name: file.with_name(f"{name}.safetensors") for name in self.denoiser.scalar_layers}
        trained = {name: load_file(layer) for name, layer in layers.items() if layer.is_file()}
        if trained and self.guidance_embedding is None:
            raise ModelFolderError(
                f"{file.parent} is an adapter of a student, which reads the guidance scale, but this model does not: "
                "load it into the student that it was trained from"
            )
        network.load_lora_adapter(
            file.parent, prefix, adapter_name=adapter_name, weight_name=file.name, use_safetensors=True, **options
        )
        for name, state in trained.items():
            network.get_submodule(name).load_state_dict(state)

    def fuse_lora(self, components: Sequence[str] = (), **options: Any) -> None:
        """Add the adapters to the weights; see ``diffusers``."""
        super().fuse_lora(list(components) or self._adapted(), **options)

    def unfuse_lora(self, components: Sequence[str] = (), **options: Any) -> None:
        """Undo :meth:`fuse_lora`; see ``diffusers``."""
        super().unfuse_lora(list(components) or self._adapted(), **options)

    def _adapted(self) -> list[str]:
        return [name for name in self._lora_loadable_modules if getattr(self, name) is not None]

    def _adaptable(self) -> tuple[Any, str]:
        """The network, and its name in the model folder."""
        self.require("unet|transformer")
        component = "transformer" if self.unet is None else "unet"
        network = getattr(self, component)
        if not isinstance(network, PeftAdapterMixin):
            raise ModelFolderError(f"expected a network that takes LoRA adapters, got {type(network).__name__}")
        try:
            import peft  # noqa: F401
        except ModuleNotFoundError as error:
            raise MissingExtraError(
                "LoRA needs the package peft: pip install 'consistency-tta[lora]', or pip install peft"
            ) from error
        return network, component


def _file(source: Path, name: str, hub: dict[str, Any]) -> Path:
    """The file of an adapter's weights."""
    if source.is_file():
        return source
    if source.is_dir():
        if not (source / name).is_file():
            raise FileNotFoundError(f"expected {name} in {source}: name another file as weight_name")
        return source / name
    try:
        return Path(hf_hub_download(source.as_posix(), name, **hub))
    except (OSError, ValueError):  # all of the hub's are among them
        raise FileNotFoundError(
            f"{source} is neither an adapter's folder or file here, nor on the hub with a file {name}"
        ) from None


def _prefix(names: Iterable[str], component: str) -> str | None:
    """What the names of a network's weights begin with.

    Raises:
        ModelFolderError: if none is of an adapter of this network.
    """
    names = list(names)
    for prefix in (component, None):
        own = [name for name in names if prefix is None or name.startswith(f"{prefix}.")]
        if any("lora" in name for name in own) and not (prefix is None and _of_another(own)):
            return prefix
    raise ModelFolderError(f"expected LoRA weights of the {component}, got {names[:3]}")


def _of_another(names: list[str]) -> bool:
    return all(name.split(".")[0] in ("unet", "transformer", "text_encoder") for name in names)

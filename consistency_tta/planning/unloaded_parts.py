"""Parts of model folders, built of their configurations; no file of weights is read."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

from transformers import (
    AutoTokenizer,
    ClapConfig,
    ClapFeatureExtractor,
    ClapModel,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from consistency_tta.components.clap_model import Clap, clap_folder
from consistency_tta.components.without_code import load_without_code
from consistency_tta.pipeline import TextToAudioPipeline
from consistency_tta.pipeline.model_folder import ModelFolder
from consistency_tta.pipeline.trusted_parts import check_parts
from consistency_tta.runtime.errors import ModelFolderError
from consistency_tta.storage.bundled import TRANSFORMERS, resolve
from consistency_tta.storage.model_folder import base_folder, model_index


def folder_parts(folder: Path) -> TextToAudioPipeline:
    """The parts of a model folder, built of their configurations."""
    check_parts(folder, ModelFolder._optional_components)
    index, base = model_index(folder), base_folder(folder, model_index(folder))
    parts: dict[str, Any] = {}
    for name in ModelFolder._optional_components:
        library, class_name = index.get(name, [None, None])
        if class_name is None:
            continue
        place = folder / name if base is None or (folder / name).is_dir() else base / name
        parts[name] = build_part(_class(library, class_name), place)
    known = ("distilled", "guidance_range", "rewards", "audio_length_in_s")
    settings = {key: index[key] for key in known if key in index}
    return TextToAudioPipeline(**parts, **settings)


def build_part(kind: Any, folder: Path) -> Any:
    """One part; tokenizers have no weights and are loaded."""
    if issubclass(kind, PreTrainedTokenizerBase):
        return kind.from_pretrained(folder)
    if issubclass(kind, PreTrainedModel):
        return kind(kind.config_class.from_pretrained(folder))
    return kind.from_config(kind.load_config(folder))


def unloaded_clap(name: str | Path) -> Clap:
    """As ``load_clap``, of the configuration alone."""
    folder = clap_folder(resolve(name, TRANSFORMERS))
    tokenizer = load_without_code(AutoTokenizer.from_pretrained, folder)
    return Clap(ClapModel(ClapConfig.from_pretrained(folder)), tokenizer, ClapFeatureExtractor.from_pretrained(folder))


def _class(library: str, name: str) -> Any:
    """A class as ``model_index.json`` names it; of pipelines of diffusers, by the pipeline's name."""
    for module in (library, f"diffusers.pipelines.{library}"):
        try:
            return getattr(import_module(module), name)
        except ModuleNotFoundError:
            continue
    raise ModelFolderError(f"expected an importable class, got {library}.{name}")

"""What a model folder may make its reader run: classes of modules that are trusted, and no code of its own."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import transformers
from diffusers import SchedulerMixin, pipelines
from torch import nn
from transformers import PreTrainedTokenizerBase

from consistency_tta.diffusion.sampler import Sampler
from consistency_tta.pipeline.loader_file import CLASS_IN_FOLDER
from consistency_tta.runtime.errors import ModelFolderError
from consistency_tta.runtime.trusted_class import check_settings, trusted_class, untrusted
from consistency_tta.storage.model_folder import model_index
from consistency_tta.storage.text import parse_json, read_text

#: What the class of a part must be; of all others, a network.
KINDS: dict[str, type] = {"tokenizer": PreTrainedTokenizerBase, "scheduler": SchedulerMixin, "sampler": Sampler}


def check_parts(folder: Path, parts: Iterable[str]) -> None:
    """Check the classes that a folder's ``model_index.json`` names, before diffusers imports them.

    Args:
        folder: of the model.
        parts: names of those that diffusers would load.

    Raises:
        UntrustedClassError: a class is of a module that is not trusted, or of Python code in the folder.
        ConfigurationError: a class does not exist, or cannot be such a part.
        ModelFolderError: ``model_index.json`` is no description of a model.
    """
    file, index = folder / "model_index.json", model_index(folder)
    pipeline = index.get("_class_name") if isinstance(index, dict) else None
    if not isinstance(pipeline, str) and pipeline != CLASS_IN_FOLDER:  # ours, whose file is not run
        raise ModelFolderError(
            f"expected the name of one class as _class_name in {file}, got {pipeline}: code of a model's author is not "
            "run, so use a folder that `consistency-tta export` or `convert` wrote"
        )
    if (code := folder / "None.py").exists():  # diffusers takes it for the pipeline's class
        raise untrusted(f"its own code {code.name}", file)
    for part in parts:
        if index.get(part) not in (None, [None, None]):
            _check_part(folder, part, index[part])
    settings = folder / "sampler" / Sampler.config_name
    if settings.is_file():
        check_settings(parse_json(read_text(settings), str(settings)), settings)


def _check_part(folder: Path, part: str, named: Any) -> None:
    file = folder / "model_index.json"
    if not isinstance(named, list) or len(named) != 2 or not all(isinstance(word, str) for word in named):
        raise ModelFolderError(f"expected a library and a class for {part} in {file}, got {named}")
    library, name = named[0], named[1].removeprefix("FlashPack")  # as diffusers does
    if (code := folder / part / f"{library}.py").exists():  # diffusers would run it
        raise untrusted(f"{library}.{name}, of its own code {part}/{code.name}", file)
    if hasattr(pipelines, library):
        # A class of a pipeline of diffusers, such as ["stable_audio", "StableAudioProjectionModel"].
        library = f"diffusers.pipelines.{library}"
    elif library == "transformers" and not hasattr(transformers, name):
        return  # diffusers knows today's names of some classes of earlier versions, and refuses others
    trusted_class(f"{library}.{name}", KINDS.get(part, nn.Module), file)

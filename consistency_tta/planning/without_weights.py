"""Loads what a recipe names without reading weights: of configurations, of other recipes, or of stand-ins."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from copy import deepcopy
from pathlib import Path
from typing import Any
from unittest import mock

from torch import nn
from transformers import AutoConfig, AutoModelForTextEncoding, AutoTokenizer, PreTrainedModel

from consistency_tta.components import clap, text
from consistency_tta.components.clap_model import Clap
from consistency_tta.components.without_code import load_without_code
from consistency_tta.diffusion import sample
from consistency_tta.diffusion.schedules import from_config
from consistency_tta.pipeline import TextToAudioPipeline
from consistency_tta.pipeline.model_folder import ModelFolder
from consistency_tta.planning.stand_ins import audioldm_codec, byte_tokenizer, htsat_clap, t5_encoder
from consistency_tta.planning.substitutes import apply_without_values, falling_times, with_values
from consistency_tta.planning.unloaded_parts import folder_parts, unloaded_clap
from consistency_tta.storage.model_folder import model_folder

#: What recipe and models name and is not here, while a plan is made, with what it was planned with.
MISSING: ContextVar[dict[str, str]] = ContextVar("missing", default={})  # noqa: B039  # replaced, never changed

#: What is fetched of a model of the hub.
CONFIGURATIONS = ["*.json", "*.txt", "*.model"]


class UnloadedModels:
    """What the loaders return while a plan is made.

    Args:
        of_recipe: builds what the recipe that writes a folder exports; None where no recipe does.

    Attributes:
        missing: what was named and is not here, with what was planned with instead.
    """

    def __init__(self, of_recipe: Callable[[str], Any | None]) -> None:
        self.of_recipe = of_recipe
        self.missing: dict[str, str] = {}
        self._built: dict[str, Any] = {}

    def pipeline(self, name: str | Path, **options: Any) -> TextToAudioPipeline:
        """The parts of a model folder."""

        def load() -> TextToAudioPipeline:
            return folder_parts(model_folder(name, allow_patterns=CONFIGURATIONS))

        made = deepcopy(self._once(str(name), load, self._audioldm))
        if str(name) in self.missing:  # for errors about what it lacks
            made.register_to_config(_name_or_path=str(name))
        return made

    def clap(self, name: str | Path) -> Clap:
        """A CLAP."""
        return deepcopy(self._once(str(name), lambda: unloaded_clap(name), self._htsat))

    def text(self, load: Callable[..., Any], name: str) -> Any:
        """A tokenizer, or a text encoder, as ``load`` is that of ``AutoTokenizer`` or of a model."""
        if getattr(load, "__self__", None) is AutoTokenizer:
            return self._once(f"{name} (tokenizer)", lambda: load_without_code(load, name), lambda _: byte_tokenizer())
        return self._once(
            name, lambda: AutoModelForTextEncoding.from_config(AutoConfig.from_pretrained(name)), self._t5
        )

    def _once(self, name: str, load: Callable[[], Any], stand_in: Callable[[str], Any]) -> Any:
        if name not in self._built:
            try:
                self._built[name] = load()
            except OSError:
                self._built[name] = self.of_recipe(name) or stand_in(name)
        return self._built[name]

    def _audioldm(self, name: str) -> TextToAudioPipeline:
        self.missing[name] = "AudioLDM's codec and HiFi-GAN, by their published sizes"
        return TextToAudioPipeline(**audioldm_codec())

    def _htsat(self, name: str) -> Clap:
        self.missing[name] = "HTSAT-tiny with RoBERTa-base, by their published sizes"
        return htsat_clap()

    def _t5(self, name: str) -> PreTrainedModel:
        self.missing[name] = "an encoder of FLAN-T5, by its published size"
        return t5_encoder(name)

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Take the place of the loaders."""
        with ExitStack() as stack:
            patches: list[tuple[Any, str, Any]] = [
                (ModelFolder, "from_pretrained", staticmethod(self.pipeline)),
                (text, "load_at_once", self.text),
                (clap, "load_clap", self.clap),
                (clap, "_files", lambda model: []),
                (from_config, "_table", with_values(from_config._table)),
                (sample, "_check_grid", falling_times),
                # Draws until all values are in range, which those of tensors without values never are.
                (nn.init, "_no_grad_trunc_normal_", lambda tensor, *_, **__: tensor),
                (nn.Module, "_apply", apply_without_values),
            ]
            for owner, name, replacement in patches:
                stack.enter_context(mock.patch.object(owner, name, replacement))
            yield

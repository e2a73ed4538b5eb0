"""Packages of the extra ``laion``, imported without a connection to the hub."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

from torch import nn
from transformers import PreTrainedTokenizerBase, RobertaConfig, RobertaModel

from consistency_tta.runtime.errors import MissingExtraError


@contextmanager
def _without_the_hub(text: RobertaConfig | None = None) -> Iterator[None]:
    """Keep ``laion_clap`` from fetching three tokenizers and RoBERTa's weights, none of which is used here.

    The tokenizers serve its own training alone, and the checkpoint replaces RoBERTa's weights.

    Args:
        text: configuration of RoBERTa, which gets random weights.
    """

    def untrained(*_: Any, **__: Any) -> RobertaModel:
        return RobertaModel(text)

    with (
        mock.patch.object(PreTrainedTokenizerBase, "from_pretrained", return_value=None),
        mock.patch.object(RobertaModel, "from_pretrained", untrained),
    ):
        yield


def import_extra(module: str, whose: str, instead: str = "") -> Any:
    """A module of a package of the extra ``laion``, imported without a connection to the hub.

    Args:
        module: its name; many import ``laion_clap``.
        whose: name of what needs it, for the message.
        instead: an alternative without it, for the message.

    Raises:
        MissingExtraError: if it, or a package that it needs, is not installed.
    """
    try:
        with _without_the_hub():
            return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            f"{whose} needs the package {error.name}: pip install 'consistency-tta[laion]' with Python 3.11 or 3.12, "
            f"in an environment of its own{instead}",
            name=error.name,
        ) from error


def import_laion() -> Any:
    """The package ``laion_clap``; see :func:`import_extra`."""
    return import_extra(
        "laion_clap", "LaionClap", ", or take TransformersClap, which reads the same checkpoints without it"
    )


def untrained_module(audio_network: str, text: RobertaConfig) -> nn.Module:
    """``laion_clap.CLAP_Module`` with random weights, in evaluation mode, on the CPU, and without a tokenizer.

    Args:
        audio_network: ``HTSAT-tiny``, ``HTSAT-base`` or ``HTSAT-large``.
        text: of RoBERTa; the width must be 768.
    """
    package = import_laion()
    with _without_the_hub(text):
        return package.CLAP_Module(enable_fusion=False, device="cpu", amodel=audio_network).eval()

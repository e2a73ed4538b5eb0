"""The subcommand ``convert``."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from torch import nn

from consistency_tta.convert.audioldm import audioldm
from consistency_tta.convert.consistencytta import consistencytta
from consistency_tta.convert.stable_audio import stable_audio
from consistency_tta.convert.tango import tango
from consistency_tta.convert.tangoflux import tangoflux
from consistency_tta.runtime.errors import ConfigurationError
from consistency_tta.storage.atomic_directory import require_empty


def convert(
    source: Literal["tango", "audioldm", "consistencytta", "stable-audio", "tangoflux"],
    checkpoints: list[Path],
    output: Path,
    text_encoder: str = "google/flan-t5-large",
    without_text: bool = False,
    scale_factor: float | None = None,
    network: Literal["student", "teacher"] | None = None,
) -> Path:
    """Write a published checkpoint as a model folder.

    Nothing is written if a file is not what it should be.

    Args:
        source: whose checkpoint it is.
        checkpoints: its files, or folders of them, in any order.
        output: folder to write; must not exist yet.
        text_encoder: hub id, or folder, of the tokenizer and, where the checkpoint has none, of the text encoder.
            Stable Audio's folder has both.
        without_text: whether to leave text encoder and tokenizer out; the folder then cannot generate.
        scale_factor: of the latents of mels, where no file has it.
        network: which U-Net of a ConsistencyTTA checkpoint; the student if it has one.
    """
    require_empty(output)
    text = None if without_text else text_encoder
    if network is not None and source != "consistencytta":
        raise ConfigurationError(f"--network is for consistencytta, whose checkpoints hold more than one; got {source}")
    if scale_factor is not None and source in ("stable-audio", "tangoflux"):
        raise ConfigurationError(f"--scale_factor is for latents of mels; those of {source} have none")
    if source == "audioldm":
        pipeline = audioldm(checkpoints, scale_factor)
    elif source == "tango":
        pipeline = tango(checkpoints, text, scale_factor)
    elif source == "stable-audio":
        pipeline = stable_audio(checkpoints, with_text=not without_text)
    elif source == "tangoflux":
        pipeline = tangoflux(checkpoints, text)
    else:
        pipeline = consistencytta(checkpoints, text, scale_factor, network)
    pipeline.save_pretrained(output)
    for name, part in pipeline.components.items():
        if isinstance(part, nn.Module):
            print(f"  {name}: {sum(tensor.numel() for tensor in part.parameters()) / 1e6:.1f} M parameters")
    print(f"{source} of {', '.join(map(str, checkpoints))} written to {output}")
    return output

"""The subcommand ``convert``."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from torch import nn

from consistency_tta.convert.audioldm import audioldm
from consistency_tta.convert.consistencytta import consistencytta
from consistency_tta.convert.tango import tango
from consistency_tta.storage.atomic_directory import require_empty


def convert(
    source: Literal["tango", "audioldm", "consistencytta"],
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
        without_text: whether to leave text encoder and tokenizer out; the folder then cannot generate.
        scale_factor: of the latents, where no file says.
        network: which U-Net of a ConsistencyTTA checkpoint; the student if it has one.
    """
    require_empty(output)
    text = None if without_text else text_encoder
    if network is not None and source != "consistencytta":
        raise ValueError(f"--network is for consistencytta, whose checkpoints hold more than one; got {source}")
    if source == "audioldm":
        pipeline = audioldm(checkpoints, scale_factor)
    elif source == "tango":
        pipeline = tango(checkpoints, text, scale_factor)
    else:
        pipeline = consistencytta(checkpoints, text, scale_factor, network)
    pipeline.save_pretrained(output)
    for name, part in pipeline.components.items():
        if isinstance(part, nn.Module):
            print(f"  {name}: {sum(tensor.numel() for tensor in part.parameters()) / 1e6:.1f} M parameters")
    print(f"{source} of {', '.join(map(str, checkpoints))} written to {output}")
    return output

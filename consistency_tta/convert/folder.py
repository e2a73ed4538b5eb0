"""Model folders, written whole or not at all."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from consistency_tta.pipeline import TextToAudioPipeline


def check_free(output: Path) -> None:
    """Raise if there is already something where a folder is to be written."""
    if output.is_file() or (output.is_dir() and any(output.iterdir())):
        raise ValueError(f"{output} exists already: give another --output, or remove it first")


def write(pipeline: TextToAudioPipeline, output: Path) -> None:
    """Save a model folder, beside its place first: a full disk or an interruption leaves nothing half-written there."""
    output.parent.mkdir(parents=True, exist_ok=True)
    beside = output.with_name(f".{output.name}.{os.getpid()}.partial")
    try:
        pipeline.save_pretrained(beside)
        if output.is_dir():
            output.rmdir()  # empty, see check_free
        beside.rename(output)
    finally:
        shutil.rmtree(beside, ignore_errors=True)

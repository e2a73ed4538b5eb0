"""Files that are written whole or not at all, with the access rights of any new file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from uuid import uuid4

import torch
from safetensors.torch import save
from torch import Tensor

from consistency_tta.storage.unfinished import unfinished


def write_file(path: Path, content: bytes) -> None:
    """Write a file under another name and rename it, so that no process ever reads a part of it.

    What a killed process leaves, :func:`~consistency_tta.storage.unfinished.remove_unfinished` removes.

    Args:
        path: its folder is made if need be; a file that is there is replaced.
        content: of the file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = unfinished(path.with_name(f"{path.name}.{uuid4().hex[:8]}"))  # several threads may write a file at once
    try:
        part.write_bytes(content)
        part.replace(path)
    except BaseException as error:
        part.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno and error.filename is None:  # such as of a full disk
            error.filename = str(path)
        raise


def save_tensors(tensors: Mapping[str, Tensor], path: Path, metadata: dict[str, str] | None = None) -> None:
    """Write a safetensors file that whoever may read the folder may read; ``safetensors`` itself allows its owner only.

    Args:
        tensors: by name, on any device; they may share memory.
        path: as of :func:`write_file`.
        metadata: text by name, kept in the file's header.
    """
    # Copies: safetensors refuses tensors that share memory.
    copies = {
        name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format) for name, tensor in tensors.items()
    }
    write_file(path, save(copies, metadata))

"""The weights of a model folder's parts: those that its files lack, libraries draw at random and only log."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor, nn
from transformers import PreTrainedModel

from consistency_tta.pipeline.part_files import weight_files
from consistency_tta.runtime.errors import ModelFolderError

#: Types of safetensors that are floating point, by their first letters: BF16, F32, F8_E4M3.
FLOATS = ("BF", "F")
#: Weights that a message names.
NAMED = 2


def check_weights(folder: Path, parts: Mapping[str, object], variant: str | None = None) -> None:
    """Check that each weight of the networks that were read from a folder is in its files.

    A weight may have another name there, which a library has translated: it then has the same values. Weights that
    share memory need one name; of transformers' networks, those that it expects to be missing need none.

    Args:
        folder: of the model.
        parts: networks and other parts by name; only those that have files of weights are looked at.
        variant: of the files, as :func:`~consistency_tta.pipeline.part_files.weight_files` takes it.

    Raises:
        ModelFolderError: a weight is missing, or is of integers where the network has floating point.
    """
    for name, part in parts.items():
        files = weight_files(folder / name, variant)
        if files and isinstance(part, nn.Module) and not any(one.is_meta for one in part.state_dict().values()):
            _check_part(part, files)


def _check_part(part: nn.Module, files: list[Path]) -> None:
    own = _tensors(part)
    places = {}  # the file of each stored name
    for file in files:
        with safe_open(file, framework="pt") as weights:
            for key in weights.keys():  # noqa: SIM118 - not a dictionary
                places[key] = file
                kind = weights.get_slice(key).get_dtype()
                if key in own and own[key].is_floating_point() and not kind.startswith(FLOATS):
                    raise ModelFolderError(f"expected floating point as {key} in {file}, got {kind}: copy it again")
    names = defaultdict(list)  # of each tensor: some share memory
    for key, tensor in own.items():
        names[tensor.data_ptr() if tensor.numel() else key].append(key)
    missing = [several for several in names.values() if not places.keys() & set(several)]
    if missing:
        unknown = {key: place for key, place in places.items() if key not in own}
        missing = [several for several in missing if not _is_among(own[several[0]], unknown)]
    if missing:
        listed = ", ".join(several[0] for several in missing[:NAMED])
        more = f" and {len(missing) - NAMED} more" if len(missing) > NAMED else ""
        raise ModelFolderError(
            f"expected all weights of {type(part).__name__} in {files[0]}, got none of {listed}{more}: copy it again, "
            "or make the folder anew with `consistency-tta export`"
        )


def _tensors(part: nn.Module) -> dict[str, Tensor]:
    """What must be in a part's files, by name."""
    if not isinstance(part, PreTrainedModel):
        return part.state_dict()
    ignored = [re.compile(pattern) for pattern in part._keys_to_ignore_on_load_missing or ()]
    weights = part.named_parameters(remove_duplicate=False)
    return {name: weight for name, weight in weights if not any(pattern.search(name) for pattern in ignored)}


def _is_among(tensor: Tensor, stored: Mapping[str, Path]) -> bool:
    """Whether a tensor's values are those of one that is stored, in whatever shape."""
    for key, file in stored.items():
        with safe_open(file, framework="pt") as weights:
            if torch.Size(weights.get_slice(key).get_shape()).numel() != tensor.numel():
                continue
            if torch.equal(weights.get_tensor(key).to(tensor.dtype).flatten(), tensor.detach().cpu().flatten()):
                return True
    return False

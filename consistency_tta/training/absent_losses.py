"""Checkpoints of runs whose losses are not installed where they are exported: the model does not need them."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any


def without_absent_losses(checkpoint: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """A checkpoint without the losses whose packages are not installed; nothing is imported to find out.

    A loss that is installed stays, and is refused elsewhere if its module is not trusted.

    Args:
        checkpoint: of today's names, see :func:`~consistency_tta.training.earlier_versions.upgrade_checkpoint`.

    Returns:
        The checkpoint, the same object if all losses are there, and the names of the losses that were left out.
    """
    arguments = checkpoint.get("hyper_parameters") or {}
    losses = arguments.get("losses")
    if not isinstance(losses, dict):
        return checkpoint, []
    absent = [name for name, loss in losses.items() if _is_absent(loss)]
    if not absent:
        return checkpoint, []
    kept = {"losses": {name: loss for name, loss in losses.items() if name not in absent}}
    if isinstance(weights := arguments.get("loss_weights"), dict):
        kept["loss_weights"] = {name: weight for name, weight in weights.items() if name not in absent}
    own = tuple(f"losses.learnable.loss {name.replace('.', '_')}." for name in absent)
    state = {name: value for name, value in checkpoint["state_dict"].items() if not name.startswith(own)}
    return checkpoint | {"hyper_parameters": {**arguments, **kept}, "state_dict": state}, absent


def _is_absent(loss: Any) -> bool:
    path = loss.get("class_path") if isinstance(loss, dict) else loss
    package = path.partition(".")[0] if isinstance(path, str) and "." in path else ""
    return package.isidentifier() and find_spec(package) is None

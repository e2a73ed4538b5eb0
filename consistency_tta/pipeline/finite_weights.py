"""Models whose weights are not numbers are not written."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import nn

from consistency_tta.runtime.errors import ModelFolderError


def check_finite(components: Mapping[str, object], output: str | Path) -> None:
    """Raise if a weight of a model is NaN or infinite.

    Args:
        components: a model's parts by name.
        output: where the model was to be written, for the message.

    Raises:
        ModelFolderError: names the first such weight.
    """
    for part, module in components.items():
        if not isinstance(module, nn.Module):
            continue
        for name, weight in module.named_parameters():
            if not weight.isfinite().all():
                raise ModelFolderError(
                    f"{part}.{name} has entries that are not finite, so no model is written to {output}: the training "
                    "diverged; lower its learning rate, or export an earlier checkpoint"
                )

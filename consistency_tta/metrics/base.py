"""What all metrics share: they take numpy arrays as well as tensors, and draw themselves."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import numpy as np
import torch
from torchmetrics import Metric


class SoundMetric(Metric):
    """Base of the package's metrics: a :class:`torchmetrics.Metric` whose ``update`` takes numpy arrays, too.

    Arrays are copied to the metric's device, so that the caller may fill them again; tensors must be on it, as for all
    metrics of torchmetrics.
    """

    is_differentiable = False
    full_state_update = False

    def plot(self, val: Any = None, ax: Any = None) -> Any:
        """Draw the metric by matplotlib, see ``torchmetrics.Metric.plot``.

        Args:
            val: one result of ``compute`` or ``forward``, or a list of them, which become a curve; the present one if
                None.
            ax: axes to draw into; new ones if None.

        Returns:
            Figure and axes.
        """
        return self._plot(val, ax)

    def _wrap_update(self, update: Callable) -> Callable:
        """Called by torchmetrics where a metric is made, copied or unpickled."""

        @wraps(update)  # keeps the signature, by which inputs are selected
        def with_arrays(*args: Any, **kwargs: Any) -> None:
            update(*map(self._tensor, args), **{name: self._tensor(value) for name, value in kwargs.items()})

        return super()._wrap_update(with_arrays)

    def _tensor(self, value: Any) -> Any:
        if not isinstance(value, np.ndarray):
            return value
        # A copy in C order and the machine's byte order: torch takes no other, and states may keep it.
        return torch.from_numpy(np.array(value, dtype=value.dtype.newbyteorder("="), order="C")).to(self.device)

"""The seed of a training or a datamodule."""

from __future__ import annotations

import os

from consistency_tta.runtime.errors import ConfigurationError


def seed_or_default(seed: int | None) -> int:
    """A seed; if it is None that of ``seed_everything``, which Lightning leaves to the processes that it starts, or 0.

    Raises:
        ConfigurationError: if it is below 0 or above 63 bits, which generators of numpy or torch refuse, or no number.
    """
    given = os.environ.get("PL_GLOBAL_SEED", "0") if seed is None else str(seed)
    try:
        number = int(given)
    except ValueError:
        number = -1
    if not 0 <= number < 2**63:
        raise ConfigurationError(
            f"expected a seed of 0 to 2^63 - 1, got {given:.40}: correct --seed_everything, or the model's or data's"
        )
    return number

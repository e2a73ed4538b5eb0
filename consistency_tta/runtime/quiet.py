"""Keeps libraries from writing to the screen what no user needs."""

from __future__ import annotations

import logging
import sys

#: Begins Lightning's advertisements, which it logs at each start.
ADVERTISEMENT = "💡 Tip"
#: Begin the lines in which Lightning lists the kinds of device at each start.
DEVICE_LINES = ("GPU available: ", "TPU available: ")
#: The logger of everything that Lightning writes once for all processes.
LIGHTNING_LOGGER = "lightning.pytorch.utilities.rank_zero"


def hide_loading_bars() -> None:
    """Switch off the bars of diffusers and transformers, which last fractions of a second; what is imported of them."""
    if "diffusers" in sys.modules:
        from diffusers.utils import logging as diffusers_logging

        diffusers_logging.disable_progress_bar()
    if "transformers" in sys.modules:
        from transformers.utils import logging as transformers_logging

        transformers_logging.disable_progress_bar()


def hide_advertisements() -> None:
    """Drop Lightning's advertisements, and its list of devices; that an accelerator is not used is still a warning."""
    logger = logging.getLogger(LIGHTNING_LOGGER)
    if not any(isinstance(known, _WithoutAdvertisements) for known in logger.filters):
        logger.addFilter(_WithoutAdvertisements())


def hide_empty_warnings() -> None:
    """Drop diffusers' warning, at each ``.to(dtype)``, of modules that must stay in float32 where there are none."""
    logger = logging.getLogger("diffusers.models.modeling_utils")
    if _names_modules not in logger.filters:
        logger.addFilter(_names_modules)


def _names_modules(record: logging.LogRecord) -> bool:
    return "should be kept in float32: []" not in record.getMessage()


class _WithoutAdvertisements(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        return not record.getMessage().startswith((ADVERTISEMENT, *DEVICE_LINES))

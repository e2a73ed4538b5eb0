"""Lightning's advertisements and its list of devices are dropped, everything else is shown."""

from __future__ import annotations

import logging

import pytest
from lightning.pytorch import Trainer

from consistency_tta.runtime.quiet import LIGHTNING_LOGGER, hide_advertisements


@pytest.fixture(autouse=True)
def _filters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging.getLogger(LIGHTNING_LOGGER), "filters", [])


def test_lightnings_advertisements_are_not_shown(caplog: pytest.LogCaptureFixture) -> None:
    """Compared with a trainer that shows them, so that a new wording fails here."""
    logger = logging.getLogger(LIGHTNING_LOGGER)
    shown = []
    for quiet in (False, True):
        if quiet:
            hide_advertisements()
            hide_advertisements()
        with caplog.at_level(logging.INFO, LIGHTNING_LOGGER):
            caplog.clear()
            Trainer(accelerator="cpu", logger=False)
            logger.info("something else")
            logger.warning("GPU available but not used.")
        shown.append([record.getMessage() for record in caplog.records])
    for unwanted in ("litlogger", "GPU available: False", "TPU available: "):
        assert any(unwanted in message for message in shown[0])
        assert not any(unwanted in message for message in shown[1])
    assert {"something else", "GPU available but not used."} <= set(shown[1])
    assert len(logger.filters) == 1

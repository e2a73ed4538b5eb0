"""Lightning's advertisements and its list of devices are dropped, everything else is shown."""

from __future__ import annotations

import logging
import sys

import diffusers.utils.logging
import pytest
import transformers.utils.logging
from lightning.pytorch import Trainer

from consistency_tta.runtime.quiet import (
    LIGHTNING_LOGGER,
    hide_advertisements,
    hide_empty_warnings,
    hide_loading_bars,
)


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


@pytest.mark.parametrize("imported", [("diffusers",), ("transformers",), ("diffusers", "transformers"), ()])
def test_bars_of_what_is_imported_are_hidden(imported: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    hidden: list[str] = []
    for name, library in (("diffusers", diffusers.utils.logging), ("transformers", transformers.utils.logging)):
        monkeypatch.setattr(library, "disable_progress_bar", lambda name=name: hidden.append(name))
        if name not in imported:
            monkeypatch.delitem(sys.modules, name)
    hide_loading_bars()
    assert hidden == list(imported)


def test_warnings_of_no_modules_are_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    logger = logging.getLogger("diffusers.models.modeling_utils")
    monkeypatch.setattr(logger, "filters", [])
    hide_empty_warnings()
    hide_empty_warnings()
    messages = [f"modules that should be kept in float32: {modules}" for modules in ("[]", "['wo']")]
    assert [bool(logger.filter(logging.makeLogRecord({"msg": message}))) for message in messages] == [False, True]
    assert len(logger.filters) == 1

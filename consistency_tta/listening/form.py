"""The page that raters see: one file with all sounds inside."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from consistency_tta.listening.key import Scale
from consistency_tta.reporting.page import render_page

TEMPLATE = Path(__file__).with_name("form.html")


def form(title: str, test: str, scales: Sequence[Scale], trials: Sequence[dict[str, Any]]) -> str:
    """The page as HTML.

    Args:
        title: of the page.
        test: identifier of the test.
        scales: the questions about each sound.
        trials: what one screen shows: ``caption``, ``items`` (each with an ``id`` and the address of its ``sound``),
            perhaps the address of a ``reference``.
    """
    data = {"test": test, "scales": [asdict(scale) for scale in scales], "trials": list(trials)}
    return render_page(TEMPLATE, title=title, data=data)

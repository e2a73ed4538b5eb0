"""The page that raters see: one file with all sounds inside, ``form.css`` and ``form.js``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from html import escape
from pathlib import Path
from typing import Any

from consistency_tta.listening.key import Scale
from consistency_tta.reporting.page import page


def form(title: str, test: str, scales: Sequence[Scale], trials: Sequence[dict[str, Any]]) -> str:
    """The page (HTML).

    Args:
        title: plain text.
        test: the page's own name.
        scales: the questions about each sound.
        trials: what is on the screen at a time: ``caption``, ``items`` (each an ``id`` and the address of its
            ``sound``), and the address of a ``reference`` if there is one.
    """
    here = Path(__file__).parent
    data = {"test": test, "scales": [asdict(scale) for scale in scales], "trials": list(trials)}
    # Inside a script element "</" would end it, and "<!--" begin a comment.
    content = json.dumps(data, ensure_ascii=False).replace("<", "\\u003c")
    body = (
        f'<main><header><p class="eyebrow">{escape(title)}</p></header><div id="screen"></div>'
        '<p id="status" role="status" aria-live="polite"></p>'
        "<noscript><p>This listening test needs JavaScript.</p></noscript></main>\n"
        f'<script type="application/json" id="data">{content}</script>'
    )
    style, script = ((here / name).read_text(encoding="utf-8") for name in ("form.css", "form.js"))
    return page(title, body, style, script)

"""Curves by matplotlib (extra ``report``), in the colours of ``page.css``."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from consistency_tta.runtime.errors import MissingExtraError

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def require_matplotlib() -> Any:
    """The module.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        import matplotlib
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            "Curves are drawn by matplotlib, which is not installed: pip install 'consistency-tta[report]', or "
            "pip install matplotlib"
        ) from error
    return matplotlib


@contextmanager
def new_figure(width: float, height: float) -> Iterator[Figure]:
    """An empty figure; what is drawn in the context has the colours and sizes of a page's text.

    The figure needs no display and belongs to no pyplot state.

    Args:
        width, height: in inches, of which a page shows 72 units each.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    matplotlib = require_matplotlib()
    from matplotlib.figure import Figure

    with matplotlib.rc_context(_style()):
        yield Figure(figsize=(width, height), layout="constrained")


def svg(figure: Figure, description: str = "") -> str:
    """A figure as an SVG file, the same text for the same figure.

    Args:
        figure: of :func:`new_figure`.
        description: text for the file's metadata.
    """
    file = io.StringIO()
    about = {"Date": None, "Creator": None, "Description": description or None}
    with require_matplotlib().rc_context(_style() | {"svg.fonttype": "none", "svg.hashsalt": "consistency-tta"}):
        figure.savefig(file, format="svg", metadata=about)
    return file.getvalue()


def png(figure: Figure) -> bytes:
    """A figure of :func:`new_figure` as a PNG file of 100 pixels per inch."""
    file = io.BytesIO()
    with require_matplotlib().rc_context(_style()):
        figure.savefig(file, format="png", dpi=100)
    return file.getvalue()


def inline_svg(text: str) -> Markup:
    """The element of an SVG file of :func:`svg`, whose colours follow those of the page, light or dark."""
    element = text[text.index("<svg") :]
    element = re.sub(r"<metadata>.*?</metadata>|<style .*?</style>", "", element, flags=re.DOTALL)
    for name, colour in page_colours().items():
        element = element.replace(colour, f"var(--{name})")
    return Markup(element)


@cache
def page_colours() -> dict[str, str]:
    """The colours of a light page as ``#rrggbb``, by their names in ``page.css``."""
    css = (Path(__file__).parent / "page.css").read_text(encoding="utf-8")
    return dict(re.findall(r"--(\w+): (#[0-9a-f]{6})", css.partition("}")[0]))


def _style() -> dict[str, Any]:
    """Settings of matplotlib."""
    colours = page_colours()
    return {
        "figure.facecolor": colours["card"],
        "axes.facecolor": "none",
        "axes.edgecolor": colours["muted"],
        "axes.labelcolor": colours["muted"],
        "axes.titlecolor": colours["ink"],
        "axes.titlelocation": "left",
        "axes.titlesize": 11,
        "axes.titleweight": "bold",
        "axes.grid": True,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "font.size": 9,
        "grid.color": colours["line"],
        "legend.frameon": False,
        "legend.labelcolor": colours["ink"],
        "text.color": colours["ink"],
        "xtick.color": colours["muted"],
        "ytick.color": colours["muted"],
    }

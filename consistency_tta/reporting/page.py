"""Pages from Jinja2 templates."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined


def render_page(template: Path, **values: Any) -> str:
    """Fill a template that extends ``base.html``.

    Every value is escaped, unless it is a :class:`markupsafe.Markup`. A name that has no value is an error.

    Args:
        template: HTML file. It may include files of its own folder, and ``page.css``, ``page.js`` and ``macros.html``
            of this one.
        values: by the names that the template has for them.

    Returns:
        The HTML text of the page, which refers to no other file.

    Raises:
        jinja2.TemplateError: the template is wrong or lacks a value.
    """
    environment = Environment(
        loader=FileSystemLoader([template.parent, Path(__file__).parent]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template(template.name).render(values)

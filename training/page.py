"""Renders the project's pages: one style for all of them, each a file that needs nothing beside it.

Knows nothing about what a page shows.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jinja2


def render(template: Path, **values: Any) -> str:
    """Fills a template.

    Args:
        template: HTML; `{% include "page.css" %}` brings the common style.
        values: what it names. HTML in them is escaped unless it is marked as safe.

    Raises:
        jinja2.UndefinedError: the template names something else.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader([template.parent, Path(__file__).parent]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
    )
    return environment.get_template(template.name).render(**values)

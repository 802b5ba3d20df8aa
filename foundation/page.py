"""Renders the project's pages: one style for all of them, each a file that needs nothing beside it.

Knows nothing about what a page shows.
"""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jinja2

if TYPE_CHECKING:
    import matplotlib.figure


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


def svg(figure: matplotlib.figure.Figure) -> str:
    """A plot as an element that stands in the page; the same figure gives the same text."""
    import matplotlib  # here: not every page has plots

    target = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": "page", "font.size": 9}):
        figure.savefig(target, format="svg", metadata={"Date": None}, dpi=150)
    text = target.getvalue()
    return text[text.index("<svg") :]


def thumbnail(path: Path, pixels: int) -> str:
    """A small PNG as a data address, so that the page needs no other file.

    Args:
        path: of a picture that Pillow reads.
        pixels: at most so many on each side.
    """
    import PIL.Image

    with PIL.Image.open(path) as image:
        small = image.convert("RGB")
    small.thumbnail((pixels, pixels))
    target = io.BytesIO()
    small.save(target, "PNG")
    return "data:image/png;base64," + base64.b64encode(target.getvalue()).decode()

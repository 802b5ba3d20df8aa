"""Renders the project's HTML pages: one base and one style, each a file that needs no other."""

from __future__ import annotations

import base64
import dataclasses
import datetime
import io
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jinja2

from foundation import files, palette
from foundation.figures import git_commit, machine

if TYPE_CHECKING:
    import matplotlib.figure


@dataclasses.dataclass(frozen=True, kw_only=True)
class Origin:
    """Where the figures of a page come from; its last lines."""

    command: str | None = None
    """As it was typed."""
    commit: str | None
    machine: Mapping[str, Any] | None
    """As figures.machine() gives it; None where it was not recorded."""
    time: str
    """ISO 8601"""


def origin(command: str | None = None) -> Origin:
    """This working tree, this machine, now."""
    now = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
    return Origin(command=command, commit=git_commit(), machine=machine(), time=now)


def write(path: Path, template: Path, *, origin: Origin | None = None, **values: Any) -> None:
    """Renders a page into a file; a reader never sees half of it. Arguments as of `render`.

    Raises:
        OSError: the file cannot be written.
    """
    files.write(path, render(template, origin=origin, **values))


def render(template: Path, *, origin: Origin | None = None, **values: Any) -> str:
    """Fills a template.

    Args:
        template: HTML that extends base.html with the blocks title, body and, if need be, style.
        origin: shown at the end of the page.
        values: what the template names. HTML in them is escaped unless it is marked as safe.

    Raises:
        jinja2.UndefinedError: the template names something else.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader([template.parent, Path(__file__).parent]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.globals["palette"] = palette
    return environment.get_template(template.name).render(origin=origin, **values)


def svg(figure: matplotlib.figure.Figure) -> str:
    """Turns a plot into an element of the page; the same figure gives the same text."""
    import matplotlib  # here: not every page has plots

    target = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": "page", "font.size": 9}):
        figure.savefig(target, format="svg", metadata={"Date": None}, dpi=150)
    text = target.getvalue()
    return text[text.index("<svg") :]


def thumbnail(path: Path, pixels: int) -> str:
    """Reads a picture as a small PNG in a data address.

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

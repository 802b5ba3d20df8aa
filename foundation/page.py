"""Renders the project's HTML pages: one base and one style, each a file that needs no other."""

from __future__ import annotations

import base64
import dataclasses
import datetime
import io
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec

import jinja2
import markupsafe

from foundation import files, palette
from foundation.command_line import one_line
from foundation.figures import git_commit, machine

if TYPE_CHECKING:
    import matplotlib.figure
    import numpy as np
    from numpy.typing import NDArray

logger = logging.getLogger(__name__)

Arguments = ParamSpec("Arguments")

INSTEAD = Path(__file__).with_name("instead.html")
"""The page that stands where another one could not be made."""


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

    A page is the last thing that long work leaves, and must not end it: where it cannot be made,
    the log warns, and the page says why in its place.

    Raises:
        OSError: the file cannot be written.
    """
    try:
        text = render(template, origin=origin, **values)
    except Exception as error:
        write_instead(path, error, origin=origin)
    else:
        _write(path, text)


def write_instead(path: Path, error: Exception, *, origin: Origin | None = None) -> None:
    """Writes why a page cannot be made in its place, and warns.

    Args:
        path: of the page.
        error: what was in the way.
        origin: shown at the end of the page.

    Raises:
        OSError: the file cannot be written.
    """
    reason = why(error)
    logger.warning("the page %s cannot be made, and says why: %s", path, reason)
    _write(path, render(INSTEAD, origin=origin, name=path.name, reason=reason))


def _write(path: Path, text: str) -> None:
    files.write(path, text.encode(errors="backslashreplace"))


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


def drawn(
    draw: Callable[Arguments, matplotlib.figure.Figure],
    *args: Arguments.args,
    **kwargs: Arguments.kwargs,
) -> str:
    """Draws a plot for a page, or says there in words why it cannot be drawn.

    Args:
        draw: makes the plot.
        args: for it.
        kwargs: for it.

    Returns:
        an element of the page.
    """
    try:
        return svg(draw(*args, **kwargs))
    except Exception as error:
        reason = why(error)
        logger.warning("a plot cannot be drawn, and its page says why: %s", reason)
        return markupsafe.Markup('<p class="note">No plot: {}</p>').format(reason)


def pictured(
    alt: str,
    read: Callable[Arguments, NDArray[np.uint8]],
    *args: Arguments.args,
    **kwargs: Arguments.kwargs,
) -> str:
    """Shows a picture on a page, or says there in words why it cannot be shown.

    Args:
        alt: what the picture is, for those who do not see it.
        read: gives the pixels, uint8 [h, w, 3], RGB.
        args: for it.
        kwargs: for it.

    Returns:
        an element of the page.
    """
    try:
        address = _png(read(*args, **kwargs))
    except Exception as error:
        reason = why(error)
        logger.warning("a picture cannot be shown, and the page says why: %s: %s", alt, reason)
        return markupsafe.Markup('<p class="note">No picture: {}</p>').format(reason)
    return markupsafe.Markup('<img src="{}" alt="{}">').format(address, alt)


def why(error: Exception) -> str:
    """An error of any kind in one line, for the place where a part of a page is missing."""
    return one_line(f"{type(error).__name__}: {error}")


def _png(pixels: NDArray[np.uint8]) -> str:
    """The pixels as a data address."""
    import PIL.Image

    target = io.BytesIO()
    PIL.Image.fromarray(pixels).save(target, "PNG")
    return "data:image/png;base64," + base64.b64encode(target.getvalue()).decode()

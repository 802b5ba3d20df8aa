"""Renders the project's HTML pages: one base and one style, each a file that needs no other."""

from __future__ import annotations

import base64
import dataclasses
import datetime
import io
import json
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec

import jinja2
import markupsafe

from foundation import files
from foundation.command_line import one_line
from foundation.figures import BUILD_DIR, git_commit, machine
from foundation.pages import index, numbers, palette

if TYPE_CHECKING:
    import matplotlib.figure
    import numpy as np
    from numpy.typing import NDArray

logger = logging.getLogger(__name__)

Arguments = ParamSpec("Arguments")

FILTERS = {
    "amount": numbers.amount,
    "chance": numbers.chance,
    "fixed": numbers.fixed,
    "moment": numbers.moment,
    "number": numbers.number,
    "part": numbers.part,
    "percent": numbers.percent,
    "shown": numbers.shown,
    "signed": numbers.signed,
}
"""How a template says a number; one without a filter goes through `numbers.shown`."""

INDEX = Path(__file__).with_name("index.html")
"""The list of pages."""

INSTEAD = Path(__file__).with_name("instead.html")
"""The page that stands where another one could not be made."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Origin:
    """Where the figures of a page come from; its first lines."""

    command: str | None = None
    """As it was typed; None where it was not recorded."""
    commit: str | None
    machine: Mapping[str, Any] | None
    """As figures.machine() gives it; None where it was not recorded."""
    started: str | None = None
    """ISO 8601; None where it was not recorded."""
    finished: str | None = None
    """ISO 8601; None where only the start counts."""

    def as_json(self) -> str:
        """What the list of pages reads."""
        told = {"command": self.command, "started": self.started, "finished": self.finished}
        return json.dumps(told)


def origin(command: str | None = None, started: datetime.datetime | None = None) -> Origin:
    """This working tree, this machine; finished now.

    Args:
        command: as it was typed.
        started: when its work began.
    """
    now = datetime.datetime.now(datetime.timezone.utc)
    return Origin(
        command=command,
        commit=git_commit(),
        machine=machine(),
        started=None if started is None else started.isoformat(timespec="seconds"),
        finished=now.isoformat(timespec="seconds"),
    )


def write(path: Path, template: Path, *, origin: Origin | None = None, **values: Any) -> None:
    """Renders a page into a file; a reader never sees half of it. Arguments as of `render`.

    A page is the last thing that long work leaves, and must not end it: where it cannot be made,
    the log warns, and the page says why in its place. A page in build/ is listed there.

    Raises:
        OSError: the file cannot be written.
    """
    try:
        text = render(template, origin=origin, **values)
    except Exception as error:
        write_instead(path, error, origin=origin)
    else:
        _write(path, text)
    if path.parent.resolve() == BUILD_DIR.resolve():
        list_page(path)


def list_page(path: Path) -> None:
    """Lists a page in build/index.html, beside all others that are there still.

    A page outside of the current folder is not listed: a link to it would lead nowhere elsewhere.
    Where the list cannot be written, the log warns: the page itself counts more.
    """
    if ".." in path.parts or not path.absolute().is_relative_to(Path.cwd()):
        return
    try:
        BUILD_DIR.mkdir(parents=True, exist_ok=True)
        with index.sole_writer(BUILD_DIR):
            text = render(INDEX, entries=index.entries(BUILD_DIR, path))
            _write(BUILD_DIR / index.NAME, text)
    except Exception as error:
        logger.warning("%s cannot be listed in %s: %s", path, BUILD_DIR / index.NAME, why(error))


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
        loader=jinja2.FileSystemLoader(
            [template.parent, template.parent.parent, Path(__file__).parent]
        ),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=numbers.shown,
    )
    environment.globals["palette"] = palette
    environment.filters.update(FILTERS)
    return environment.get_template(template.name).render(origin=origin, **values)


def drawn(
    alt: str,
    draw: Callable[Arguments, matplotlib.figure.Figure],
    *args: Arguments.args,
    **kwargs: Arguments.kwargs,
) -> str:
    """Draws a plot for a page, wide and for a phone, or says in words why it cannot be drawn.

    Args:
        alt: what it shows, for those who do not see it; the values' range is added.
        draw: makes the plot; called twice, see `plots.panels`.
        args: for it.
        kwargs: for it.

    Returns:
        an element of the page.
    """
    from foundation.pages import plots, svg  # here: not every page has plots

    try:
        wide = svg.element(draw(*args, **kwargs), alt=alt, kind="wide")
        with plots.narrow():
            narrow = svg.element(draw(*args, **kwargs), alt=alt, kind="narrow")
    except Exception as error:
        reason = why(error)
        logger.warning("a plot cannot be drawn, and its page says why: %s", reason)
        return markupsafe.Markup('<p class="note">No plot: {}</p>').format(reason)
    return markupsafe.Markup(f'<figure class="plot">\n{wide}{narrow}</figure>')


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

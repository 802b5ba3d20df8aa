"""A plot as an element of a page: light or dark as the page is, with the values for its script.

The page's script (page.js) shows the values under the pointer; `description` puts the most
important of them into words for those who do not see the plot.
"""

from __future__ import annotations

import html
import io
import json
import math
import re
from collections.abc import Sequence
from typing import Any, Final

import matplotlib
import matplotlib.colors
import numpy as np
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure

from foundation.pages import numbers, palette, plots

MOST_POINTS: Final = 400
"""Of a series, for the script."""
MOST_DESCRIBED: Final = 8
"""Series in a description."""


def element(figure: Figure, *, alt: str, kind: str = "") -> str:
    """Draws a plot; the same figure gives the same text.

    Args:
        figure: as `plots.panels` makes it.
        alt: what it shows, for those who do not see it.
        kind: the element's class.
    """
    target = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": f"{kind} {alt}", "svg.fonttype": "none"}):
        figure.savefig(target, format="svg", metadata={"Date": None}, dpi=150)
    shown = values(figure)
    head = (
        f'<svg class="{html.escape(kind)}" role="img" '
        f'aria-label="{html.escape(description(alt, shown))}" '
        f'data-values="{html.escape(json.dumps(shown, ensure_ascii=False, allow_nan=False))}"'
    )
    return _lean(target.getvalue()).replace("<svg", head, 1)


def _lean(text: str) -> str:
    """The drawing alone, in the page's colours and fonts, with as many digits as can be seen."""
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>\s*", "", text, flags=re.DOTALL)
    text = re.sub(r"<!--.*?-->\s*", "", text, flags=re.DOTALL)
    text = re.sub(r' xmlns(:\w+)?="[^"]*"', "", text)
    text = re.sub(r'<g id="[^"]*">', "<g>", text)
    text = re.sub(r'(<svg[^>]*?) (?:width|height)="[^"]*"', r"\1", text, count=1)
    text = re.sub(r'(<svg[^>]*?) (?:width|height)="[^"]*"', r"\1", text, count=1)
    text = re.sub(r"font: ((?:\w+ )*?)([\d.]+)px [^;\"]*", _font, text)
    text = re.sub(r' (d|x|y|width|height)="([^"]*)"', _rounded, text)
    return re.sub(r"(?<=: )#[0-9a-f]{6}\b", lambda it: palette.VARIABLES.get(it[0], it[0]), text)


def _font(found: re.Match[str]) -> str:
    weight = "; font-weight: 700" if re.search("bold|[6-9]00", found[1]) else ""
    return f"font-size: {found[2]}px{weight}"


def _rounded(found: re.Match[str]) -> str:
    shorter = re.sub(r"-?\d+\.\d{3,}", lambda it: f"{float(it[0]):.2f}", found[2])
    return f' {found[1]}="{shorter}"'


def values(figure: Figure) -> list[dict[str, Any]]:
    """What stands in the axes of a drawn figure, for the page's script.

    Returns:
        for each of the axes that have values: their `box` as shares of the figure (left, top,
        width, height), both axes, and the series: name, colour, x and y. `across` says that all
        series have the same x.
    """
    found = []
    for axes in figure.axes:
        series = [*_lines(axes), *_bars(axes), *_dots(axes)]
        if not series:
            continue
        box = axes.get_position()
        found.append(
            {
                "title": _text(axes.get_title(loc="left") or _legend_title(axes)),
                "box": [_short(one) for one in (box.x0, 1 - box.y1, box.width, box.height)],
                "x": _axis(axes, "x"),
                "y": _axis(axes, "y"),
                "across": all(one["x"] == series[0]["x"] for one in series),
                "series": series,
            }
        )
    return found


def description(alt: str, shown: Sequence[dict[str, Any]]) -> str:
    """The alternative text: what a plot shows, and from where to where each series goes."""
    told = []
    for axes in shown:
        for one in axes["series"]:
            # Of dots and bars that stand beside names the numbers are on the other axis.
            way = "x" if axes["y"]["names"] else "y"
            known = [value for value in one[way] if value is not None]
            if known:
                least, most = numbers.number(min(known)), numbers.number(max(known))
                span = least if least == most else f"{least} to {most}"
                title = one["name"] or axes["title"] or axes[way]["label"]
                told.append(f"{title}: {span}" if title else span)
    more = len(told) - MOST_DESCRIBED
    told[MOST_DESCRIBED:] = [f"and {more} more"] if more > 0 else []
    return f"{alt}. {'; '.join(told)}" if told else alt


def _lines(axes: Any) -> list[dict[str, Any]]:
    return [
        _series(line.get_label(), line.get_color(), line.get_xdata(), line.get_ydata())
        for line in axes.lines
        # Lines across the whole axes mark something; they have no values.
        if line.get_transform() == axes.transData and not _is_reference(line)
    ]


def _is_reference(line: Any) -> bool:
    return len(line.get_xdata()) == 2 and line.get_linestyle() == ":"


def _bars(axes: Any) -> list[dict[str, Any]]:
    found = []
    for bars in axes.containers:
        patches = getattr(bars, "patches", [])
        if not patches:
            continue
        middles = [one.get_x() + one.get_width() / 2 for one in patches]
        ends = [one.get_height() for one in patches]
        if getattr(bars, "orientation", "vertical") == "horizontal":
            middles = [one.get_width() for one in patches]
            ends = [one.get_y() + one.get_height() / 2 for one in patches]
        label = bars.get_label() or ""
        if label.startswith("_"):
            label = patches[0].get_label()
        found.append(_series(label, patches[0].get_facecolor(), middles, ends))
    return found


def _dots(axes: Any) -> list[dict[str, Any]]:
    return [
        _series(dots.get_label(), dots.get_facecolor()[0], *np.asarray(dots.get_offsets()).T)
        for dots in axes.collections
        if isinstance(dots, PathCollection) and np.size(dots.get_offsets())
    ]


def _series(label: Any, color: Any, x: Any, y: Any) -> dict[str, Any]:
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    if len(x) > MOST_POINTS:
        chosen = np.linspace(0, len(x) - 1, MOST_POINTS).astype(int)
        x, y = x[chosen], y[chosen]
    light = matplotlib.colors.to_hex(color)
    return {
        "name": "" if str(label).startswith("_") else _text(str(label)),
        "color": palette.VARIABLES.get(light, light),
        "x": [_short(one) for one in x],
        "y": [_short(one) for one in y],
    }


def _axis(axes: Any, which: str) -> dict[str, Any]:
    axis = getattr(axes, f"{which}axis")
    shared = getattr(axes, f"get_shared_{which}_axes")().get_siblings(axes)
    labels = (getattr(one, f"get_{which}label")() for one in (axes, *shared))
    formatter = axis.get_major_formatter()
    names = {}
    if not isinstance(formatter, plots.LinearNumbers) and axis.get_scale() != "log":
        texts = (_text(one.get_text()) for one in axis.get_ticklabels())
        names = dict(zip(map(_short, axis.get_majorticklocs()), texts))
    low, high = axis.get_view_interval()
    return {
        "label": _text(next(filter(None, labels), "")),
        "low": _short(low, 8),
        "high": _short(high, 8),
        "log": axis.get_scale() == "log",
        "names": {f"{at:g}": text for at, text in names.items() if at is not None},
    }


def _legend_title(axes: Any) -> str:
    legend = axes.get_legend()
    text = legend.get_title().get_text() if legend is not None else ""
    return "" if text == "None" else text


def _text(shown: str) -> str:
    """As it is read: without what `plots.name` does for matplotlib."""
    return shown.replace(r"\$", "$").removeprefix("\N{WORD JOINER}").replace("\n", " ")


def _short(value: float, digits: int = 5) -> float | None:
    return float(f"{value:.{digits}g}") if math.isfinite(value) else None

"""Draws the servers' view of a load: where each second's time went, and the sizes of batches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import matplotlib.figure
import numpy as np

from foundation.pages import palette, plots
from loadtest.server.split import Part
from loadtest.server.view import ServerView, Window

COLORS: Final = {
    "client": palette.PURPLE,
    "network": palette.GREY,
    "handler": palette.GREEN,
    "queue": palette.ORANGE,
    "batch": palette.YELLOW,
    "batch and model": palette.BLUE,
    "model": palette.BLUE,
}
"""In the order a request meets the parts."""

TOO_COARSE: Final = 0.2
"""A second is left out where the six digits of a sum leave more than this share of it open."""


def figure(view: ServerView) -> matplotlib.figure.Figure:
    """Stacked shares of the mean latency over time above; batch sizes below, where there are any.

    Args:
        view: with or without seconds; an empty one gives empty axes.
    """
    sizes = view.whole.measured.batch_sizes if view.whole is not None else ()
    drawn, axes = plots.panels(5.8 if sizes else 3.0, rows=2 if sizes else 1)
    _shares(axes[0], view.seconds)
    if sizes:
        _sizes(axes[1], sizes)
    for one in axes:
        plots.style(one)
    return drawn


def _shares(axes: Any, seconds: Sequence[Window]) -> None:
    shown = [(window, window.split.parts) for window in seconds if window.split is not None]
    shown = [(window, parts) for window, parts in shown if not _coarse(parts)]
    begin_s = seconds[0].start_s if seconds else 0.0
    left = [window.start_s - begin_s for window, _ in shown]
    width = [window.end_s - window.start_s for window, _ in shown]
    bottom = np.zeros(len(shown))
    for name, color in COLORS.items():
        # A part below 0 is an artefact of two clocks; a share below 0 cannot be stacked.
        heights = np.array(
            [100 * sum(max(p.share, 0.0) for p in parts if p.name == name) for _, parts in shown]
        )
        if heights.any():
            axes.bar(left, heights, width, bottom, align="edge", color=color, label=name)
            bottom = bottom + heights
    whose = shown[0][0].split.of if shown and shown[0][0].split else "server"
    axes.set(
        title=f"Where the {whose}'s mean latency goes, by second",
        xlabel="seconds since the first page",
        ylabel="%",
    )
    axes.set_ylim(0, 100)


def _coarse(parts: Sequence[Part]) -> bool:
    whole = sum(part.mean_ms for part in parts)
    return sum(part.error_ms for part in parts) > TOO_COARSE * whole


def _sizes(axes: Any, sizes: Sequence[tuple[int, int]]) -> None:
    rows = [str(size) for size, _ in sizes]
    axes.bar(rows, [count for _, count in sizes], color=COLORS["model"])
    axes.set(title="Batch sizes", xlabel="rows a batch, padding included", ylabel="batches")
    if len(rows) > 30:  # one name a bar would be unreadable
        axes.set_xticks(range(0, len(rows), len(rows) // 15))

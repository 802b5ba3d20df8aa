"""Where long work is: one line that renews itself on a terminal, else a plain line now and then.

    for case in progress.tracked(cases, "conformance", unit="cases"):
        ask(case)

    with Progress("gate", total=13, unit="steps") as shown:
        shown.move(3, words="version 2 answers the held-out images")

    with progress.waiting("importing TensorFlow"):
        import tensorflow

On stderr, as the log is; log lines that come meanwhile stand above it.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from types import TracebackType
from typing import Any, Final, TypeVar

from foundation import terminal
from foundation.command_line import one_line

LINE_EVERY_S: Final = 10.0
"""Between two plain lines; work that ends before the first one says nothing."""

NARROW: Final = 60
"""Columns of a terminal that has no room for words, a bar, counts and times."""

SHORT_S: Final = 1.0
"""Waiting that is over within this is not shown."""

Item = TypeVar("Item")


class Progress:
    """Shows how far some work is, from its begin to its end; a context manager.

    Args:
        words: what is done, such as "parity".
        total: of the units; None: not known.
        unit: what is counted, in the plural.
        lines: whether to print plain lines where stderr is no terminal; not for work that logs
            its steps anyway.
        clock: in seconds.
    """

    def __init__(
        self,
        words: str,
        *,
        total: int | None = None,
        unit: str = "",
        lines: bool = True,
        clock: Callable[[], float] = time.monotonic,
    ):
        self._words, self._step, self._note, self._unit = words, "", "", unit
        self._done, self._total = 0, total
        self._lines, self._clock = lines, clock
        self._said_s = clock()
        self._file = sys.stderr
        self._bar: Any = None
        if terminal.is_terminal(self._file):
            import tqdm  # not before there is somebody to see it

            self._bar = tqdm.tqdm(
                total=total,
                desc=one_line(words),
                unit=f" {unit}" if unit else "it",
                bar_format=self._form() if total else "{desc}: {n_fmt}{unit}" if unit else "{desc}",
                leave=False,
                dynamic_ncols=True,
                file=self._file,
            )

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def on_terminal(self) -> bool:
        """Whether one line renews itself; else there are plain lines, or none."""
        return self._bar is not None

    def add(self, count: int = 1) -> None:
        """So many more are done."""
        self._done += count
        if self._bar is not None:
            self._bar.update(count)
        else:
            self._line_if_due()

    def move(self, done: int, *, total: int | None, words: str) -> None:
        """So many of one step are done by now.

        Args:
            done: of the units.
            total: of the units in this step; None: not known.
            words: what the step is, beside the words for all of it.
        """
        new = total != self._total or done < self._done
        self._done, self._total, self._step = done, total, words
        if self._bar is None:
            self._line_if_due()
            return
        if new:
            self._bar.reset()  # each step has a time of its own
        self._bar.total, self._bar.n = total, done
        # without a count there is nothing to show but the words
        self._bar.bar_format = self._form() if total else "{desc}"
        named = one_line(f"{self._words}: {words}")
        self._bar.set_description_str(f"{named}: " if total else named, refresh=True)

    def note(self, text: str) -> None:
        """Says this beside the counts, from the next time on that they are shown."""
        self._note = text
        if self._bar is not None:
            self._bar.set_postfix_str(one_line(text), refresh=False)

    def show(self, texts: Sequence[str]) -> None:
        """Shows a text of one's own in place of bar and counts.

        Args:
            texts: the same at different lengths, the longest first: on a terminal the first that
                fits is shown, a plain line is always the first.
        """
        if self._bar is None:
            self._line_if_due(texts[0])
            return
        room = terminal.columns(self._file) - 1
        fits = next((text for text in texts if len(text) <= room), texts[-1])
        self._bar.bar_format = "{desc}"
        self._bar.set_description_str(one_line(fits)[:room], refresh=True)

    def due(self) -> bool:
        """Whether `show` would show something by now: computing it may cost something."""
        return self._bar is not None or self._clock() - self._said_s >= LINE_EVERY_S

    def close(self) -> None:
        """Takes the line away from the terminal."""
        if self._bar is not None:
            self._bar.close()

    def _form(self) -> str | None:
        """On a narrow terminal the count comes first, for the end is cut off; None: tqdm's own."""
        narrow = terminal.columns(self._file) < NARROW
        return "{n_fmt}/{total_fmt} {desc}" if narrow else None

    def _line_if_due(self, text: str | None = None) -> None:
        if not self._lines or self._clock() - self._said_s < LINE_EVERY_S:
            return
        self._said_s = self._clock()
        if text is None:
            of = f" of {self._total:,}" if self._total is not None else ""
            count = f"{self._done:,}{of} {self._unit}".strip() if self._done or of else ""
            text = ": ".join(filter(None, (self._words, self._step, count, self._note)))
        print(one_line(text), file=self._file, flush=True)


def tracked(
    items: Iterable[Item],
    words: str,
    *,
    total: int | None = None,
    unit: str = "",
    lines: bool = True,
) -> Iterator[Item]:
    """The items, one after the other, while it is shown how many are done.

    Args:
        items: any.
        words: as for Progress, and so are unit and lines.
        total: how many they are, if they do not know it themselves.
        unit: what they are.
        lines: whether to print plain lines where stderr is no terminal.
    """
    if total is None and isinstance(items, Sized):
        total = len(items)
    with Progress(words, total=total, unit=unit, lines=lines) as shown:
        for item in items:
            yield item
            shown.add()


def say(text: str) -> None:
    """Prints a line on stderr that stays, above one that renews itself."""
    tqdm = sys.modules.get("tqdm")
    aside = tqdm.tqdm.external_write_mode(file=sys.stderr) if tqdm else contextlib.nullcontext()
    with aside:
        print(one_line(text), file=sys.stderr)


@contextlib.contextmanager
def waiting(words: str, file: int | None = None) -> Iterator[None]:
    """Says on a terminal what is waited for and since when, if it takes more than a second.

    Args:
        words: such as "importing TensorFlow".
        file: descriptor of the terminal; None: stderr's.
    """
    descriptor = 2 if file is None else file
    if not os.isatty(descriptor):
        yield
        return
    over = threading.Event()
    thread = threading.Thread(target=_tick, args=(words, descriptor, over), daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _tick(words: str, descriptor: int, over: threading.Event) -> None:
    begin, written = time.monotonic(), 0
    while not over.wait(SHORT_S):
        text = f"{words}: {time.monotonic() - begin:.0f} s"
        written = max(written, len(text))
        os.write(descriptor, f"\r{text}".encode())
    if written:
        os.write(descriptor, f"\r{' ' * written}\r".encode())

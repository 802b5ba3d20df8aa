"""The name that was probably meant: for everything that somebody types and may mistype."""

from __future__ import annotations

from collections.abc import Iterable


def did_you_mean(typed: str, known: Iterable[str]) -> str:
    """A question to put behind an error.

    Args:
        typed: what is not known.
        known: what is.

    Returns:
        " Did you mean --epochs?", or nothing where no name is near; capital letters do not count.
    """
    import difflib  # here: most commands are typed rightly

    names = {name.lower(): name for name in known}
    near = difflib.get_close_matches(typed.lower(), names, n=1)
    return f" Did you mean {names[near[0]]}?" if near else ""

"""Text that people type, and text that they read."""

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


def is_unicode(text: str) -> bool:
    """Whether a text can be written as UTF-8; names of files on a command line need not be."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def one_line(text: str) -> str:
    """The text with line ends, control characters and what is no Unicode written as escapes."""
    return "".join(
        one if one.isprintable() else one.encode("unicode_escape").decode() for one in text
    )


def lines(text: str) -> str:
    """The same text with all but its line ends as in `one_line`."""
    return "\n".join(map(one_line, text.split("\n")))

"""Whether what was received means what was expected.

White space, the order of maps, names of nodes in a graph and the form of a number (1, 1.0) are not
part of the meaning; order of lists, dtypes, shapes, codes and texts are.
"""

from __future__ import annotations

import json
import re
from typing import Any

from tests.conformance.case import ANYTHING, Answer, Each, Expected, Page, Refused, Statuses

_NODE = re.compile(r"\{\{(?:function_node|node) [^}]*\}\}|(?<=tensor )_arg_\w+")
"""What a runtime error says about where in the graph it happened."""


def holds(expected: Expected, received: Any) -> bool:
    """Whether an expectation holds for what `ask` received."""
    if isinstance(expected, Answer):
        return set(received) == {"answer"} and same(expected.message, received["answer"])
    if isinstance(expected, Refused):
        return received.get("code") in expected.codes and same(expected.text, received["text"])
    if isinstance(expected, Statuses):
        return received.get("http") in expected.allowed
    if isinstance(expected, Each):
        return all(holds(*pair) for pair in zip(expected.expected, received["each"], strict=True))
    return _page_holds(expected, received)


def code_holds(expected: Expected, received: Any) -> bool:
    """Whether at least the code (or the HTTP status) is the one expected."""
    if isinstance(expected, Answer):
        return set(received) == {"answer"}
    if isinstance(expected, Refused):
        return received.get("code") in expected.codes
    if isinstance(expected, Statuses):
        return received.get("http") in expected.allowed
    if isinstance(expected, Each):
        pairs = zip(expected.expected, received["each"], strict=True)
        return all(code_holds(*pair) for pair in pairs)
    return received.get("http") == expected.status


def same(expected: Any, received: Any) -> bool:
    """Whether two JSON values mean the same; `…` in an expected text stands for anything."""
    if isinstance(expected, dict):
        return (
            isinstance(received, dict)
            and set(expected) == set(received)
            and all(same(value, received[key]) for key, value in expected.items())
        )
    if isinstance(expected, (list, tuple)):
        return (
            isinstance(received, list)
            and len(expected) == len(received)
            and all(same(one, other) for one, other in zip(expected, received, strict=True))
        )
    if isinstance(expected, str):
        return isinstance(received, str) and same_text(expected, received)
    if isinstance(expected, bool) or isinstance(received, bool):
        return expected is received
    if isinstance(expected, (int, float)) and isinstance(received, (int, float)):
        return expected == received or (expected != expected and received != received)
    return bool(expected == received)


def same_text(expected: str, received: str) -> bool:
    """Whether two texts mean the same."""
    words = [re.escape(_plain(part)) for part in expected.split(ANYTHING)]
    return re.fullmatch(".*".join(words), _plain(received), re.DOTALL) is not None


def _plain(text: str) -> str:
    return re.sub(r"\s+", " ", _NODE.sub("NODE", text))


def _page_holds(expected: Page, received: Any) -> bool:
    if received.get("http") != expected.status:
        return False
    if any(received["headers"].get(name.lower(), "") != text for name, text in expected.headers):
        return False
    if expected.content is None:
        return True
    if (received["headers"].get("content-type") or "").split(";")[0] != expected.content_type:
        return False
    if isinstance(expected.content, str):
        return same_text(expected.content, received["body"])
    try:
        return same(expected.content, json.loads(received["body"]))
    except ValueError:
        return False

"""Asks a Prometheus, by its HTTP API, and takes nothing on trust that comes back."""

from __future__ import annotations

import http.client
import json
import math
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from foundation.command_line import InputError, explained

TIMEOUT_S: Final = 15.0
"""For all the queries of one look together."""

_LARGEST: Final = 8 << 20
"""Bytes of an answer: one of a few series has some hundreds."""

_CHUNK: Final = 64 * 1024


class PrometheusError(InputError):
    """Prometheus cannot be asked, or answers something else; the message is one line."""


@dataclass(frozen=True)
class Sample:
    """One series of an answer: its labels and its value, which is finite."""

    labels: Mapping[str, str]
    value: float


class Prometheus:
    """One Prometheus, for the queries of one look.

    Args:
        url: http:// or https://, with a path where it lies behind one.
        timeout_s: for all queries together.

    Raises:
        InputError: no such address.
    """

    def __init__(self, url: str, timeout_s: float = TIMEOUT_S):
        self.url = checked(url)
        """Its address."""
        self._timeout_s = timeout_s
        self._end = time.monotonic() + timeout_s
        self.warnings: list[str] = []
        """What it has said beside its answers, each text once."""

    def query(self, expression: str) -> list[Sample]:
        """The series of an instant query; values that are not finite are left out.

        Raises:
            PrometheusError: no answer in time, an error, or something that is no answer.
        """
        values = {"query": expression, "timeout": f"{self._timeout_s:g}s"}
        answer = self._get(f"{self.url}/api/v1/query?{urllib.parse.urlencode(values)}")
        try:
            for warning in answer.get("warnings", []):
                if str(warning) not in self.warnings:
                    self.warnings.append(str(warning))
            found = [_sample(one) for one in answer["data"]["result"]]
        except (KeyError, TypeError, ValueError, AttributeError):
            raise self._no_answer(f"JSON of another kind: {str(answer)[:80]!r}") from None
        return [one for one in found if math.isfinite(one.value)]

    def _get(self, url: str) -> Any:
        try:
            try:
                with urllib.request.urlopen(url, timeout=self._left_s()) as answer:
                    content = self._read(answer)
            except urllib.error.HTTPError as error:
                with error:
                    raise self._no_answer(_refusal(error.code, self._read(error))) from None
        except urllib.error.URLError as error:
            why = error.reason
            said = explained(why) if isinstance(why, OSError) else None
            raise self._no_answer(said or str(why) or type(why).__name__) from None
        except TimeoutError:
            raise self._late() from None
        except (OSError, http.client.HTTPException) as error:
            raise self._no_answer(str(error) or type(error).__name__) from None
        try:
            return json.loads(content)
        except (ValueError, RecursionError):
            raise self._no_answer(f"no JSON: {content[:60]!r}") from None

    def _read(self, answer: Any) -> bytes:
        content = b""
        while chunk := answer.read1(_CHUNK):
            content += chunk
            if len(content) > _LARGEST:
                raise self._no_answer(f"more than {_LARGEST:,} bytes")
            self._left_s()
        return content

    def _left_s(self) -> float:
        left_s = self._end - time.monotonic()
        if left_s <= 0:
            raise self._late()
        return left_s

    def _late(self) -> PrometheusError:
        return self._no_answer(f"no whole answer within {self._timeout_s:g} s")

    def _no_answer(self, received: str) -> PrometheusError:
        return PrometheusError(
            f"Expected a Prometheus at {self.url}. Received: {received.rstrip('.')}. Give its "
            "address with --prometheus; in a cluster, after kubectl port-forward."
        )


def checked(url: str) -> str:
    """The address without a slash at its end.

    Raises:
        InputError: it is none, or has a password, a query or a fragment in it.
    """
    try:
        parts = urllib.parse.urlsplit(url)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # as for a port that is no number
        good = False
    if not good or not url.isprintable() or " " in url:
        raise InputError(
            "Expected the address of a Prometheus, such as http://localhost:9090. Received: "
            f"--prometheus {url!r}"
        )
    if parts.username is not None or parts.query or parts.fragment:
        raise InputError(
            "Expected the address of a Prometheus without a password, ? or #. Received: one with "
            "it. Forward its port (kubectl port-forward, ssh -L) where it wants a login."
        )
    return url.rstrip("/")


def quoted(text: str) -> str:
    """The text as a string of PromQL."""
    return json.dumps(text, ensure_ascii=False)


def selector(matches: Mapping[str, str], *more: str) -> str:
    """A selector of series by labels.

    Args:
        matches: label to the value that it must have.
        more: further matches, as PromQL writes them.
    """
    exact = [f"{label}={quoted(value)}" for label, value in matches.items()]
    return f"{{{', '.join([*exact, *more])}}}"


def _sample(found: Any) -> Sample:
    _, value = found["value"]
    labels = {str(key): str(text) for key, text in found["metric"].items()}
    return Sample(labels, float(value))


def _refusal(code: int, content: bytes) -> str:
    """What an answer with an HTTP error says: Prometheus' own words where they are."""
    try:
        return f"HTTP {code}: {json.loads(content)['error']}"
    except (ValueError, KeyError, TypeError, RecursionError):
        return f"HTTP {code}"


def only(samples: Sequence[Sample], label: str) -> dict[str, float | None]:
    """By the value of a label, the sample's value.

    Returns:
        None for a value of the label that several samples have: quantiles cannot be added.
    """
    found: dict[str, float | None] = {}
    for one in samples:
        key = one.labels.get(label, "")
        found[key] = None if key in found else one.value
    return found

"""The page /try, and what is served now as JSON for it; everything else goes to the REST API.

Only a browser on this machine gets it: the connection must come from this machine, and the address
in the browser must name it. The second keeps out a foreign site whose name was pointed at this
machine after it was loaded (DNS rebinding): its requests come from here, but carry its own name.
The page asks the REST API of its own origin, so no header lets pages of other sites read anything.
"""

from __future__ import annotations

import base64
import hashlib
import ipaddress
import json
import re
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from foundation.pages import page
from serving.local.core import ModelSpec, ServerCore
from serving.local.errors import ServingError
from serving.local.rest.http import Application, HttpRequest, HttpResponse
from serving.local.versions.states import State
from tfs_client import contract

PATH: Final = "/try"

SERVED_PATH: Final = f"{PATH}/served"

MAX_FILE_BYTES: Final = 32 * 2**20
"""A larger file is not read into the browser: `tfs_client` refuses it as well."""

MAX_PIXELS: Final = 50_000_000
"""A larger picture is not shown; a model takes no more, unless it was trained so."""

_CONTRACT: Final = {
    "signature": contract.SIGNATURE_DEFAULT,
    "input": contract.INPUT_IMAGE_BYTES,
    "probability": contract.OUTPUT_PROBABILITY,
    "label": contract.OUTPUT_LABEL,
    "review": contract.OUTPUT_NEEDS_REVIEW,
    "valid": contract.OUTPUT_VALID,
    "classes": contract.OUTPUT_CLASSES,
    "scores": contract.OUTPUT_SCORES,
    "first": contract.LABEL_STABLE,
}
"""What the script needs of the contract."""

_TEMPLATE: Final = Path(__file__).with_name("try.html")

_REFUSAL: Final = (
    "Expected a browser on the machine that serves this page, at http://localhost:PORT/try. "
    "Received: {}. From elsewhere, forward the port first: ssh -L 8501:localhost:8501 HOST\n"
)


class TryPage:
    """The page before another application; an `http.Application`.

    Args:
        behind: answers everything else.
        core: what is served.
        grpc_port: where `tfs_client` finds this server; None where there is no such port, or where
            it needs certificates that the page does not know.
    """

    def __init__(self, behind: Application, core: ServerCore, grpc_port: int | None) -> None:
        self._behind = behind
        self._core = core
        self._grpc = f"localhost:{grpc_port}" if grpc_port else None
        text = page.render(
            _TEMPLATE,
            contract=_CONTRACT,
            formats=f"{', '.join(contract.IMAGE_FORMATS[:-1])} or {contract.IMAGE_FORMATS[-1]}",
            limits=[MAX_FILE_BYTES, MAX_PIXELS],
        )
        self._page = text.encode()
        self._headers = {
            "Cache-Control": "no-store",
            "Content-Security-Policy": _policy(text),
            "Cross-Origin-Opener-Policy": "same-origin",
            "Cross-Origin-Resource-Policy": "same-origin",
            "Referrer-Policy": "no-referrer",
            "X-Content-Type-Options": "nosniff",
        }

    def answer(self, request: HttpRequest) -> HttpResponse:
        """Answers one request; never raises."""
        path = request.target.partition("?")[0]
        if request.method != "GET" or path not in (PATH, SERVED_PATH):
            return self._behind.answer(request)
        foreign = _foreign(request)
        if foreign:
            text = _REFUSAL.format(foreign)
            return HttpResponse(403, "text/plain; charset=utf-8", text.encode(), self._headers)
        if path == PATH:
            return HttpResponse(200, "text/html; charset=utf-8", self._page, self._headers)
        served = json.dumps(self._served()).encode()
        return HttpResponse(200, "application/json", served, self._headers)

    def refuse(self, request: HttpRequest, error: ServingError) -> HttpResponse:
        """Answers a request that `answer` cannot or could not answer."""
        return self._behind.refuse(request, error)

    def _served(self) -> dict[str, Any]:
        models = []
        for name, labels in self._core.labels().items():
            models.append({"name": name, "labels": labels, "versions": self._available(name)})
        return {"models": models, "grpc": self._grpc}

    def _available(self, model: str) -> list[int]:
        """The versions that answer now, the newest first."""
        try:
            statuses = self._core.statuses(ModelSpec(model))
        except ServingError:  # it has no version yet
            return []
        found = {status.version for status in statuses if status.state is State.AVAILABLE}
        return sorted(found, reverse=True)


def _foreign(request: HttpRequest) -> str:
    """What of a request is not of this machine, in words; empty if all of it is."""
    if not _is_loopback(request.peer):
        return f"a connection from {request.peer or 'an unknown address'}"
    try:
        host = urlsplit(f"//{request.host}").hostname or ""
    except ValueError:
        host = ""
    if host != "localhost" and not _is_loopback(host):
        return f"a request for {ascii(request.host) if request.host else 'no host'}"
    return ""


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


def _policy(text: str) -> str:
    """What the page may do: run its own scripts, and ask its own server."""
    scripts, styles = (_hashes(text, element) for element in ("script", "style"))
    return (
        f"default-src 'none'; script-src {scripts}; style-src {styles}; img-src blob: data:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


def _hashes(text: str, element: str) -> str:
    found = re.findall(f"<{element}>(.*?)</{element}>", text, re.DOTALL)
    digests = (hashlib.sha256(content.encode()).digest() for content in found)
    return " ".join(f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests)

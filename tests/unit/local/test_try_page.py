"""Who gets the page /try, and what it may do in a browser."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import pytest

from serving.local import flags as flags_module
from serving.local.core import CoreOptions, ServerCore
from serving.local.errors import ServingError
from serving.local.rest.http import HttpRequest, HttpResponse
from serving.local.try_page import page as try_page
from serving.local.try_page.page import TryPage
from tfs_client.images import pixels


class _Api:
    """Tells what was handed on."""

    def answer(self, request: HttpRequest) -> HttpResponse:
        return HttpResponse(299, "", request.target.encode())

    def refuse(self, request: HttpRequest, error: ServingError) -> HttpResponse:
        return HttpResponse(503, "", error.text.encode())


def _no_version(model: str, version: int, folder: Path) -> None:
    raise AssertionError("nothing is loaded here")


@pytest.fixture(scope="module")
def served() -> TryPage:
    return TryPage(_Api(), ServerCore(_no_version, CoreOptions()), 8500)  # type: ignore[arg-type]


def asked(
    target: str = "/try",
    *,
    method: str = "GET",
    host: str = "localhost:8501",
    peer: str = "127.0.0.1",
) -> HttpRequest:
    return HttpRequest(
        method=method,
        target=target,
        body=b"",
        origin="",
        expires=math.inf,
        host=host,
        peer=peer,
    )


@pytest.mark.parametrize("target", ["/try", "/try?sample=1", "/try/served"])
@pytest.mark.parametrize(
    "host", ["localhost", "localhost:8501", "LOCALHOST:9000", "127.0.0.1:8501", "[::1]:8501"]
)
def test_a_browser_on_this_machine_gets_it(served: TryPage, target: str, host: str) -> None:
    assert served.answer(asked(target, host=host)).status == 200


@pytest.mark.parametrize("target", ["/try", "/try/served"])
@pytest.mark.parametrize(
    "host",
    [
        "evil.example:8501",
        "localhost.evil.example",
        "localhost@evil.example",
        "192.0.2.7",
        "",
        "[:",
    ],
)
def test_a_foreign_name_for_this_machine_does_not(served: TryPage, target: str, host: str) -> None:
    refused = served.answer(asked(target, host=host))

    assert refused.status == 403
    assert b"Expected a browser on the machine that serves this page" in refused.body
    assert (f"a request for {host!r}" if host else "no host").encode() in refused.body


@pytest.mark.parametrize("target", ["/try", "/try/served"])
@pytest.mark.parametrize("peer", ["192.0.2.7", "172.17.0.1", "2001:db8::1", ""])
def test_a_connection_from_elsewhere_does_not(served: TryPage, target: str, peer: str) -> None:
    refused = served.answer(asked(target, peer=peer))

    assert refused.status == 403
    assert f"a connection from {peer or 'an unknown address'}".encode() in refused.body


@pytest.mark.parametrize(
    "request_",
    [
        asked("/v1/models/m", host="evil.example", peer="192.0.2.7"),
        asked("/try", method="POST"),
        asked("/trying"),
        asked("/try/"),
    ],
)
def test_all_else_is_the_rest_apis(served: TryPage, request_: HttpRequest) -> None:
    assert served.answer(request_).status == 299


def test_the_page_needs_nothing_but_its_server_and_no_other_page_may_read_it(
    served: TryPage,
) -> None:
    given = served.answer(asked())
    text, policy = given.body.decode(), given.headers["Content-Security-Policy"]

    assert not re.findall(r"https?://|\bsrc=|<link(?! rel=.icon. href=.data:)|@import|url\(", text)
    assert "default-src 'none'" in policy
    assert "connect-src 'self'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    for answer in (given, served.answer(asked("/try/served")), served.answer(asked(host="x"))):
        assert not [name for name in answer.headers if name.lower().startswith("access-control")]
        assert answer.headers["Cross-Origin-Resource-Policy"] == "same-origin"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize(("port", "grpc"), [(8500, "localhost:8500"), (None, None)])
def test_the_page_is_told_where_the_client_finds_the_server(
    port: int | None, grpc: str | None
) -> None:
    served = TryPage(_Api(), ServerCore(_no_version, CoreOptions()), port)  # type: ignore[arg-type]

    assert json.loads(served.answer(asked("/try/served")).body) == {"models": [], "grpc": grpc}


def test_the_page_and_the_client_have_the_same_limits() -> None:
    assert try_page.MAX_FILE_BYTES == pixels.MAX_FILE_BYTES
    assert try_page.MAX_PIXELS == pixels.MAX_PIXELS


def test_the_page_without_a_rest_port_is_refused() -> None:
    flags = flags_module.parse(["--model_base_path=/m", "--try_page"], print)

    with pytest.raises(ServingError, match="Expected --rest_api_port with --try_page"):
        flags.check()
    flags_module.parse(["--model_base_path=/m", "--try_page", "--rest_api_port=1"], print).check()

"""The table of failures: their class, how often the request is sent, and what is said of it.

The words are those of gRPC, TensorFlow Serving 2.19, Envoy 1.40 and nginx 1.22, as they came.
"""

from __future__ import annotations

import grpc
import pytest

from tfs_client import (
    CallError,
    DeadlineExceededError,
    MessageTooLargeError,
    OverloadedError,
    Retry,
    ServerError,
    UnavailableError,
)

QUICK = Retry(attempts=4, backoff_s=0.001, max_backoff_s=0.01, budget_burst=100)
UNAVAILABLE, UNKNOWN = grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.UNKNOWN
RESET = "upstream connect error or disconnect/reset before headers. reset reason: "
STATUS = "Received http2 header with status: "

TABLE = [
    # Never: the caller's fault, or it was being computed until a time was up.
    (UNKNOWN, STATUS + "413", MessageTooLargeError, 1, "client_max_body_size"),
    (UNKNOWN, "Payload Too Large", MessageTooLargeError, 1, "a proxy on the way takes no more"),
    (UNAVAILABLE, STATUS + "504", DeadlineExceededError, 1, "raise the proxy's limit"),
    (UNAVAILABLE, "upstream request timeout", DeadlineExceededError, 1, "within a proxy's time"),
    (UNAVAILABLE, "stream timeout", DeadlineExceededError, 1, "within a proxy's time"),
    (UNKNOWN, STATUS + "500", ServerError, 1, "look at the server's log"),
    (UNKNOWN, "Stream removed", ServerError, 1, "look at the server's log"),
    # Once more: it was under way when the connection ended, or somebody is full.
    (UNAVAILABLE, STATUS + "502", UnavailableError, 2, "2 connections were lost"),
    (UNAVAILABLE, RESET + "connection termination", UnavailableError, 2, "2 connections"),
    (UNAVAILABLE, RESET + "remote reset", UnavailableError, 2, "2 connections"),
    (UNAVAILABLE, "Stream removed (Socket closed)", UnavailableError, 2, "2 connections"),
    (UNAVAILABLE, "recvmsg:Connection reset by peer (104)", UnavailableError, 2, "2 connections"),
    (UNAVAILABLE, "Socket closed (GOAWAY received; …)", UnavailableError, 2, "2 connections"),
    (UNAVAILABLE, "Connection timed out", UnavailableError, 2, "2 connections"),
    (UNAVAILABLE, "keepalive watchdog timeout", UnavailableError, 2, "2 connections"),
    (
        grpc.StatusCode.INTERNAL,
        "Received RST_STREAM with error code 2",
        ServerError,
        2,
        "2 connections",
    ),
    (UNAVAILABLE, STATUS + "429", OverloadedError, 2, "send less at once, or raise its limit"),
    (UNAVAILABLE, RESET + "overflow", OverloadedError, 2, "send less at once, or raise its limit"),
    (UNAVAILABLE, "local_rate_limited", OverloadedError, 2, "send less at once"),
    (UNAVAILABLE, "The batch scheduling queue … is full", OverloadedError, 2, "send less at once"),
    # As often as the caller set: nobody computed it.
    (UNAVAILABLE, STATUS + "503", UnavailableError, 4, "no server behind it that is up"),
    (UNAVAILABLE, "no healthy upstream", UnavailableError, 4, "no server behind it that is up"),
    (
        UNAVAILABLE,
        RESET + "remote connection failure",
        UnavailableError,
        4,
        "no server behind it that is up",
    ),
    # Two more than that: it is known that the server had not begun.
    (UNAVAILABLE, "GOAWAY received", UnavailableError, 6, "start one there"),
    (UNAVAILABLE, "Transport closed (Socket closed)", UnavailableError, 6, "start one there"),
]


@pytest.mark.parametrize(
    ("code", "text", "kind", "times", "words"), TABLE, ids=[row[1] for row in TABLE]
)
def test_a_failure_has_its_class_and_is_sent_so_often(
    server, open_client, code, text, kind, times, words
):
    server.handlers["Predict"] = lambda request, context: context.abort(code, text)
    client = open_client(server.target, retry=QUICK)
    with pytest.raises(CallError) as caught:
        client.predict({"x": [1.0]}, model="echo")
    assert type(caught.value) is kind
    assert caught.value.code is code
    assert words in str(caught.value)
    assert len(server.asked("Predict")) == caught.value.attempts == times

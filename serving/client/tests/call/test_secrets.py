"""Keys, tokens, credentials: what shows them, who may read them, how long one is waited for."""

from __future__ import annotations

import asyncio
import contextvars
import dataclasses
import threading
import time

import pytest

from tfs_client import (
    AsyncClient,
    Client,
    DeadlineExceededError,
    Observer,
    RequestError,
    Servable,
    TargetError,
    Tls,
)
from tfs_client.call.about import About
from tfs_client.call.predictor import Question

PEM = b"-----BEGIN PRIVATE KEY-----\nhush\n-----END PRIVATE KEY-----"


def ask(client, **settings):
    return client.predict({"x": [1.0]}, model="echo", **settings)


# --- what shows them ------------------------------------------------------------------------------


def test_the_repr_of_tls_shows_paths_and_no_keys(tmp_path):
    tls = Tls(roots="ca.pem", certificate=PEM, key=PEM, server_name="models")
    assert repr(tls) == (
        f"Tls(roots='ca.pem', certificate=<{len(PEM)} bytes>, key=<{len(PEM)} bytes>, "
        "server_name='models')"
    )
    assert "own.key" in repr(Tls(certificate=tmp_path / "own.pem", key=tmp_path / "own.key"))
    for key in (PEM, PEM.decode(), bytearray(PEM), [PEM]):  # the last three are refused, but shown
        assert "hush" not in f"{Tls(certificate=PEM, key=key)!r} {Tls(certificate=PEM, key=key)}"
    assert "hush" not in str(dataclasses.replace(tls, server_name="other"))


def test_the_repr_of_a_call_and_of_what_sends_it_shows_no_token(server, open_client):
    shown = []

    class Watching(Observer):
        def call_started(self, call):
            shown.append(repr(call))

        def call_ended(self, call):
            shown.append(str(call))

    client = open_client(
        server.target,
        observers=[Watching()],
        token=lambda: "hush-token",
        metadata={"x-key": "hush-metadata"},
    )
    ask(client, metadata=[("x-more", "hush-more")])
    assert server.requests[-1].metadata["authorization"] == "Bearer hush-token"
    core = client.core
    shown += [repr(core.sender.settings), repr(client), repr(core)]
    pairs = (("authorization", "hush"),)
    shown += [
        repr(About("Predict", Servable(), "", 1.0, 1.0, pairs)),
        repr(Question({"x": "hush"}, "s", (), 1.0, pairs)),
    ]
    assert len(shown) == 9
    assert [one for one in shown if "hush" in one] == []
    given = open_client(server.target, token="hush-token")
    assert "hush" not in repr(given.core.sender.settings)
    ask(given)
    assert server.requests[-1].metadata["authorization"] == "Bearer hush-token"


def test_a_key_of_the_router_is_not_in_the_error_about_it(client):
    with pytest.raises(RequestError, match=r"a key \(of type str\) without one") as caught:
        ask(client, key="customer-17")
    assert "customer-17" not in str(caught.value)


# --- who may read them ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["authorization", "proxy-authorization", "cookie"])
def test_credentials_are_not_sent_in_plain_text_to_other_machines(open_client, name):
    pairs = [(name, "hush")]
    for given in (pairs, dict(pairs)):
        with pytest.raises(TargetError, match=f"Expected tls with metadata '{name}'.* Received"):
            open_client("models.example:8500", metadata=given)
    client = open_client("models.example:8500", timeout_s=1)
    with pytest.raises(TargetError, match=f"Expected tls with metadata '{name}'") as caught:
        ask(client, metadata=pairs)
    assert "hush" not in str(caught.value)
    open_client("models.example:8500", metadata=pairs, tls=True)


def test_credentials_go_to_this_machine_in_plain_text(server, open_client):
    client = open_client(server.target, metadata={"authorization": "Basic b3Zlbg=="})
    ask(client, metadata=[("cookie", "a=b")])
    assert server.requests[-1].metadata["authorization"] == "Basic b3Zlbg=="
    assert server.requests[-1].metadata["cookie"] == "a=b"


def test_what_an_observer_adds_follows_the_same_rule(open_client):
    class Signing(Observer):
        def call_started(self, call):
            call.metadata.append(("authorization", "hush"))

    client = open_client("models.example:8500", timeout_s=1, observers=[Signing()])
    with pytest.raises(TargetError, match="Expected tls with metadata 'authorization'"):
        ask(client)


def test_an_empty_token_is_refused():
    with pytest.raises(TargetError, match="Received: an empty text"):
        Client("localhost:8500", token="")


# --- how long one is waited for -------------------------------------------------------------------


def test_a_function_that_gives_no_token_costs_the_deadline_and_no_more(server, open_client):
    release = threading.Event()

    def hangs():
        release.wait(20)
        return "late"

    client = open_client(server.target, token=hangs, timeout_s=0.3)
    start = time.monotonic()
    with pytest.raises(DeadlineExceededError, match=r"function given as token .* nothing was sent"):
        ask(client)
    assert time.monotonic() - start < 3
    assert server.requests == ()
    release.set()
    assert ask(client, timeout_s=5)["x"].tolist() == [1.0]


def test_what_the_function_raises_is_the_callers(server, open_client):
    def breaks():
        raise KeyError("no token today")

    with pytest.raises(KeyError, match="no token today"):
        ask(open_client(server.target, token=breaks))
    assert server.requests == ()


def test_the_function_finds_the_callers_context(server):
    user = contextvars.ContextVar("user", default="nobody")
    user.set("ada")
    with Client(server.target, token=user.get) as client:
        ask(client)

    async def main():
        async with AsyncClient(server.target, token=user.get) as client:
            await ask(client)

    asyncio.run(main())
    assert {one.metadata["authorization"] for one in server.requests} == {"Bearer ada"}


def test_an_event_loop_goes_on_while_the_function_thinks(server):
    turns = 0

    def slow():
        time.sleep(0.3)
        return "token"

    async def turn():
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0.01)

    async def main():
        turning = asyncio.ensure_future(turn())
        async with AsyncClient(server.target, token=slow, check_inputs=False) as client:
            await client.predict({"x": [1.0]}, model="echo")
        turning.cancel()

    asyncio.run(main())
    assert turns > 10
    assert server.requests[-1].metadata["authorization"] == "Bearer token"

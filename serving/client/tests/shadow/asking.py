"""What the tests of the shadow share: calls of the model echo, and a canary that misbehaves."""

from __future__ import annotations

import threading
import time

import grpc

from tfs_client import Servable

CANARY = Servable(model="echo", label="canary")


def ask(client, shadow, x=(1.0,), **settings):
    settings = {"model": "echo", "label": "stable", **settings}
    return client.predict({"x": list(x)}, shadow=shadow, **settings)


def asked(server, label, call="Predict"):
    """The requests that the server received for a label, with their metadata."""
    return [(one.message, one.metadata) for one in server.asked(call, label=label)]


def eventually(holds):
    deadline = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.005)


def for_label(server, label, behave):
    """Replaces Predict's answer for a label.

    Args:
        server: whose answer.
        label: asked for.
        behave: (usual answer, request, context) to an answer.
    """
    before = server.handlers.get("Predict", server.usual("Predict"))

    def answer(request, context):
        if request.model_spec.version_label != label:
            return before(request, context)
        return behave(before, request, context)

    server.handlers["Predict"] = answer


def breaks(code=grpc.StatusCode.INTERNAL):
    return lambda honest, request, context: context.abort(code, "broken")


class Held:
    """Makes the canary wait until `let_go` is set."""

    def __init__(self, server):
        self.let_go = threading.Event()
        for_label(server, "canary", self._wait)

    def _wait(self, honest, request, context):
        self.let_go.wait(30)
        return honest(request, context)

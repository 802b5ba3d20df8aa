"""Asks a server through ovmsclient, over gRPC and REST; run by a Python that has ovmsclient.

    python ovmsclient_calls.py GRPC_HOST:PORT REST_HOST:PORT

Prints one JSON object: protocol → call → its result, or the error's class and text. ovmsclient asks
for version 0 where none is given. Imports nothing of this project.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import ovmsclient

X = {"x": np.array([2.0, 4.0], np.float32)}
MANY = {"a": np.array([[1, 2, 3]], np.float32), "b": np.array([4], np.int64)}

CALLS: dict[str, Callable[[Any], Any]] = {
    "predict": lambda client: client.predict(X, "affine"),
    "predict 1": lambda client: client.predict(X, "affine", 1),
    "predict 2": lambda client: client.predict(X, "affine", 2),
    "predict many": lambda client: client.predict(MANY, "many", 1),
    "predict another input": lambda client: client.predict({"z": X["x"]}, "affine", 1),
    "predict another model": lambda client: client.predict(X, "nope", 1),
    "status": lambda client: client.get_model_status("affine"),
    "status 2": lambda client: client.get_model_status("affine", 2),
    "metadata": lambda client: client.get_model_metadata("affine"),
    "metadata 2": lambda client: client.get_model_metadata("affine", 2),
}


def plain(found: Any) -> Any:
    """Arrays as lists, bytes as text."""
    if isinstance(found, np.ndarray):
        return [plain(item) for item in found.tolist()]
    if isinstance(found, dict):
        return {str(key): plain(value) for key, value in found.items()}
    return found.decode() if isinstance(found, bytes) else found


def outcome(call: Callable[[Any], Any], client: Any) -> Any:
    """What a call returns, or the class and the text of its error."""
    try:
        return plain(call(client))
    except Exception as error:  # any error is an outcome here
        return {"error": type(error).__name__, "text": str(error)}


def main() -> None:
    clients = {
        "grpc": ovmsclient.make_grpc_client(sys.argv[1]),
        "rest": ovmsclient.make_http_client(sys.argv[2]),
    }
    found = {
        name: {call: outcome(asked, client) for call, asked in CALLS.items()}
        for name, client in clients.items()
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()

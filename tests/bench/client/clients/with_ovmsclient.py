"""ovmsclient, used as its documentation says. See frame.py; run by an environment of its own.

It names no signature: its requests are a few bytes shorter.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import frame
from ovmsclient import make_grpc_client
from ovmsclient.tfs_compat.grpc.requests import make_predict_request
from ovmsclient.tfs_compat.grpc.responses import GrpcPredictResponse
from ovmsclient.tfs_compat.protos.tensorflow_serving.apis import predict_pb2


class WithOvmsclient(frame.Client):
    def encoder(self, case: str) -> Callable[[], bytes]:
        _, name = frame.CASES[case]
        value = frame.load(self.folder, case)
        return lambda: _request({name: value})

    def decode(self, answer: bytes) -> frame.Outputs:
        response = predict_pb2.PredictResponse.FromString(answer)
        return {"y": GrpcPredictResponse(response).to_dict()["outputs"]}

    def caller(self, address: str) -> Callable[[], frame.Outputs]:
        client = make_grpc_client(address)
        inputs = {frame.CASES["pixels"][1]: frame.load(self.folder, "pixels")[:1]}
        return lambda: client.predict(inputs, frame.MODEL, timeout=frame.DEADLINE_S)

    def request(self) -> bytes:
        return _request({frame.CASES["pixels"][1]: frame.load(self.folder, "pixels")[:1]})


def _request(inputs: dict[str, Any]) -> bytes:
    request = make_predict_request(inputs, frame.MODEL)
    return bytes(request.raw_request.SerializeToString())


if __name__ == "__main__":
    sys.exit(frame.serve(WithOvmsclient(Path(sys.argv[1]))))

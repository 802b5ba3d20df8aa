"""A gRPC server that answers Predict with prepared bytes, at once or as slowly as a model says.

    python -m tests.bench.loadtest.delaying '{"median_s": 0.004, …}'      truth.Slowness

Prints its port; asked for anything on stdin, tells how late each answer was let go, in the order in
which requests came: this machine wakes nobody at once, and that is not the generator's fault.
Reads no request. One with AT_ONCE_KEY in its metadata is answered at once, stall
or not: who sends it sees what the road to this server costs.
"""

from __future__ import annotations

import contextlib
import json
import sys
import threading
import time
from concurrent import futures
from typing import Any, Final

import grpc
import numpy as np

from loadtest.loops.worker import sleep_precisely
from tests.bench.loadtest.truth import Slowness
from tfs_client import contract
from tfs_client.protocol import METHODS, messages as pb, to_proto

AT_ONCE_KEY: Final = "x-at-once"

THREADS: Final = 256

MOST: Final = 1_000_000
"""Requests of one run."""


def main() -> int:
    """Serves until it is killed."""
    sleep_precisely()
    slowness = Slowness(**json.loads(sys.argv[1]))
    server = grpc.server(futures.ThreadPoolExecutor(THREADS), options=[("grpc.so_reuseport", 0)])
    handlers = _Delaying(slowness)
    server.add_generic_rpc_handlers((handlers,))
    print(server.add_insecure_port("127.0.0.1:0"), flush=True)
    server.start()
    for _ in sys.stdin:
        print(json.dumps([late_s for _, late_s in sorted(handlers.late_s)]), flush=True)
    server.wait_for_termination()
    return 0


class _Delaying(grpc.GenericRpcHandler):  # type: ignore[misc]
    def __init__(self, slowness: Slowness) -> None:
        answer, known = prediction(), metadata()
        delays_s = enumerate(slowness.delays_s(MOST).tolist() if slowness.median_s else ())
        self.late_s: list[tuple[int, float]] = []
        """Number of the request, and how long after its time the answer was let go."""

        places = threading.Semaphore(slowness.places) if slowness.places else None

        def predict(request: bytes, context: Any) -> bytes:
            with places or contextlib.nullcontext():
                return delayed(context)

        def delayed(context: Any) -> bytes:
            if any(key == AT_ONCE_KEY for key, _ in context.invocation_metadata()):
                return answer
            come_s = time.time()
            number, delay_s = next(delays_s)
            released_s = float(slowness.released_s(come_s + delay_s))
            rest_s = released_s - time.time()
            if rest_s > 0:
                time.sleep(rest_s)
            self.late_s.append((number, time.time() - released_s))
            return answer

        def at_once(request: bytes, context: Any) -> bytes:
            return answer

        behaviours = {
            METHODS["Predict"]: predict if slowness.median_s else at_once,
            METHODS["GetModelMetadata"]: lambda request, context: known,
        }
        self._handlers = {
            path: grpc.unary_unary_rpc_method_handler(behaviour)
            for path, behaviour in behaviours.items()
        }

    def service(self, call: Any) -> Any:
        return self._handlers.get(call.method)


def prediction() -> bytes:
    """The answer to one image."""
    answer = pb.PredictResponse(model_spec={"name": contract.MODEL_NAME})
    answer.model_spec.version.value = 1
    answer.model_spec.signature_name = contract.SIGNATURE_DEFAULT
    outputs: dict[str, Any] = {
        contract.OUTPUT_PROBABILITY: np.array([0.1], np.float32),
        contract.OUTPUT_LABEL: [b"functional"],
        contract.OUTPUT_NEEDS_REVIEW: np.array([False]),
        contract.OUTPUT_VALID: np.array([True]),
    }
    for name, value in outputs.items():
        answer.outputs[name].CopyFrom(to_proto(value))
    return bytes(answer.SerializeToString())


def metadata() -> bytes:
    """What the contract's default signature looks like."""
    signatures = pb.SignatureDefMap()
    signature = signatures.signature_def[contract.SIGNATURE_DEFAULT]
    signature.method_name = contract.METHOD_PREDICT
    info = signature.inputs[contract.INPUT_IMAGE_BYTES]
    info.name, info.dtype = "serving:0", pb.DT_STRING
    info.tensor_shape.dim.add(size=-1)
    answer = pb.GetModelMetadataResponse(model_spec={"name": contract.MODEL_NAME})
    answer.model_spec.version.value = 1
    packed = answer.metadata["signature_def"]
    packed.type_url = "type.googleapis.com/tensorflow.serving.SignatureDefMap"
    packed.value = signatures.SerializeToString()
    return bytes(answer.SerializeToString())


def request(content: bytes) -> bytes:
    """What a bare stub sends: one image."""
    asked = pb.PredictRequest(
        model_spec={
            "name": contract.MODEL_NAME,
            "version_label": contract.LABEL_STABLE,
            "signature_name": contract.SIGNATURE_DEFAULT,
        }
    )
    asked.inputs[contract.INPUT_IMAGE_BYTES].CopyFrom(to_proto([content]))
    return bytes(asked.SerializeToString())


if __name__ == "__main__":
    sys.exit(main())

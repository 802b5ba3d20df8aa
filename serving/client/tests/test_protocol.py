"""The protocol's public names: what a program needs that speaks it without a Client."""

from __future__ import annotations

import grpc
import numpy as np
import pytest

from tfs_client import AnswerError, LabelNotFoundError
from tfs_client.protocol import (
    METHODS,
    decode,
    dtype_name,
    from_code,
    from_proto,
    messages,
    to_proto,
)


def test_a_bare_channel_is_answered_through_its_names(server):
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    request = messages.PredictRequest(model_spec={"name": "echo"})
    request.inputs["x"].CopyFrom(to_proto(array))
    with grpc.insecure_channel(server.target) as channel:
        data = channel.unary_unary(METHODS["Predict"])(request.SerializeToString(), timeout=5)
    tensor = decode(messages.PredictResponse, data).outputs["x"]
    np.testing.assert_array_equal(from_proto(tensor), array, strict=True)
    assert dtype_name(tensor.dtype) == "float32"


def test_what_is_no_message_is_the_servers_fault():
    with pytest.raises(AnswerError, match="Expected a PredictResponse"):
        decode(messages.PredictResponse, b"\xff")


def test_a_code_and_its_words_become_the_clients_error():
    error = from_code(
        grpc.StatusCode.INVALID_ARGUMENT,
        "Unrecognized servable version label: canary",
        target="localhost:8501",
        call="Predict",
        timeout_s=1,
    )
    assert type(error) is LabelNotFoundError

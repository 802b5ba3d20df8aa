"""The client beside TensorFlow in one process: its messages are TensorFlow's, field by field."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap

import pytest

from tests.conftest import ROOT

COMPARE = textwrap.dedent(
    """
    import json

    import numpy as np
    from tfs_client.wire import tensors
    from tfs_client.wire import serving_pb2 as ours  # first, as a service would

    import tensorflow as tf
    from tensorflow_serving.apis import (
        model_management_pb2, model_service_pb2, prediction_service_pb2
    )
    from tensorflow.core.example import example_pb2
    from tensorflow.core.protobuf import meta_graph_pb2

    # The services' own files, and all that these import.
    files = {}

    def visit(file):
        if file.name not in files:
            files[file.name] = file
            for dependency in file.dependencies:
                visit(dependency)

    for module in (
        model_management_pb2, model_service_pb2, prediction_service_pb2, example_pb2, meta_graph_pb2
    ):
        visit(module.DESCRIPTOR)
    theirs, enums = {}, {}

    def collect(messages, into):
        for message in messages:
            into[message.full_name.split("tfs_client.wire.")[-1]] = message
            collect(message.nested_types, into)

    for file in files.values():
        found = {}
        collect(file.message_types_by_name.values(), found)
        for name, message in found.items():
            short = name.removeprefix("tensorflow.").removeprefix("serving.")
            theirs[short] = message
        for name, enum in file.enum_types_by_name.items():
            enums[name] = enum

    mine = {}
    collect(ours.DESCRIPTOR.message_types_by_name.values(), mine)
    differences, omitted, fields = [], [], 0

    def type_name(field):
        if field.message_type is not None:
            name = field.message_type.full_name
            for prefix in ("tfs_client.wire.", "tensorflow.serving.", "tensorflow."):
                name = name.removeprefix(prefix)
            return name
        return "enum" if field.enum_type is not None else field.type

    def compare_enum(where, mine, theirs):
        for value in mine.values:
            official = theirs.values_by_name.get(value.name)
            if official is None or official.number != value.number:
                differences.append(f"{where}.{value.name}")

    for name, message in mine.items():
        official = theirs.get(name)
        if official is None:
            differences.append(f"{name}: no such message")
            continue
        omitted += [
            f"{name}.{field.name}"
            for field in official.fields
            if field.name not in message.fields_by_name
        ]
        for field in message.fields:
            fields += 1
            other = official.fields_by_name.get(field.name)
            if other is None:
                differences.append(f"{name}.{field.name}: no such field")
                continue
            facts = lambda one: (
                one.number, one.is_repeated,
                # An enum of ours may be a plain int32: the same varint on the wire.
                one.is_packed, one.containing_oneof.name if one.containing_oneof else None,
            )
            same_type = type_name(field) == type_name(other) or (
                (name, field.name) == ("StatusProto", "error_code") and type_name(other) == "enum"
            )
            if facts(field) != facts(other) or not same_type:
                differences.append(f"{name}.{field.name}: {facts(field)} {facts(other)}")
        for enum in message.enum_types:
            compare_enum(f"{name}.{enum.name}", enum, official.enum_types_by_name[enum.name])
    for name, enum in ours.DESCRIPTOR.enum_types_by_name.items():
        compare_enum(name, enum, enums[name])

    # And the tensors themselves: TensorFlow reads what we write, and we read what it writes.
    for dtype in (*"efdbhilqBHILQ?FD", "bfloat16"):
        dtype = tf.bfloat16.as_numpy_dtype if dtype == "bfloat16" else dtype
        array = np.array([[0, 1, 1], [1, 0, 3]]).astype(dtype)
        parsed = tf.io.parse_tensor(tensors.to_proto(array).SerializeToString(), array.dtype)
        if parsed.numpy().tolist() != array.tolist():
            differences.append(f"TensorFlow reads {array.dtype} as {parsed}")
        for proto in (tf.make_tensor_proto(array), tf.make_tensor_proto(array[:1, 1:])):
            back = tensors.from_proto(ours.TensorProto.FromString(proto.SerializeToString()))
            if back.tolist() != tf.make_ndarray(proto).tolist() or back.dtype != array.dtype:
                differences.append(f"we read {array.dtype} as {back}")
    words = [b"", b"a\\0", b"x" * 300]
    parsed = tf.io.parse_tensor(tensors.to_proto(words).SerializeToString(), tf.string)
    if parsed.numpy().tolist() != words:
        differences.append(f"TensorFlow reads strings as {parsed}")
    packed = ours.TensorProto(dtype=ours.DT_STRING, tensor_shape={"dim": [{"size": 3}]})
    packed.tensor_content = b"\\x00\\x02\\xac\\x02" + b"".join(words)  # lengths 0, 2, 300
    theirs_of_packed = tf.io.parse_tensor(packed.SerializeToString(), tf.string).numpy().tolist()
    if not theirs_of_packed == tensors.from_proto(packed).tolist() == words:
        differences.append(f"strings as content: {theirs_of_packed}")

    print(json.dumps(
        {"differences": differences, "omitted": omitted, "messages": sorted(mine), "fields": fields}
    ))
    """
)


# Fields of TensorFlow's and TensorFlow Serving's that ours leave out, each with its reason.
OMITTED = {
    # no array of numpy's holds these
    "TensorProto.resource_handle_val",
    "TensorProto.variant_val",
    "TensorProto.float8_val",
    # a tensor of several parts is no tensor that Predict takes or gives
    "TensorInfo.coo_sparse",
    "TensorInfo.composite_tensor",
    # PredictStreamed is for servers that generate text; the rest is for Google's own proxies
    "PredictRequest.predict_streamed_options",
    "PredictRequest.client_id",
    "PredictRequest.request_options",
    # models.config has the version policy alone
    "FileSystemStoragePathSourceConfig.servables",
    "FileSystemStoragePathSourceConfig.file_system_poll_wait_seconds",
    "FileSystemStoragePathSourceConfig.fail_if_zero_versions_at_startup",
    "FileSystemStoragePathSourceConfig.servable_versions_always_present",
    # counters of the server's, beside the configuration
    "ReloadConfigRequest.metric_names",
    "ReloadConfigResponse.metric",
}


@pytest.fixture(scope="module")
def comparison() -> dict:
    pytest.importorskip("tensorflow_serving", reason="the official descriptors are not installed")
    done = subprocess.run(
        [sys.executable, "-c", COMPARE], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_every_message_and_field_is_numbered_and_typed_as_tensorflow_servings(comparison):
    assert comparison["differences"] == []


def test_no_field_is_left_out_unseen(comparison):
    assert set(comparison["omitted"]) == OMITTED


def test_the_comparison_covers_the_whole_protocol_beside_tensorflow(comparison):
    calls = ("Predict", "Classification", "Regression", "GetModelMetadata", "GetModelStatus")
    ends = {f"{call}{end}" for call in (*calls, "ReloadConfig") for end in ("Request", "Response")}
    parts = {"SignatureDef.DefaultsEntry", "RegressionResult", "Regression"}
    assert ends | parts <= set(comparison["messages"])
    assert len(comparison["messages"]) > 50
    assert comparison["fields"] > 110


BOTH_WAYS = """
array = np.arange(6, dtype=np.float32).reshape(2, 3)
theirs = tf.io.parse_tensor(tensors.to_proto(array).SerializeToString(), tf.float32)
ours = serving_pb2.TensorProto.FromString(tf.make_tensor_proto(theirs * 2).SerializeToString())
request = predict_pb2.PredictRequest(inputs={"x": tf.make_tensor_proto(theirs)})
read = serving_pb2.PredictRequest.FromString(request.SerializeToString())
print(tensors.from_proto(ours).tolist(), tensors.from_proto(read.inputs["x"]).tolist())
"""
CLIENT_IMPORTS = [
    "import numpy as np",
    "from tfs_client import Client",
    "from tfs_client.wire import tensors",
]
CLIENT_IMPORTS += ["from tfs_client.wire import serving_pb2"]
THEIR_IMPORTS = ["import tensorflow as tf", "from tensorflow_serving.apis import predict_pb2"]


@pytest.mark.parametrize(
    "imports",
    [
        # The comparison of the messages imports in this order too.
        pytest.param(
            CLIENT_IMPORTS + THEIR_IMPORTS, id="the client first", marks=pytest.mark.thorough
        ),
        pytest.param(
            THEIR_IMPORTS + CLIENT_IMPORTS, id="tensorflow first", marks=pytest.mark.thorough
        ),
    ],
)
def test_beside_tensorflow_a_tensor_goes_through_both(imports: list[str]) -> None:
    script = "\n".join([*imports, BOTH_WAYS])
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.strip() == (
        "[[0.0, 2.0, 4.0], [6.0, 8.0, 10.0]] [[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]]"
    )

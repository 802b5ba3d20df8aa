"""What Hypothesis makes requests of: messages, tensors, JSON and paths, good, odd and broken."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

from hypothesis import strategies as st
from tensorflow.core.framework import tensor_pb2
from tensorflow_serving.apis import classification_pb2, inference_pb2, predict_pb2

MODELS = ["affine", "many", "scalar", "echo", "examples", "convolution", "old", "named"]
SIGNATURES = [
    *("", "serving_default", "guarded", "lengths", "double", "__saved_model_init_op"),
    *("float32", "int8", "string", "bool", "complex64", "regress", "column", "classes", "matrix"),
]
ALIASES = ["x", "a", "b", "text", "image", "inputs"]
FIELDS = [
    *("float_val", "double_val", "int_val", "int64_val", "uint32_val", "uint64_val", "half_val"),
    *("bool_val", "string_val", "scomplex_val", "dcomplex_val"),
]


def sizes() -> st.SearchStrategy[int]:
    # Large enough to be refused, or small enough to be computed: nothing that takes a gigabyte.
    return st.one_of(st.integers(0, 5), st.sampled_from([-1, -(2**63), 2**40, 2**62, 2**63 - 1]))


def values(field: str) -> st.SearchStrategy[list[Any]]:
    kinds: dict[str, st.SearchStrategy[Any]] = {
        "bool_val": st.booleans(),
        "string_val": st.binary(max_size=20),
        "int64_val": st.integers(-(2**63), 2**63 - 1),
        "uint32_val": st.integers(0, 2**32 - 1),
        "uint64_val": st.integers(0, 2**64 - 1),
        "int_val": st.integers(-(2**31), 2**31 - 1),
        "half_val": st.integers(-(2**31), 2**31 - 1),
    }
    single = st.floats(width=32 if field in ("float_val", "scomplex_val") else 64)
    return st.lists(kinds.get(field, single), max_size=6)


@st.composite
def tensors(draw: st.DrawFn) -> Any:
    """A TensorProto of which nothing needs to fit anything."""
    proto = tensor_pb2.TensorProto(dtype=draw(st.one_of(st.integers(0, 30), st.just(101))))
    if draw(st.booleans()):
        proto.tensor_shape.unknown_rank = draw(st.booleans())
        for size in draw(st.lists(sizes(), max_size=6)):
            proto.tensor_shape.dim.add(size=size)
    for field in draw(st.lists(st.sampled_from(FIELDS), max_size=2)):
        getattr(proto, field).extend(draw(values(field)))
    if draw(st.integers(0, 3)) == 0:
        proto.tensor_content = draw(st.binary(max_size=64))
    return proto


@st.composite
def specs(draw: st.DrawFn, spec: Any) -> None:
    """Fills a ModelSpec, mostly with names that exist."""
    spec.name = draw(st.one_of(st.sampled_from(MODELS), st.text(max_size=5)))
    spec.signature_name = draw(st.one_of(st.sampled_from(SIGNATURES), st.text(max_size=5)))
    match draw(st.integers(0, 5)):
        case 0:
            spec.version.value = draw(st.integers(-(2**63), 2**63 - 1))
        case 1:
            spec.version.value = 1
        case 2:
            spec.version_label = draw(st.one_of(st.just("stable"), st.text(max_size=5)))


@st.composite
def predict_requests(draw: st.DrawFn) -> Any:
    request = predict_pb2.PredictRequest()
    draw(specs(request.model_spec))
    names = st.one_of(st.sampled_from(ALIASES), st.text(max_size=3))
    for alias in draw(st.lists(names, max_size=3)):
        request.inputs[alias].CopyFrom(draw(tensors()))
    request.output_filter.extend(draw(st.lists(st.sampled_from(["y", "total", ""]), max_size=2)))
    return request


@st.composite
def example_inputs(draw: st.DrawFn, sent: Any) -> None:
    """Fills an Input with examples, of which some have the feature that the graph wants."""
    match draw(st.integers(0, 3)):
        case 0:
            return
        case 1:
            examples = sent.example_list_with_context.examples
            _fill(draw, sent.example_list_with_context.context)
        case _:
            examples = sent.example_list.examples
    for _ in range(draw(st.integers(0, 3))):
        _fill(draw, examples.add())


def _fill(draw: st.DrawFn, example: Any) -> None:
    for name in draw(st.lists(st.sampled_from(["x", "z", ""]), max_size=2)):
        feature = example.features.feature[name]
        match draw(st.integers(0, 3)):
            case 0:
                feature.int64_list.value.extend(draw(st.lists(st.integers(0, 9), max_size=2)))
            case 1:
                feature.bytes_list.value.extend(draw(st.lists(st.binary(max_size=3), max_size=2)))
            case _:
                feature.float_list.value.extend(
                    draw(st.lists(st.floats(width=32), min_size=1, max_size=2))
                )


@st.composite
def classification_requests(draw: st.DrawFn) -> Any:
    request = classification_pb2.ClassificationRequest()
    draw(specs(request.model_spec))
    draw(example_inputs(request.input))
    return request


@st.composite
def inference_requests(draw: st.DrawFn) -> Any:
    request = inference_pb2.MultiInferenceRequest()
    for _ in range(draw(st.integers(0, 3))):
        task = request.tasks.add()
        draw(specs(task.model_spec))
        kind = draw(st.sampled_from(["classify", "regress", "predict", "nope"]))
        task.method_name = f"tensorflow/serving/{kind}"
    draw(example_inputs(request.input))
    return request


@st.composite
def mutations(draw: st.DrawFn) -> bytes:
    """A good message of which some bytes have been changed, taken out or put in."""
    content = bytearray(draw(predict_requests()).SerializeToString())
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(content)))
        content[at : at + draw(st.integers(0, 2))] = draw(st.binary(max_size=2))
    return bytes(content)


def _as_bytes(text: str) -> bytes:
    """JSON whose strings may hold what is no UTF-8: half of a pair stands for its lower byte."""
    return b"".join(
        bytes([ord(character) & 0xFF]) if 0xD800 <= ord(character) < 0xE000 else character.encode()
        for character in text
    )


NAMES = st.one_of(
    st.sampled_from([*ALIASES, "b64"]),
    st.text(max_size=3),
    st.text("\udc80\udcff\udce4", min_size=1, max_size=2),
)

JSON = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(2**70), 2**70),
        st.floats(),
        st.text(max_size=5),
        st.sampled_from([1.0, 2, {"b64": "YWI="}, {"b64": "*"}, {"x": 1.0}]),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(NAMES, inner),
    ),
    max_leaves=12,
)

BODIES = st.dictionaries(
    st.one_of(st.sampled_from(["instances", "inputs", "examples", "context"]), st.text(max_size=3)),
    JSON,
    max_size=2,
).flatmap(
    lambda body: st.sampled_from(SIGNATURES).map(
        lambda name: _as_bytes(
            json.dumps({**body, **({"signature_name": name} if name else {})}, ensure_ascii=False)
        )
    )
)


@st.composite
def broken_bodies(draw: st.DrawFn) -> bytes:
    """JSON of which some bytes have been changed, taken out or put in."""
    content = bytearray(draw(BODIES))
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(content)))
        content[at : at + draw(st.integers(0, 2))] = draw(st.binary(max_size=2))
    return bytes(content)


SEGMENTS = st.one_of(
    st.sampled_from(
        [
            *("v1", "models", "affine", "affine:predict", "many:predict", "examples:classify"),
            *("examples:regress", "versions", "1", "labels", "stable", "metadata", "..", ".", ""),
            *("%2e%2e", "%2F", "%", "%zz", "affine%00", "?x=1", "#x", "affine:", ":predict"),
        ]
    ),
    st.text(max_size=4).map(lambda text: quote(text, errors="surrogatepass")),
)

PATHS = st.one_of(
    st.lists(SEGMENTS, max_size=6).map(lambda parts: "/" + "/".join(parts)),
    st.lists(SEGMENTS, max_size=3).map(lambda parts: "/v1/models/" + "/".join(parts)),
)

CALLS = st.tuples(
    st.sampled_from(["affine", "many", "echo", "scalar", "examples", "convolution", "old"]),
    st.sampled_from(["predict", "predict", "classify", "regress"]),
).map(lambda parts: f"/v1/models/{parts[0]}:{parts[1]}")

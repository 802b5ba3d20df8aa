"""Inputs are checked against the version's own signature before they are sent."""

from __future__ import annotations

import threading

import grpc
import numpy as np
import pytest

from tfs_client import (
    DtypeError,
    EmptyBatchError,
    InputNameError,
    InvalidRequestError,
    OutputNameError,
    RequestError,
    ShapeError,
    SignatureError,
    TensorSpec,
    ValueRangeError,
)
from tfs_client.wire import serving_pb2 as pb
from tfs_client.wire.inputs import as_array, check_input

PIXELS = np.zeros((1, 2, 3), np.uint8)

ENDLESS: list[object] = []
ENDLESS.append(ENDLESS)


class OnAGpu:
    """Like a framework's tensor: it has a dtype, and may refuse to become an array."""

    dtype = np.dtype(np.uint8)
    shape = (1, 2, 3)

    def __array__(self, dtype=None, copy=None):
        raise TypeError("copy it to the host first")


def ask(client, inputs, signature="pixels", **settings):
    return client.predict(inputs, model="echo", signature=signature, **settings)


def sent(server) -> list:
    return [request.inputs["x"] for request in server.asked()]


@pytest.mark.parametrize(
    ("inputs", "settings", "kind", "words"),
    [
        ({"y": PIXELS}, {}, InputNameError, "missing: ['x']; unknown: ['y']"),
        ({"x": PIXELS, "y": PIXELS}, {}, InputNameError, "unknown: ['y']"),
        ({"a": [1.0]}, {"signature": "pair"}, InputNameError, "missing: ['b']"),
        ({1: PIXELS}, {}, InputNameError, "names in inputs as str"),
        ({"x": PIXELS.astype(np.float32)}, {}, DtypeError, "uint8 [N, 2, 3]. Received: float32"),
        ({"x": PIXELS.astype(np.float32)}, {}, DtypeError, ".astype('uint8')"),
        ({"x": PIXELS.astype(np.int64)}, {}, DtypeError, "Received: int64"),
        ({"x": [[[0.5] * 3] * 2]}, {}, DtypeError, "Received: float64"),
        ({"x": b"bytes"}, {}, DtypeError, "Received: string"),
        ({"x": np.array([[[None] * 3] * 2])}, {}, DtypeError, "Received: object [1, 2, 3]"),
        ({"x": {1, 2}}, {}, DtypeError, "Received: set"),
        ({"x": iter([1])}, {}, DtypeError, "Received: list_iterator"),
        ({"x": np.datetime64("2026-01-01")}, {}, DtypeError, "Received: dtype=datetime64"),
        ({"x": np.ma.array(PIXELS, mask=True)}, {}, DtypeError, "mask"),
        ({"words": [1], "x": 1}, {"signature": "echoing"}, DtypeError, "Received: int64 [1]"),
        ({"words": [b"a", 1], "x": 1}, {"signature": "echoing"}, DtypeError, "Received: int in"),
        ({"words": [1, "a"], "x": 1}, {"signature": "echoing"}, DtypeError, "object [2]"),
        ({"words": "\ud800", "x": 1}, {"signature": "echoing"}, ValueRangeError, "UTF-8"),
        ({"x": [np.ma.array(PIXELS[0], mask=True)]}, {}, DtypeError, "mask"),
        ({"x": ENDLESS}, {}, ShapeError, "nested deeper"),
        ({"x": OnAGpu()}, {}, DtypeError, "OnAGpu (TypeError: copy it to the host first)"),
        ({"x": PIXELS[0]}, {}, ShapeError, "array[np.newaxis]"),
        ({"x": np.zeros((1, 3, 3), np.uint8)}, {}, ShapeError, "Received: uint8 [1, 3, 3]"),
        ({"x": np.uint8(1)}, {}, ShapeError, "Received: uint8 []"),
        ({"x": [[1, 2], [3]]}, {}, ShapeError, "rows of equal length"),
        ({"x": [[[256] * 3] * 2]}, {}, ValueRangeError, "uint8, 0 to 255. Received: 256 to 256"),
        ({"x": [[[-1, 0, 0]] * 2]}, {}, ValueRangeError, "Received: -1 to 0"),
        ({"x": 1e300}, {"signature": "serving_default"}, ValueRangeError, "float32"),
        ({"x": 10**400}, {"signature": "serving_default"}, ValueRangeError, "cannot hold"),
        ({"x": PIXELS[:0]}, {}, EmptyBatchError, "at least one row"),
        ({"x": PIXELS}, {"signature": ["pixels"]}, SignatureError, "Expected signature as a name"),
        ({"x": PIXELS}, {"signature": "nope"}, SignatureError, "Expected one of the signatures ["),
        ({"x": PIXELS}, {"outputs": ["y"]}, OutputNameError, "outputs among ['x']"),
        ({"x": PIXELS}, {"outputs": ["x", "x"]}, OutputNameError, "each once"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_each_mistake_has_its_class_and_sentence_and_is_not_sent(
    server, client, inputs, settings, kind, words
):
    for _ in range(2):  # before anything is known of the server, and after
        with pytest.raises(kind, match=r"Expected .* Received: ") as caught:
            ask(client, inputs, **settings)
        assert words in str(caught.value)
        assert type(caught.value) is kind
    assert server.asked("Predict") == ()


@pytest.mark.parametrize("inputs", [PIXELS, np.zeros(5), None, [("x", PIXELS)], []], ids=repr)
def test_inputs_without_names_are_refused(server, client, inputs):
    with pytest.raises(RequestError, match="Expected inputs as a mapping from name to array"):
        ask(client, inputs)
    assert server.requests == ()


def test_a_mask_is_seen_in_a_request_like_the_one_before(server, client):
    ask(client, {"x": PIXELS})
    with pytest.raises(DtypeError, match="mask"):
        ask(client, {"x": np.ma.array(PIXELS, mask=True)})
    assert len(server.asked("Predict")) == 1


def test_no_images_at_all_are_an_empty_batch(server, client):
    for nothing in ([], np.array([], object)):
        with pytest.raises(EmptyBatchError, match="at least one row"):
            client.predict({"image_bytes": nothing})
    assert server.asked("Predict") == ()


@pytest.mark.parametrize(
    ("value", "dtype", "expected"),
    [
        ([2**64 - 1, 0], "uint64", [2**64 - 1, 0]),
        ([-(2**63), 2**63 - 1], "int64", [-(2**63), 2**63 - 1]),
        ([2**64 - 1, 2**63], "int64", ValueRangeError),
        ([2**63, -1], "int64", ValueRangeError),
        (2**70, "uint8", ValueRangeError),
        (2**70, "float32", 2.0**70),
        ([2**70, 0.5], "float64", [2.0**70, 0.5]),
        (10**5000, "float64", ValueRangeError),
        (10**5000, "int8", ValueRangeError),
        (2**64, None, ValueRangeError),
        ([1e300 + 0j], "complex64", ValueRangeError),
        (70_000, "float16", ValueRangeError),
        ([True, False], "float32", DtypeError),
        ([0, 1], "bool", DtypeError),
        ([], "int16", []),
    ],
    ids=lambda value: f"{value!r:.20}" if isinstance(value, (list, str)) else "",
)
def test_numbers_are_sent_as_they_are_or_not_at_all(value, dtype, expected):
    spec = TensorSpec(dtype=str(dtype), shape=None)
    if isinstance(expected, type):
        with pytest.raises(expected, match=r"Expected .* Received: ") as caught:
            as_array(value, "x") if dtype is None else check_input("x", spec, value)
        assert len(str(caught.value)) < 300
    else:
        array = check_input("x", spec, value)
        assert (array.dtype, array.tolist()) == (np.dtype(dtype), expected)


@pytest.mark.parametrize(
    "value",
    [
        [[[1, 2, 3], [4, 5, 6]]],
        ((((1, 2, 3)), (4, 5, 6)),),
        [np.arange(1, 7).reshape(2, 3).tolist()],
    ],
    ids=["lists", "tuples", "an array's list"],
)
def test_bare_numbers_take_the_signatures_dtype(server, client, value):
    assert ask(client, {"x": value})["x"].dtype == np.uint8
    np.testing.assert_array_equal(sent(server)[0], [[[1, 2, 3], [4, 5, 6]]])


def test_bare_numbers_become_floats_and_nan_and_infinity_stay(server, client):
    answer = ask(client, {"x": [1, float("nan"), float("-inf")]}, "serving_default")
    assert answer["x"].dtype == np.float32
    np.testing.assert_array_equal(answer["x"], np.float32([1, np.nan, -np.inf]))


def test_words_may_be_text_bytes_or_arrays_of_them(server, client):
    for words in ("é", b"\xc3\xa9", ["é"], np.array(["é"]), np.array(["é"], object)):
        answer = ask(client, {"x": 1, "words": words}, "echoing")
        assert answer["words"].ravel().tolist() == [b"\xc3\xa9"]


@pytest.mark.parametrize("of", [bytearray, memoryview], ids=lambda of: of.__name__)
def test_bytes_of_other_types_are_taken_for_bytes(server, client, of):
    word = of(b"a\0\xff\0")
    for words in (word, [word], (word, b"b"), [[word], ["b"]], np.array([word, None], object)[:1]):
        answer = ask(client, {"x": 1, "words": words}, "echoing")
        assert answer["words"].ravel()[0] == b"a\0\xff\0"
    assert ask(client, {"x": [of(b"abc")]}, "bytes")["x"].tolist() == [
        [97, 98, 99]
    ]  # numbers there


def test_a_view_of_numbers_stays_numbers(client):
    for view in (memoryview(np.float32([[1, 2]])), [memoryview(np.float32([1, 2]))]):
        answer = ask(client, {"x": view, "words": b""}, "echoing")
        assert answer["x"].tolist() == [[1, 2]]


@pytest.mark.parametrize(
    "words", [[["a", "b"], ["c"]], ["a", ["b"]], [[b"a"], [[b"b"]]], (["a"], "b")], ids=str
)
def test_rows_of_strings_of_different_lengths_say_so(server, client, words):
    for check in ({"x": 1, "words": words}, {"words": words, "x": 1}):
        with pytest.raises(ShapeError, match=r"Expected input 'words' as a full array.* equal len"):
            ask(client, check, "echoing")
    assert server.asked("Predict") == ()


def test_what_numpy_can_make_an_array_of_is_taken(client):
    class Tensor:
        dtype = np.dtype(np.uint8)
        shape = (1, 2, 3)

        def __array__(self, dtype=None, copy=None):
            return PIXELS + 7

    assert ask(client, {"x": Tensor()})["x"].max() == 7
    assert ask(client, {"x": memoryview(PIXELS)})["x"].shape == (1, 2, 3)

    class Frame:
        """Like a table: it has no dtype, since each column has its own."""

        def __array__(self, dtype=None, copy=None):
            return np.array([[1.5, 2.5]])

    assert ask(client, {"x": Frame()}, "serving_default")["x"].dtype == np.float32


# --- what is known of the server -----------------------------------------------------------------


def test_the_signature_is_asked_for_once(server, client):
    for size in (1, 2, 3, 1):
        ask(client, {"x": np.zeros((size, 2, 3), np.uint8)})
    ask(client, {"x": [1.0]}, "serving_default")
    assert len(server.asked("GetModelMetadata")) == 1


def test_a_callers_mistake_asks_anew_whether_the_label_has_moved(server, client):
    signature = "predict_images"

    def classify(height, width):
        pixels = np.zeros((1, height, width, 3), np.uint8)
        return client.predict({"images": pixels}, label="stable", signature=signature).version

    assert classify(64, 64) == 1
    server.labels["stable"] = 2
    assert classify(48, 32) == 2  # wrong for the version known, right for the one that answers now
    with pytest.raises(ShapeError, match=r"\[N, 48, 32, 3\]"):
        classify(64, 64)
    assert len(server.asked("Predict")) == 2


def test_another_version_that_answers_is_asked_about(server, client):
    ask(client, {"x": PIXELS}, label="stable")
    server.labels["stable"] = 2
    assert ask(client, {"x": PIXELS}, label="stable").version == 2
    ask(client, {"x": PIXELS}, label="stable")
    assert len(server.asked("GetModelMetadata")) == 2
    server.labels["stable"] = 1  # known from before
    for _ in range(3):
        ask(client, {"x": PIXELS}, label="stable")
    assert len(server.asked("GetModelMetadata")) == 2


def test_pods_that_disagree_do_not_cost_a_question_each_time(make_server, open_client):
    pods = [make_server(), make_server()]
    pods[1].labels["stable"] = 2
    client = open_client("ipv4:" + ",".join(pod.target for pod in pods))
    for _ in range(20):  # until both versions have answered
        ask(client, {"x": PIXELS}, label="stable")
    questions = sum(len(pod.asked("GetModelMetadata")) for pod in pods)
    versions = [ask(client, {"x": PIXELS}, label="stable").version for _ in range(40)]
    assert set(versions) == {1, 2}
    assert sum(len(pod.asked("GetModelMetadata")) for pod in pods) == questions < 20


@pytest.mark.parametrize(
    "code",
    [
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.FAILED_PRECONDITION,
        grpc.StatusCode.NOT_FOUND,
    ],
)
def test_a_refusal_of_the_server_asks_anew(server, client, code):
    ask(client, {"x": PIXELS})
    server.handlers["Predict"] = lambda request, context: context.abort(code, "no")
    with pytest.raises(Exception, match="no"):
        ask(client, {"x": PIXELS})
    del server.handlers["Predict"]
    ask(client, {"x": PIXELS})
    assert len(server.asked("GetModelMetadata")) == 2


def test_without_checks_the_server_decides(server, open_client):
    client = open_client(server.target, check_inputs=False)
    assert ask(client, {"x": np.float64([1])}, "serving_default")["x"].dtype == np.float64
    assert server.asked("GetModelMetadata") == ()
    with pytest.raises(RequestError, match="Expected inputs"):
        ask(client, [])
    with pytest.raises(DtypeError, match="mask"):
        ask(client, {"x": np.ma.array(PIXELS, mask=True)})
    for names in ({"signature": "\ud800"}, {"outputs": ["\ud800"]}):
        with pytest.raises(RequestError, match="UTF-8"):
            ask(client, {"x": PIXELS}, **names)
    with pytest.raises(InvalidRequestError, match="Unrecognized servable version label"):
        ask(client, {"x": PIXELS}, label="nope")


def test_an_input_with_a_default_may_be_left_out(server, client):
    honest = server.usual("GetModelMetadata")

    def with_default(request, context):
        response = honest(request, context)
        signatures = pb.SignatureDefMap.FromString(response.metadata["signature_def"].value)
        signatures.signature_def["pair"].defaults["b"].dtype = pb.DT_FLOAT
        response.metadata["signature_def"].value = signatures.SerializeToString()
        return response

    server.handlers["GetModelMetadata"] = with_default
    assert client.metadata(model="echo").signatures["pair"].inputs["b"].optional
    for _ in range(2):
        assert list(ask(client, {"a": [1.0]}, "pair").outputs) == ["a"]
    assert sorted(ask(client, {"a": [1.0], "b": [2.0]}, "pair").outputs) == ["a", "b"]
    with pytest.raises(InputNameError, match="missing"):
        ask(client, {"b": [1.0]}, "pair")


def test_many_threads_learn_and_ask_at_once(server, open_client):
    client = open_client(server.target)
    wrong: list[object] = []

    def work(number: int) -> None:
        for step in range(20):
            value = [float(number), float(step)]
            answer = ask(client, {"x": value}, "serving_default", label="stable")
            if answer["x"].tolist() != value:
                wrong.append((value, answer))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(32)]
    for thread in threads:
        thread.start()
    server.labels["stable"] = 2
    for thread in threads:
        thread.join()
    assert wrong == []
    assert len(server.asked("Predict")) == 640
    for _ in range(2):  # once more: the last thread may have seen the other version only now
        ask(client, {"x": [1.0]}, "serving_default", label="stable")
    questions = len(server.asked("GetModelMetadata"))
    assert questions <= 2 * len(threads) + 1  # each thread at most once for each version
    assert ask(client, {"x": [1.0]}, "serving_default", label="stable").version == 2
    assert len(server.asked("GetModelMetadata")) == questions


HALF = "\ud800"
"""Half a surrogate pair, which UTF-8 does not have."""


@pytest.mark.parametrize(
    "settings",
    [
        {"timeout_s": 1e12},
        {"timeout_s": 10**400},
        {"outputs": 3},
        {"outputs": [3]},
        {"fallback": 3},
        {"fallback": ["stable"]},
        {"label": HALF},
        {"metadata": 3},
        {"metadata": [3]},
    ],
    ids=lambda value: next(iter(value)),
)
def test_arguments_that_cannot_be_are_errors_of_ours(server, client, settings):
    with pytest.raises(RequestError, match=r"Expected .* Received: "):
        ask(client, {"x": PIXELS}, **settings)
    assert server.asked("Predict") == ()


@pytest.mark.parametrize(
    "examples",
    [
        3,
        [3],
        [{3: 1.0}],
        [{"x": 2**70}],
        [{"x": HALF}],
        [{HALF: 1.0}],
        [{"x": [1, "a"]}],
        [{"x": None}],
    ],
    ids=["int", "list", "name", "large", "text", "half a name", "mixed", "nothing"],
)
def test_examples_that_cannot_be_are_errors_of_ours(server, client, examples):
    for call in (client.classify, client.regress):
        with pytest.raises(RequestError, match=r"Expected .* Received: "):
            call(examples, model="echo")
    assert server.requests == ()


def test_metadata_may_be_a_mapping_with_a_request_id_too(server, client):
    ask(client, {"x": PIXELS}, metadata={"x-team": "ovens"}, request_id="one")
    assert server.requests[-1].metadata["x-team"] == "ovens"
    assert server.requests[-1].metadata["x-request-id"] == "one"

"""The client against the local server and real SavedModels: every call, every dtype, each mistake.

The client's own tests use a small server of their own (serving/client/tests/model_server.py). This
one answers in TensorFlow Serving's message forms and error texts.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator

import ml_dtypes
import numpy as np
import pytest
import tensorflow as tf

from tests.integration.example_models import save_dtypes, save_examples
from tests.integration.local_server_fixtures import (
    RunningServer,
    line_config,
    running_server,
    save_line,
)
from tfs_client import (
    AsyncClient,
    Client,
    FailedPreconditionError,
    InvalidRequestError,
    LabelNotFoundError,
    NotFoundError,
    RequestError,
    Servable,
    SignatureError,
    cli,
)

DTYPES = {
    **{"float16": tf.half, "float32": tf.float32, "float64": tf.double, "bfloat16": tf.bfloat16},
    **{"int8": tf.int8, "int16": tf.int16, "int32": tf.int32, "int64": tf.int64},
    **{"uint8": tf.uint8, "uint16": tf.uint16, "uint32": tf.uint32, "uint64": tf.uint64},
    **{"bool": tf.bool, "complex64": tf.complex64, "complex128": tf.complex128},
    "string": tf.string,
}

MORE = "".join(
    f'config {{ name: "{name}" base_path: "/models/{name}" model_platform: "tensorflow" }} '
    for name in ("examples", "dtypes")
)


def config(labels: dict[str, int]) -> str:
    return line_config("specific { versions: 1 versions: 2 }", labels, MORE)


@pytest.fixture(scope="module", params=["", "--enable_serialization_as_tensor_content=true"])
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningServer]:
    """Answers in *_val fields, TensorFlow Serving's default, and as tensor_content."""
    folder = tmp_path_factory.mktemp("client")
    for version in (1, 2):
        save_line(folder / "models" / "line" / str(version), float(version))
    save_examples(folder / "models" / "examples" / "3")
    save_dtypes(folder / "models" / "dtypes" / "1", DTYPES.values())
    flags = [request.param] if request.param else []
    allow = "--allow_version_labels_for_unavailable_models=true"
    labels = {"stable": 1, "canary": 2}
    with running_server(folder, allow, *flags, config=config(labels)) as running:
        yield running


@pytest.fixture(scope="module")
def client(server: RunningServer) -> Iterator[Client]:
    with Client(f"127.0.0.1:{server.ports['grpc']}") as client:
        client.wait_ready("canary", model="line", timeout_s=30)
        client.wait_ready(model="dtypes", timeout_s=30)
        client.wait_ready(model="examples", timeout_s=30)
        yield client


def noise(dtype: str) -> np.ndarray:
    if dtype == "string":
        array = np.empty(3, object)
        array[:] = [b"a\0", b"", "ü".encode()]
        return array
    kind = np.dtype(ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype)
    if kind.kind == "b":
        return np.array([True, False, True])
    return np.array([1, 100, 7]).astype(kind)


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_dtype_goes_there_and_back(client: Client, dtype: str) -> None:
    sent = noise(dtype)
    for _ in range(2):  # the second time with the known layout
        answer = client.predict({"x": sent}, model="dtypes", signature=DTYPES[dtype].name)["y"]
        assert answer.dtype == sent.dtype
        np.testing.assert_array_equal(answer, sent)


def test_labels_versions_and_the_latest_answer(client: Client) -> None:
    for choice, version in (({"label": "stable"}, 1), ({"version": 2}, 2), ({}, 2)):
        answer = client.predict({"x": [2.0, 4.0]}, model="line", **choice)
        assert answer["y"].tolist() == [1.0 + version, 2.0 + version]
        assert answer.version == version


def test_asyncio_gets_the_same(server: RunningServer) -> None:
    async def ask() -> tuple[list[float], float]:
        async with AsyncClient(f"127.0.0.1:{server.ports['grpc']}") as client:
            answer = await client.predict({"x": [2.0]}, model="line", label="stable")
            regression = await client.regress([{"x": 1.5}], model="examples", signature="regress")
        return answer["y"].tolist(), float(regression.values[0])

    assert asyncio.run(ask()) == ([2.0], 3.0)


def test_examples_are_classified_and_regressed(client: Client) -> None:
    classified = client.classify([{"x": 0.25}, {"x": 1.0}], model="examples")
    rows = [[(one.label, one.score) for one in row] for row in classified.results]
    assert rows == [[("low", 0.75), ("high", 0.25)], [("low", 0.0), ("high", 1.0)]]
    regressed = client.regress([{"x": 1.5}, {"x": 2.0}], model="examples", signature="regress")
    assert (regressed.values.tolist(), regressed.version) == ([3.0, 4.0], 3)


def test_the_servers_own_words_find_their_classes(client: Client) -> None:
    ask = {"inputs": {"x": [1.0]}, "model": "line"}
    with pytest.raises(LabelNotFoundError):
        client.predict(**ask, label="nope")
    with pytest.raises(NotFoundError, match="Servable not found for request"):
        client.predict(**ask, version=9)
    with pytest.raises(SignatureError):
        client.predict(**ask, signature="nope")
    with pytest.raises((InvalidRequestError, FailedPreconditionError)):
        client.regress([{"x": 1.0}], model="line", signature="serving_default")
    answer = client.predict(**ask, label="nope", fallback=[Servable(model="line", label="stable")])
    assert answer.answered_by == "line/labels/stable"


def test_a_reload_moves_labels_and_a_refused_one_moves_nothing(client: Client) -> None:
    def stable() -> int:
        return client.predict({"x": [1.0]}, model="line", label="stable").version

    assert stable() == 1
    client.reload(config({"stable": 2, "canary": 1}))
    assert stable() == 2
    with pytest.raises(FailedPreconditionError, match="not currently available"):
        client.reload(config({"stable": 9}))
    assert stable() == 2
    with pytest.raises(RequestError, match="line:column"):
        client.reload("model_config_list { config { nmae: 'line' } }")
    client.reload(config({"stable": 1, "canary": 2}))
    assert stable() == 1
    assert [(row.version, row.available) for row in client.status(model="line")] == [
        *((1, True), (2, True))
    ]


def test_tfs_tells_what_the_server_does_not_have(
    server: RunningServer, client: Client, capsys: pytest.CaptureFixture[str]
) -> None:
    def tfs(verb: str, *arguments: str) -> tuple[int, str, str]:
        code = cli.main([verb, *arguments, "--target", f"127.0.0.1:{server.ports['grpc']}"])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    code, out, err = tfs("metadata", "--model", "examples")  # it has no labels
    assert (code, out.splitlines()[0]) == (0, "examples version 3")
    assert "knows no label 'stable' of 'examples': its latest version answers, 3" in err
    raw = {"x": [{"b64": "/w=="}, "text"]}
    of_strings = ("--model", "dtypes", "--signature", "string", "--latest", "--json")
    code, out, err = tfs("predict", *of_strings, "--inputs", json.dumps(raw), "--outputs", "y")
    assert (code, json.loads(out)["outputs"], err) == (0, {"y": raw["x"]}, "")
    for choice in ([], ["--latest"], ["--label", "canary"], ["--version", "1"]):
        code, _, err = tfs("metadata", "--model", "lines", *choice)
        assert code == 2
        assert "There is no model 'lines' at 127.0.0.1:" in err
        assert "NOT_FOUND (Could not find any versions of model lines)" in err
    for choice in (["--label", "stabel"], ["--version", "9"]):
        code, _, err = tfs("metadata", "--model", "line", *choice)
        assert code == 2
        assert "the model is there, " in err
        assert "Its versions: 1 (AVAILABLE), 2 (AVAILABLE)" in err

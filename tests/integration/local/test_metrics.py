"""The metrics page of a running server: what is counted, under which names, and what is not."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from google.protobuf import text_format
from tensorflow_serving.apis import classification_pb2, inference_pb2, regression_pb2

from tests import tiny_models
from tests.integration.example_models import save_examples
from tests.integration.local_server_fixtures import (
    ROOT,
    RunningServer,
    eventually,
    line_config,
    running_server,
    save_line,
)

PAGE = "/monitoring/prometheus/metrics"

RECORDED = """
    :tensorflow:cc:saved_model:load_attempt_count counter
    :tensorflow:cc:saved_model:load_latency counter
    :tensorflow:core:graph_run_time_usecs_histogram histogram
    :tensorflow:serving:batching_session:input_batch_size histogram
    :tensorflow:serving:batching_session:padding_size histogram
    :tensorflow:serving:batching_session:processed_batch_size histogram
    :tensorflow:serving:batching_session:queuing_latency histogram
    :tensorflow:serving:batching_session:wrapped_run_count counter
    :tensorflow:serving:model_warmup_latency histogram
    :tensorflow:serving:request_count counter
    :tensorflow:serving:request_example_count_total counter
    :tensorflow:serving:request_example_counts histogram
    :tensorflow:serving:request_latency histogram
    :tensorflow:serving:runtime_latency histogram
"""
"""What TensorFlow Serving 2.19.1 lists, but for what there is nothing to count of here."""

RUNS = "core:graph_run_time_usecs_histogram"

X = 'inputs { key: "x" value { dtype: DT_FLOAT tensor_shape { dim { size: 1 } } float_val: 2 } }'
EXAMPLE = "examples { features { feature { key: %s value { float_list { value: 2 } } } } }"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    folder = tmp_path_factory.mktemp("metrics")
    for version in (1, 2):
        save_line(folder / "models" / "line" / str(version), float(version))
    tiny_models.add_warmup(folder / "models" / "line" / "1", 'model_spec { name: "line" } ' + X)
    shutil.rmtree(folder / "models" / "line" / "2" / "variables")
    save_examples(folder / "models" / "examples" / "1")
    examples = (
        'config { name: "examples" base_path: "/models/examples" model_platform: "tensorflow" }'
    )
    config = line_config("specific { versions: 1 versions: 2 }", more=examples)
    flags = (
        f"--monitoring_config_file={ROOT / 'serving' / 'monitoring.config'}",
        "--max_num_load_retries=1",
        "--load_retry_interval_micros=0",
    )
    with running_server(folder, *flags, config=config) as running:
        eventually(lambda: running.states().get(2) == "END", "version 2 has failed")
        yield running


def page(server: RunningServer) -> dict[str, float]:
    """Sample → value, without the common beginning of the names."""
    status, content_type, text = server.rest("GET", PAGE)
    assert (status, content_type) == (200, "text/plain")
    samples = [line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#")]
    return {name.removeprefix(":tensorflow:"): float(value) for name, value in samples}


def grown(server: RunningServer, before: dict[str, float]) -> dict[str, float]:
    """What has changed since, buckets aside."""
    return {
        name.removeprefix("serving:"): value - before.get(name, 0)
        for name, value in page(server).items()
        if value != before.get(name, 0) and "_bucket{" not in name and "_sum{" not in name
    }


def ask(server: RunningServer, name: str, more: str = X, method: str = "Predict") -> str:
    found = server.ask(method, f'model_spec {{ name: "{name}" }} {more}')
    return str(found.get("code", "OK"))


def test_names_and_types_are_those_of_tensorflow_serving(server: RunningServer) -> None:
    lines = server.rest("GET", PAGE)[2].splitlines()

    declared = [line.removeprefix("# TYPE ") for line in lines if line.startswith("#")]
    assert declared == [line.strip() for line in RECORDED.strip().splitlines()]


def test_predictions_over_grpc_are_counted_by_code_and_timed_where_they_succeed(
    server: RunningServer,
) -> None:
    before = page(server)

    assert [ask(server, "line"), ask(server, "line"), ask(server, "line", "")] == [
        "OK",
        "OK",
        "INVALID_ARGUMENT",
    ]
    assert ask(server, "no such model") == "NOT_FOUND"
    server.states()
    server.ask("GetModelMetadata", 'model_spec { name: "line" } metadata_field: "signature_def"')

    assert grown(server, before) == {
        'request_count{model_name="line",status="OK"}': 2,
        'request_count{model_name="line",status="INVALID_ARGUMENT"}': 1,
        'request_count{model_name="no such model",status="NOT_FOUND"}': 1,
        'request_latency_count{model_name="line",API="Predict",entrypoint="GRPC"}': 2,
        'runtime_latency_count{model_name="line",API="Predict",runtime="TF1"}': 2,
        f"{RUNS}_count{{}}": 2,
    }


def test_all_of_rest_is_counted_with_the_method_of_the_path(server: RunningServer) -> None:
    before = page(server)

    for verb, path, body in (
        ("POST", "/v1/models/line:predict", '{"instances": [1.0]}'),
        ("POST", "/v1/models/line:predict", "{"),
        ("GET", "/v1/models/line", None),
        ("GET", "/v1/models/line/metadata", None),
        ("GET", "/v1/models/line/x", None),
        ("GET", "/elsewhere", None),
    ):
        server.rest(verb, path, body)

    assert grown(server, before) == {
        'request_count{model_name="line",status="OK"}': 3,
        'request_count{model_name="line",status="INVALID_ARGUMENT"}': 1,
        'request_count{model_name="",status="INVALID_ARGUMENT"}': 1,
        'request_latency_count{model_name="line",API="predict",entrypoint="REST"}': 1,
        'request_latency_count{model_name="line",API="",entrypoint="REST"}': 2,
        'runtime_latency_count{model_name="line",API="Predict",runtime="TF1"}': 1,
        f"{RUNS}_count{{}}": 1,
    }


def test_multi_inference_counts_its_examples_and_is_not_a_request(server: RunningServer) -> None:
    before = page(server)
    two = "input { example_list { %s %s } }" % ((EXAMPLE % '"x"',) * 2)
    tasks = " ".join(
        f'tasks {{ model_spec {{ name: "examples" signature_name: "{kind}" }} '
        f'method_name: "tensorflow/serving/{kind}" }}'
        for kind in ("classify", "regress")
    )

    def spec(kind: str) -> str:
        return f'model_spec {{ name: "examples" signature_name: "{kind}" }} {two}'

    stub = server.prediction
    for call, request, text in (
        (stub.Classify, classification_pb2.ClassificationRequest(), spec("classify")),
        (stub.Regress, regression_pb2.RegressionRequest(), spec("regress")),
        (stub.MultiInference, inference_pb2.MultiInferenceRequest(), f"{tasks} {two}"),
    ):
        call(text_format.Parse(text, request), timeout=20)

    assert grown(server, before) == {
        'request_count{model_name="examples",status="OK"}': 2,
        'request_example_count_total{model="examples"}': 2,
        'request_example_counts_count{model="examples"}': 1,
        f"{RUNS}_count{{}}": 3,
        **{
            f'request_latency_count{{model_name="examples",API="{api}",entrypoint="GRPC"}}': 1
            for api in ("Classify", "Regress")
        },
        **{
            f'runtime_latency_count{{model_name="examples",API="{api}",runtime="TF1"}}': 1
            for api in ("Classify", "Regress")
        },
    }


def test_loads_are_counted_by_the_path_of_the_configuration(server: RunningServer) -> None:
    found = page(server)

    prefix = "cc:saved_model:load_attempt_count"
    attempts = {
        name.removeprefix(prefix): value for name, value in found.items() if name.startswith(prefix)
    }
    assert attempts == {
        '{model_path="/models/examples/1",status="success"}': 1,
        '{model_path="/models/line/1",status="success"}': 1,
        '{model_path="/models/line/2",status="fail"}': 2,
    }
    assert found['cc:saved_model:load_latency{model_path="/models/line/1"}'] > 0
    warmed = 'serving:model_warmup_latency_count{model_path="/models/line/1",status="OK"}'
    assert found[warmed] == 1


def test_a_histogram_ends_with_all_it_counted(server: RunningServer) -> None:
    assert ask(server, "line") == "OK"
    found = page(server)

    labels = 'model_name="line",API="Predict",entrypoint="GRPC"'
    name = "serving:request_latency"
    buckets = [found[key] for key in found if key.startswith(f"{name}_bucket{{{labels}")]
    assert len(buckets) == 34
    assert buckets == sorted(buckets)
    assert buckets[-1] == found[f"{name}_count{{{labels}}}"]
    assert found[f'{name}_bucket{{{labels},le="10"}}'] == 0
    assert found[f"{name}_sum{{{labels}}}"] > 10


def test_no_name_of_a_model_breaks_the_page(server: RunningServer) -> None:
    for name in ("%22%5C%0A", "%ff%fe", "%F0%9F%92%A9", "{}"):
        with suppress(UnicodeDecodeError):  # the refusal quotes the bytes
            server.rest("GET", f"/v1/models/{name}")

    text = server.rest("GET", PAGE)[2]

    label = r'[a-zA-Z_]\w*="(?:[^"\\\n]|\\["\\n])*"'
    sample = re.compile(rf":[a-z_:]+\{{(?:{label}(?:,{label})*)?\}} \d+(?:\.\d+)?(?:e[+-]\d+)?")
    assert [x for x in text.split("\n") if x and x[0] != "#" and not sample.fullmatch(x)] == []


def test_the_page_is_at_its_path_only(server: RunningServer) -> None:
    assert server.rest("GET", f"{PAGE}?x=1") == (
        400,
        "text/plain",
        f"Unexpected path: {PAGE}?x=1. Should be {PAGE}",
    )
    assert server.rest("GET", f"{PAGE}/")[0] == 404


@pytest.mark.parametrize(
    ("config", "path", "status"),
    [
        ("prometheus_config { enable: true path: '/m' }", "/m", 200),
        ("prometheus_config { enable: true }", PAGE, 200),
        ("prometheus_config { path: '/m' }", "/m", 404),
        (None, PAGE, 404),
    ],
)
def test_the_page_is_where_the_configuration_says(
    tmp_path: Path, config: str | None, path: str, status: int
) -> None:
    save_line(tmp_path / "models" / "line" / "1", 1.0)
    flags = []
    if config is not None:
        (tmp_path / "monitoring.config").write_text(config)
        flags = [f"--monitoring_config_file={tmp_path / 'monitoring.config'}"]

    with running_server(tmp_path, *flags, config=line_config("latest { }")) as running:
        assert running.rest("GET", path)[0] == status
        assert json.loads(running.rest("GET", "/v1/models/line")[2])["model_version_status"]

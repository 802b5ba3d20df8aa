from __future__ import annotations

from pathlib import Path

import pytest

from serving.local.batching import parameters as batching_parameters
from serving.local.batching.parameters import BatchingParameters
from serving.local.errors import ServingError


def read(folder: Path, text: str) -> BatchingParameters:
    path = folder / "batching.config"
    path.write_text(text)
    return batching_parameters.read(path)


def test_every_parameter_is_read(tmp_path: Path) -> None:
    text = """
        # comments are allowed
        max_batch_size { value: 64 }
        batch_timeout_micros { value: 0 }
        max_enqueued_batches { value: 100 }
        num_batch_threads { value: 3 }
        thread_pool_name: { value: "pool" }
        allowed_batch_sizes: 8
        allowed_batch_sizes: 32
        pad_variable_length_inputs: true
        enable_large_batch_splitting { value: true }
        max_execution_batch_size { value: 32 }
    """
    assert read(tmp_path, text) == BatchingParameters(
        max_batch_size=64,
        batch_timeout_micros=0,
        max_enqueued_batches=100,
        num_batch_threads=3,
        thread_pool_name="pool",
        allowed_batch_sizes=(8, 32),
        pad_variable_length_inputs=True,
        enable_large_batch_splitting=True,
        max_execution_batch_size=32,
    )


def test_what_is_left_out_has_the_real_servers_default(tmp_path: Path) -> None:
    found = read(tmp_path, "")
    assert found == BatchingParameters()
    assert (found.max_batch_size, found.batch_timeout_micros) == (1000, 0)
    assert found.max_enqueued_batches == 10


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("max_batch_size: 32", "Invalid protobuf file: "),
        ("no_such_field { value: 1 }", "Invalid protobuf file: "),
        ("max_batch_size { value: 0 }", "max_batch_size must be positive; was 0"),
        (
            "batch_timeout_micros { value: -1 }",
            "batch_timeout_micros must be non-negative; was -1",
        ),
        ("max_enqueued_batches { value: 0 }", "max_enqueued_batches must be positive; was 0"),
        ("num_batch_threads { value: 0 }", "num_batch_threads must be positive; was 0"),
        (
            "max_batch_size { value: 8 } allowed_batch_sizes: 2 allowed_batch_sizes: 4",
            "Last entry in allowed_batch_sizes must match max_batch_size; last entry was 4; "
            "expected 8",
        ),
        (
            "max_batch_size { value: 8 } allowed_batch_sizes: 9 allowed_batch_sizes: 8",
            "allowed_batch_sizes entries must be monotonically increasing",
        ),
        (
            "max_batch_size { value: 8 } enable_large_batch_splitting { value: true } "
            "max_execution_batch_size { value: 9 }",
            "greater than or equal to max_execution_batch_size",
        ),
    ],
)
def test_a_file_that_cannot_be_served_is_refused(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(ServingError) as caught:
        read(tmp_path, text)
    assert words in caught.value.text


def test_a_batch_is_filled_up_to_the_next_allowed_size() -> None:
    parameters = BatchingParameters(max_batch_size=8, allowed_batch_sizes=(1, 4, 8))
    assert [parameters.padded(rows) for rows in (1, 2, 4, 5, 8)] == [1, 4, 4, 8, 8]
    assert BatchingParameters().padded(5) == 5


def test_what_is_wrong_with_a_file_is_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(ServingError):
        read(tmp_path, "max_batch_size { value: 1 }\nno_such_field { value: 1 }")
    assert f"{tmp_path / 'batching.config'}: expected BatchingParameters" in caplog.text
    assert 'no field named "no_such_field"' in caplog.text

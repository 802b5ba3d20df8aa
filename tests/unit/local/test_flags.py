"""How the local server reads its command line."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

from serving.local import flags as flags_module, main
from serving.local.errors import ServingError
from serving.local.flags import NO_EFFECT, Flags

TENSORFLOW_SERVING_2_19 = """
    port grpc_socket_path rest_api_port rest_api_num_threads rest_api_timeout_in_ms
    rest_api_enable_cors_support enable_batching allow_version_labels_for_unavailable_models
    batching_parameters_file enable_per_model_batching_parameters model_config_file
    model_config_file_poll_wait_seconds model_name model_base_path num_load_threads
    num_unload_threads max_num_load_retries load_retry_interval_micros
    file_system_poll_wait_seconds flush_filesystem_caches tensorflow_session_parallelism
    tensorflow_session_config_file tensorflow_intra_op_parallelism tensorflow_inter_op_parallelism
    use_alts_credentials ssl_config_file platform_config_file per_process_gpu_memory_fraction
    saved_model_tags grpc_channel_arguments grpc_max_threads enable_model_warmup
    num_request_iterations_for_warmup version monitoring_config_file
    remove_unused_fields_from_bundle_metagraph prefer_tflite_model num_tflite_pools
    num_tflite_interpreters_per_pool enable_signature_method_name_check
    xla_cpu_compilation_enabled xla_gpu_compilation_enabled enable_profiler
    thread_pool_factory_config_file mixed_precision skip_initialize_tpu
    enable_grpc_healthcheck_service enable_serialization_as_tensor_content
""".split()


def parse(*arguments: str) -> tuple[Flags, list[str]]:
    said: list[str] = []
    return flags_module.parse(arguments, said.append), said


@pytest.mark.parametrize("name", TENSORFLOW_SERVING_2_19)
def test_every_flag_of_tensorflow_serving_is_taken(name: str) -> None:
    default = {**{field.name: field.default for field in fields(Flags)}, **NO_EFFECT}[name]
    shown = str(default).lower() if isinstance(default, bool) else str(default)

    parsed, said = parse(f"--{name}={shown}")

    assert parsed == Flags()
    assert said == ([f"no effect on this server: --{name}"] if name in NO_EFFECT else [])


def test_a_value_follows_an_equals_sign_or_a_space() -> None:
    parsed, said = parse("--port", "81", "--model_name=a=b", "--rest_api_port=+7")

    assert (parsed.port, parsed.model_name, parsed.rest_api_port) == (81, "a=b", 7)
    assert said == []


@pytest.mark.parametrize(
    ("arguments", "value"),
    [
        (("--enable_batching",), True),
        (("--enable_batching=true",), True),
        (("--enable_batching=false",), False),
        (("--enable_batching", "false"), False),
        (("--enable_batching", "--port=1"), True),
        (("--enable_batching=true", "--enable_batching=false"), False),
    ],
)
def test_booleans_need_no_value(arguments: tuple[str, ...], value: bool) -> None:
    parsed, said = parse(*arguments)

    assert parsed.enable_batching is value
    assert said == []


@pytest.mark.parametrize("text", ["1", "0", "True", "yes", ""])
def test_a_boolean_is_true_or_false_and_nothing_else(text: str) -> None:
    with pytest.raises(ServingError, match=f"interpret value ={text} for flag enable_batching"):
        parse(f"--enable_batching={text}")


@pytest.mark.parametrize("text", ["", "many", "1.5", "0x10", "\N{FULLWIDTH DIGIT ONE}"])
def test_an_integer_is_digits(text: str) -> None:
    with pytest.raises(ServingError, match="for flag port"):
        parse(f"--port={text}")


def test_what_is_unknown_is_said_and_passed_over() -> None:
    parsed, said = parse("stray", "--prot=1", "-x", "--port=81", "--", "--port=82")

    assert parsed.port == 81
    assert said == [
        f"unknown argument: {word}" for word in "stray --prot=1 -x -- --port=82".split()
    ]


def test_channel_arguments_are_numbers_where_they_look_like_numbers() -> None:
    parsed, _ = parse(
        "--grpc_channel_arguments=grpc.max_connection_age_ms=2000,grpc.x=a,,grpc.y=-1"
    )

    assert parsed.channel_arguments() == [
        ("grpc.max_connection_age_ms", 2000),
        ("grpc.x", "a"),
        ("grpc.y", -1),
    ]


def test_all_three_kinds_of_parallelism_at_once_are_refused() -> None:
    parsed, _ = parse(
        "--model_base_path=/m",
        *(f"--tensorflow_{kind}_parallelism=2" for kind in ("session", "intra_op", "inter_op")),
    )

    with pytest.raises(ServingError, match="You cannot configure all"):
        parsed.check()


def test_the_usage_names_every_flag() -> None:
    shown = flags_module.usage("server")

    assert [name for name in TENSORFLOW_SERVING_2_19 if f"\t--{name}=" not in shown] == []


def test_what_a_command_line_or_a_file_holds_cannot_move_the_terminals_cursor(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "a\x1b[2Jmodels.config"
    config.write_text('model_config_list { config { nam\x1b[31m: "x" } }')
    for flags in (
        ["--port=\x1b[31m"],
        ["--unknown=\x1b[31m", f"--model_config_file={tmp_path}/\x1b[2Jnone"],
        [f"--model_config_file={config}"],
    ):
        assert main.main(flags) == 255
        said = "".join(capsys.readouterr())
        assert "\x1b" not in said
        assert "\\x1b" in said

"""models.config: read, validated, written back."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from serving import models_config
from serving.models_config import All, ConfigError, Latest, Model, ModelsConfig, Specific
from tfs_client import contract

ROOT = Path(__file__).resolve().parents[3]

ENTRY = 'config { name: "m" base_path: "/models/m" model_platform: "tensorflow" %s }'


def parse_one(more: str = "") -> Model:
    config = models_config.parse("model_config_list { " + ENTRY % more + " }")
    return config.models[0]


def test_the_file_of_this_repository_serves_the_contracts_model() -> None:
    config = models_config.read(ROOT / "serving" / "models.config")

    model = config.model(contract.MODEL_NAME)
    assert model.base_path == f"{contract.MODEL_STORE}/{contract.MODEL_NAME}"
    assert contract.LABEL_STABLE in model.labels


def test_the_file_of_this_repository_is_written_back_as_it_is() -> None:
    text = (ROOT / "serving" / "models.config").read_text()

    assert models_config.render(models_config.parse(text)) == text


@pytest.mark.parametrize(
    ("text", "policy"),
    [
        ("", Latest(1)),
        ("model_version_policy { latest { num_versions: 3 } }", Latest(3)),
        ("model_version_policy { latest { } }", Latest(1)),
        ("model_version_policy { all { } }", All()),
        ("model_version_policy { specific { versions: 2 versions: 1 } }", Specific((2, 1))),
        ("model_version_policy { specific { } }", Specific(())),
    ],
)
def test_every_policy_is_understood(text: str, policy: models_config.Policy) -> None:
    assert parse_one(text).policy == policy


@pytest.mark.parametrize("policy", [Latest(1), Latest(2), All(), Specific((3, 1)), Specific(())])
def test_what_is_written_reads_the_same(policy: models_config.Policy) -> None:
    config = ModelsConfig(
        models=(
            Model(
                name='odd "name" \\ ü',
                base_path="/models/odd",
                policy=policy,
                labels={"canary": 2, "stable": 1},
            ),
            Model(name="other", base_path="/models/other"),
        ),
        header="# Who changed it and why.\n#\n# Second paragraph.\n",
    )

    again = models_config.parse(models_config.render(config))

    assert again == config
    assert models_config.from_message(models_config.to_message(config), config.header) == config


def test_a_fault_in_the_text_is_named_with_line_and_column(tmp_path: Path) -> None:
    path = tmp_path / "models.config"
    path.write_text('model_config_list {\n  config {\n    nam: "m"\n  }\n}\n')

    with pytest.raises(ConfigError) as refused:
        models_config.read(path)

    message = str(refused.value)
    assert message.startswith(f"{path}:3:5: Expected a ModelServerConfig")
    assert '"nam"' in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("text", "served_text"),
    [
        (
            f"model_config_list {{ {ENTRY % ''} {ENTRY % ''} }}",
            "Illegal to list model m multiple times in config list",
        ),
        (
            "model_config_list { " + (ENTRY % "").replace("/models/m", "m") + " }",
            "Expected model m to have an absolute path or URI; got base_path()=m",
        ),
        (
            "model_config_list { " + (ENTRY % "").replace("tensorflow", "") + " }",
            "Illegal setting neither ModelServerConfig::model_type (deprecated) nor "
            "ModelServerConfig::model_platform, model name is m",
        ),
        (
            "model_config_list { " + (ENTRY % "").replace("tensorflow", "nope") + " }",
            "Model m requests unsupported platform nope",
        ),
        (
            "model_config_list { " + ENTRY % "model_type: TENSORFLOW" + " }",
            "Illegal setting both ModelServerConfig::model_type (deprecated) and "
            "ModelServerConfig::model_platform.",
        ),
        (
            'model_config_list { config { name: "m" base_path: "/m" model_type: OTHER } }',
            "ModelServerConfig::model_type choice 2 not supported.",
        ),
        (
            'custom_model_config { type_url: "x" }',
            "ModelServer does not yet support custom model config.",
        ),
    ],
    ids=[
        "a model twice",
        "a relative path",
        "no platform",
        "an unknown platform",
        "type and platform",
        "another type",
        "a custom configuration",
    ],
)
def test_what_the_real_server_refuses_is_refused_with_its_words(
    text: str, served_text: str
) -> None:
    with pytest.raises(ConfigError, match=r"Expected .* Received: ") as refused:
        models_config.parse(text)

    assert refused.value.served_text == served_text


def test_a_file_that_is_no_text_is_refused_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "models.config"
    path.write_bytes(b"\xff\xfe\x00")

    with pytest.raises(ConfigError, match="Expected UTF-8 text"):
        models_config.read(path)


@pytest.mark.parametrize("path", ["/models/m", "file:///models/m", "gs://bucket/m", "s3.x://b/m"])
def test_a_base_path_is_a_path_or_a_uri(path: str) -> None:
    text = "model_config_list { " + (ENTRY % "").replace("/models/m", path) + " }"

    assert models_config.parse(text).models[0].base_path == path


def test_the_deprecated_type_stands_for_the_platform() -> None:
    text = 'model_config_list { config { name: "m" base_path: "/m" model_type: TENSORFLOW } }'

    assert models_config.parse(text).models[0].platform == models_config.PLATFORM


def test_a_logging_config_is_accepted_and_kept() -> None:
    model = parse_one(
        'logging_config { log_collector_config { type: "x" filename_prefix: "/tmp/y" } '
        "sampling_config { sampling_rate: 0.5 } }"
    )
    config = ModelsConfig(models=(model,))

    assert 'filename_prefix: "/tmp/y"' in model.logging
    assert models_config.parse(models_config.render(config)) == config
    assert models_config.from_message(models_config.to_message(config)) == config


@pytest.mark.parametrize(
    ("text", "config"),
    [
        ("# nothing yet\n", ModelsConfig(is_set=False, header="# nothing yet\n")),
        ("", ModelsConfig(is_set=False)),
        ("model_config_list { }", ModelsConfig()),
        ("model_config_list: { },", ModelsConfig()),
    ],
)
def test_no_list_is_not_an_empty_list(text: str, config: ModelsConfig) -> None:
    assert models_config.parse(text) == config
    assert models_config.parse(models_config.render(config)) == config
    assert models_config.from_message(models_config.to_message(config), config.header) == config


def test_reading_a_configuration_needs_no_tensorflow() -> None:
    code = "import sys, serving.models_config, serving.launch; print('tensorflow' in sys.modules)"

    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )

    assert done.stdout.strip() == "False"

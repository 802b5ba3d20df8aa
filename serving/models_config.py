"""models.config: which versions are served and where the labels point, as frozen dataclasses.

The text proto is TensorFlow Serving's own; this module reads it, says what is wrong with it and
writes it back. It does not look at which versions are on the disk or loaded.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from google.protobuf import text_format

from foundation.command_line import InputError
from tfs_client import contract
from tfs_client.protocol import messages as serving_pb2

PLATFORM: Final = "tensorflow"
"""The only model_platform that TensorFlow Serving brings with it."""

_PACKAGE: Final = serving_pb2.ModelServerConfig.DESCRIPTOR.file.package

_FIELD: Final = re.compile(r"\w+(?:\s|#.*)*")
"""A field's name and what lies between it and the next token."""

_ABSOLUTE: Final = re.compile(r"/|[A-Za-z][0-9A-Za-z.]*://")
"""An absolute path or a URI, as TensorFlow tells one from a relative path."""


class ConfigError(InputError):
    """A models.config that cannot be served.

    Attributes:
        served_text: TensorFlow Serving's own words for the same fault, for callers of its API.
        logged_text: what it logs before them about a text that it cannot parse; else empty.
    """

    def __init__(self, message: str, served_text: str, logged_text: str = "") -> None:
        super().__init__(message)
        self.served_text = served_text
        self.logged_text = logged_text


@dataclass(frozen=True)
class Latest:
    """Serves the highest version numbers found, which is also what no policy at all means."""

    num_versions: int = 1


@dataclass(frozen=True)
class All:
    """Serves every version found."""


@dataclass(frozen=True)
class Specific:
    """Serves those of these versions that are found; an empty tuple unloads the model."""

    versions: tuple[int, ...]


Policy = Latest | All | Specific


@dataclass(frozen=True, kw_only=True)
class Model:
    """One `config { … }` entry."""

    name: str
    base_path: str
    """Absolute, as the server sees it: inside a container that is /models/<name>."""
    platform: str = PLATFORM
    policy: Policy = Latest()
    labels: Mapping[str, int] = field(default_factory=dict)
    """Label → version."""
    logging: str = ""
    """logging_config as text proto, kept as it is."""


@dataclass(frozen=True, kw_only=True)
class ModelsConfig:
    """A whole models.config."""

    models: tuple[Model, ...] = ()
    is_set: bool = True
    """False where there is no list at all, on which TensorFlow Serving takes no action. An empty
    list, by contrast, unloads everything."""
    header: str = ""
    """The comment lines before the first setting, each with its `#`, kept when rendering."""

    def model(self, name: str) -> Model:
        """The entry of this name.

        Raises:
            KeyError: no model of this name is listed.
        """
        for model in self.models:
            if model.name == name:
                return model
        raise KeyError(name)


def read(path: Path) -> ModelsConfig:
    """Reads and validates a models.config.

    Raises:
        ConfigError: not a models.config, or one that TensorFlow Serving would refuse; names the
            file and, where the text itself is at fault, line and column.
        OSError: the file cannot be read.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"{path}: Expected UTF-8 text. Received: byte {error.start} is not. "
            "Write the file as plain text, see serving/models.config.",
            f"Invalid protobuf file: '{path}'",
        ) from error
    try:
        return parse(text)
    except ConfigError as error:
        if error.logged_text:
            told = f"Invalid protobuf file: '{path}'"
            raise ConfigError(f"{path}:{error}", told, error.logged_text) from error
        raise ConfigError(f"{path}: {error}", error.served_text) from error


def parse(text: str) -> ModelsConfig:
    """Parses and validates the text of a models.config.

    Raises:
        ConfigError: begins with line:column where the text is not a ModelServerConfig; otherwise
            one that TensorFlow Serving would refuse.
    """
    message = serving_pb2.ModelServerConfig()
    try:
        text_format.Parse(text, message)
    except text_format.ParseError as error:
        where = f"{error.GetLine()}:{error.GetColumn()}" if error.GetLine() else "1:1"
        told = str(error).split(" : ", 1)[-1].replace("\n", " ")
        told = told.replace(f'"{_PACKAGE}.', '"tensorflow.serving.')
        raise ConfigError(
            f"{where}: Expected a ModelServerConfig in protobuf text format. Received: {told} "
            "Correct that line, see serving/models.config for the form.",
            f"Invalid protobuf file: {told}",
            "Error parsing text-format tensorflow.serving.ModelServerConfig: "
            f"{_served_place(text, error)}: {told}",
        ) from error
    config = from_message(message, header=_header(text))
    check_list(config.models)
    check_platforms(config.models)
    return config


def _served_place(text: str, error: text_format.ParseError) -> str:
    """Line and column of a fault as protobuf for C++ counts them.

    Where a field is not known, that is the token after its name.
    """
    line, column = error.GetLine() or 1, error.GetColumn() or 1
    if "has no field named" in str(error):
        start = sum(len(one) for one in text.splitlines(keepends=True)[: line - 1]) + column - 1
        name = _FIELD.match(text, start)
        if name is not None:
            before = text[: name.end()]
            line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
    return f"{line}:{column}"


def from_message(message: serving_pb2.ModelServerConfig, header: str = "") -> ModelsConfig:
    """Converts a message, without `check_list` and `check_platforms`.

    Raises:
        ConfigError: a custom configuration, or model_type and model_platform that contradict each
            other.
    """
    if message.WhichOneof("config") == "custom_model_config":
        raise ConfigError(
            "Expected model_config_list. Received: custom_model_config. "
            "List the models in model_config_list { config { … } }.",
            "ModelServer does not yet support custom model config.",
        )
    models = tuple(_model(entry) for entry in message.model_config_list.config)
    return ModelsConfig(models=models, is_set=message.HasField("config"), header=header)


def to_message(config: ModelsConfig) -> serving_pb2.ModelServerConfig:
    """Converts to the message that files and reload requests carry."""
    message = serving_pb2.ModelServerConfig()
    if not config.is_set:
        return message
    message.model_config_list.SetInParent()
    for model in config.models:
        entry = message.model_config_list.config.add(
            name=model.name, base_path=model.base_path, model_platform=model.platform
        )
        match model.policy:
            case Latest(1):
                pass
            case Latest(count):
                entry.model_version_policy.latest.num_versions = count
            case All():
                entry.model_version_policy.all.SetInParent()
            case Specific(versions):
                entry.model_version_policy.specific.SetInParent()
                entry.model_version_policy.specific.versions.extend(versions)
        for label, version in model.labels.items():
            entry.version_labels[label] = version
        if model.logging:
            text_format.Parse(model.logging, entry.logging_config)
    return message


def render(config: ModelsConfig) -> str:
    """Writes a models.config in the layout of serving/models.config, the header first."""
    lines = [config.header.rstrip("\n")] if config.header else []
    if not config.is_set:
        return "".join(f"{line}\n" for line in lines)
    lines.append("model_config_list {")
    for model in config.models:
        lines += [
            "  config {",
            f"    name: {_quoted(model.name)}",
            f"    base_path: {_quoted(model.base_path)}",
            f"    model_platform: {_quoted(model.platform)}",
        ]
        if model.policy != Latest(1):
            lines.append(f"    model_version_policy {{ {_policy_text(model.policy)} }}")
        lines += [
            f"    version_labels {{ key: {_quoted(label)} value: {version} }}"
            for label, version in model.labels.items()
        ]
        if model.logging:
            lines.append(f"    logging_config {{ {model.logging} }}")
        lines.append("  }")
    lines.append("}")
    return "\n".join(lines) + "\n"


def folder_of(model: Model, models: Path) -> Path:
    """Where a model's versions lie on this machine; base_path is the path inside the container.

    Args:
        model: as it is configured.
        models: the store, as this machine sees it.

    Raises:
        InputError: base_path is not below the place where the store is mounted.
    """
    inside = model.base_path.rstrip("/")
    if inside.startswith(contract.MODEL_STORE + "/"):
        return models / inside.removeprefix(contract.MODEL_STORE + "/")
    raise InputError(
        f"Expected base_path of {model.name} under {contract.MODEL_STORE}/, where the store is "
        f"mounted. Received: {model.base_path}. Write {contract.MODEL_STORE}/{model.name}."
    )


def _policy_text(policy: Policy) -> str:
    match policy:
        case Latest(count):
            return f"latest {{ num_versions: {count} }}"
        case All():
            return "all { }"
        case Specific(versions):
            return " ".join(["specific {", *(f"versions: {v}" for v in versions), "}"])


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def _header(text: str) -> str:
    lines: list[str] = []
    for line in text.splitlines():
        if line.strip() and not line.lstrip().startswith("#"):
            break
        lines.append(line)
    while lines and not lines[-1].strip():
        lines.pop()
    return "\n".join(lines) + "\n" if lines else ""


def _model(entry: serving_pb2.ModelConfig) -> Model:
    chosen = entry.model_version_policy
    policy: Policy
    match chosen.WhichOneof("policy_choice"):
        case "all":
            policy = All()
        case "specific":
            policy = Specific(tuple(dict.fromkeys(chosen.specific.versions)))
        case _:
            policy = Latest(chosen.latest.num_versions or 1)
    logging = ""
    if entry.HasField("logging_config"):
        logging = text_format.MessageToString(entry.logging_config, as_one_line=True)
    return Model(
        name=entry.name,
        base_path=entry.base_path,
        platform=_platform(entry),
        policy=policy,
        labels=dict(sorted(entry.version_labels.items())),
        logging=logging,
    )


def _platform(entry: serving_pb2.ModelConfig) -> str:
    if entry.model_type == serving_pb2.MODEL_TYPE_UNSPECIFIED:
        return entry.model_platform
    if entry.model_platform:
        raise ConfigError(
            f"Expected model_type or model_platform for {entry.name}. Received: both. "
            "Remove model_type, which is deprecated.",
            "Illegal setting both ModelServerConfig::model_type (deprecated) and "
            "ModelServerConfig::model_platform.",
        )
    if entry.model_type != serving_pb2.TENSORFLOW:
        raise ConfigError(
            f'Expected model_platform: "{PLATFORM}" for {entry.name}. Received: '
            f"model_type={entry.model_type}. Write the platform instead of the type.",
            f"ModelServerConfig::model_type choice {entry.model_type} not supported.",
        )
    return PLATFORM


def check_list(models: Sequence[Model]) -> None:
    """Refuses what TensorFlow Serving refuses about names and paths, in its order.

    Raises:
        ConfigError: a model listed twice, or a base_path that is not absolute.
    """
    seen: set[str] = set()
    for model in models:
        if model.name in seen:
            raise ConfigError(
                f"Expected each model once. Received: {model.name} twice. "
                "Merge the two config { … } entries: versions and labels go into one.",
                f"Illegal to list model {model.name} multiple times in config list",
            )
        seen.add(model.name)
    for model in models:
        if not _ABSOLUTE.match(model.base_path):
            raise ConfigError(
                f"Expected an absolute base_path for {model.name}. Received: "
                f'base_path="{model.base_path}". Write the path as the server sees it, for example '
                f'"/models/{model.name}".',
                f"Expected model {model.name} to have an absolute path or URI; "
                f"got base_path()={model.base_path}",
            )


def check_platforms(models: Sequence[Model]) -> None:
    """Refuses any platform but TensorFlow, and none.

    Raises:
        ConfigError: served_text is what TensorFlow Serving says of a model that is new to it.
    """
    for model in models:
        if not model.platform:
            raise ConfigError(
                f'Expected model_platform: "{PLATFORM}" for {model.name}. Received: none. '
                "Add that line to its entry.",
                "Illegal setting neither ModelServerConfig::model_type (deprecated) nor "
                f"ModelServerConfig::model_platform, model name is {model.name}",
            )
        if model.platform != PLATFORM:
            raise ConfigError(
                f'Expected model_platform: "{PLATFORM}" for {model.name}. Received: '
                f'"{model.platform}". No other platform is built into TensorFlow Serving.',
                f"Model {model.name} requests unsupported platform {model.platform}",
            )

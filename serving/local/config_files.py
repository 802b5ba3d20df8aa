"""The configuration files that flags name besides models.config: batching, TLS and monitoring.

tensorflow-serving-api does not bring their messages, so they are declared here, in a pool of their
own. Names are TensorFlow Serving's; field numbers do not matter in text form.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any, Final

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format

from serving.local.errors import refuse

_log = logging.getLogger(__name__)

_Field = descriptor_pb2.FieldDescriptorProto


def _message(name: str, **fields: Any) -> descriptor_pb2.DescriptorProto:
    """A message whose fields are numbered in the order given.

    A field is a scalar type, the name of another message, or a list of one of them.
    """
    message = descriptor_pb2.DescriptorProto(name=name)
    for number, (field, kind) in enumerate(fields.items(), start=1):
        added = message.field.add(name=field, number=number, label=_Field.LABEL_OPTIONAL)
        if isinstance(kind, list):
            added.label = _Field.LABEL_REPEATED
            (kind,) = kind
        if isinstance(kind, str):
            added.type = _Field.TYPE_MESSAGE
            added.type_name = f".{_PACKAGE}.{kind}"
        else:
            added.type = kind
    return message


_PACKAGE: Final = "tensorflow.serving"
_STRING: Final = _Field.TYPE_STRING
_BOOL: Final = _Field.TYPE_BOOL
_INT64: Final = _Field.TYPE_INT64

_FILE: Final = descriptor_pb2.FileDescriptorProto(
    name="config_files.proto",
    package=_PACKAGE,
    syntax="proto3",
    message_type=[
        _message(
            "SSLConfig",
            server_key=_STRING,
            server_cert=_STRING,
            custom_ca=_STRING,
            client_verify=_BOOL,
        ),
        _message("PrometheusConfig", enable=_BOOL, path=_STRING),
        _message("MonitoringConfig", prometheus_config="PrometheusConfig"),
        # google.protobuf's wrappers; in text form only their one field shows.
        _message("Int64Value", value=_INT64),
        _message("StringValue", value=_STRING),
        _message("BoolValue", value=_BOOL),
        _message(
            "BatchingParameters",
            max_batch_size="Int64Value",
            batch_timeout_micros="Int64Value",
            max_enqueued_batches="Int64Value",
            num_batch_threads="Int64Value",
            thread_pool_name="StringValue",
            allowed_batch_sizes=[_INT64],
            pad_variable_length_inputs=_BOOL,
            max_execution_batch_size="Int64Value",
            enable_large_batch_splitting="BoolValue",
        ),
    ],
)

_POOL: Final = descriptor_pool.DescriptorPool()
_POOL.AddSerializedFile(_FILE.SerializeToString())


def read(path: str, message: str) -> Any:
    """Reads a file in protobuf's text form.

    Args:
        path: the file.
        message: SSLConfig, MonitoringConfig or BatchingParameters.

    Raises:
        ServingError: INVALID_ARGUMENT, the file does not hold such a message.
        OSError: it cannot be read.
    """
    descriptor = _POOL.FindMessageTypeByName(f"{_PACKAGE}.{message}")
    parsed = message_factory.GetMessageClass(descriptor)()
    try:
        return text_format.Parse(Path(path).read_text(encoding="utf-8"), parsed)
    except (text_format.ParseError, UnicodeDecodeError) as error:
        _log.error("%s: expected %s in protobuf text form: %s", path, message, error)
        refuse(f"Invalid protobuf file: '{path}'")

"""Whom tfs asks: server, model and version; and what it says where one of them is not there."""

from __future__ import annotations

import argparse
import difflib
import sys
from typing import Any

from tfs_client import contract
from tfs_client.answers import Metadata
from tfs_client.cli.inputs import unreadable
from tfs_client.cli.output import say
from tfs_client.client import Client
from tfs_client.errors import (
    CallError,
    LabelNotFoundError,
    NotFoundError,
    RequestError,
    TfsError,
)
from tfs_client.flags import connection_arguments


def connection(arguments: argparse.Namespace) -> dict[str, Any]:
    """The client's arguments.

    Raises:
        RequestError: the token's file cannot be read.
        TargetError: as of connection_arguments.
    """
    return {
        "target": arguments.target,
        "timeout_s": arguments.timeout_s,
        **_secured(arguments),
    }


def _secured(arguments: argparse.Namespace) -> dict[str, Any]:
    try:
        return connection_arguments(arguments)
    except OSError as error:  # of no other file
        file = arguments.token_file
        raise unreadable("--token-file as a file with a token", file, error) from error


def version_of(arguments: argparse.Namespace) -> dict[str, Any]:
    """The version asked for: by number, the latest, or by label, which is `stable` unless said."""
    if arguments.latest:
        return {}
    if arguments.version is not None:
        return {"version": arguments.version}
    return {"label": contract.LABEL_STABLE if arguments.label is None else arguments.label}


def find(client: Client, arguments: argparse.Namespace) -> tuple[dict[str, Any], Metadata]:
    """Who answers: the version asked for, or the latest where no label was named.

    Returns:
        The client's arguments that ask for it, and its metadata.

    Raises:
        RequestError: the server does not have the model.
        CallError: nobody answers, or the version is not there; its hint says which are.
    """
    asked = version_of(arguments)
    try:
        return asked, client.metadata(model=arguments.model, **asked)
    except LabelNotFoundError as error:
        if arguments.label is not None:
            raise explained(client, arguments, error) from error
    except NotFoundError as error:
        raise explained(client, arguments, error) from error
    try:
        found = client.metadata(model=arguments.model)
    except NotFoundError as error:
        raise explained(client, arguments, error) from error
    say(
        f"tfs: {arguments.target} knows no label {contract.LABEL_STABLE!r} of {arguments.model!r}: "
        f"its latest version answers, {found.version}",
        sys.stderr,
    )
    return {}, found


def explained(client: Client, arguments: argparse.Namespace, error: CallError) -> TfsError:
    """The error of a version that is not there, with what is: the model may be misspelt.

    TensorFlow Serving lists no models. The states of a model's versions are asked for: it has them
    for every model that it knows.
    """
    try:
        rows = client.status(model=arguments.model)
    except NotFoundError as none:
        return no_model(arguments, none, error.waited_s)
    except TfsError:
        return error
    there = ", ".join(f"{row.version} ({row.state})" for row in rows) or "none"
    what = "the version that was asked for"
    if isinstance(error, LabelNotFoundError):
        what = f"a version with the label {arguments.label or contract.LABEL_STABLE!r}"
    error.hint = (
        f"the model is there, {what} is not. Its versions: {there}; --latest asks the latest one"
    )
    return error


def no_model(
    arguments: argparse.Namespace, error: NotFoundError, waited_s: float | None = None
) -> RequestError:
    """The error of a model that the server does not know, and how long it was waited for."""
    near = difflib.get_close_matches(arguments.model, [contract.MODEL_NAME], 1)
    its = f"did you mean {near[0]!r}? Its" if near and near[0] != arguments.model else "its"
    waited = "" if waited_s is None else f" (waited {waited_s:g} s)"
    return RequestError(
        f"There is no model {arguments.model!r} at {arguments.target}: the server answered "
        f"{error.code.name} ({error.details}); {its} models are those of its models.config: "
        f"give one with --model{waited}"
    )

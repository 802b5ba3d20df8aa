"""Runs kubectl; its errors become one line that says what to do."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from foundation.command_line import InputError

NAMESPACE: Final = "image-classifier"
"""Where k8s/base puts everything."""

FIELD_MANAGER: Final = "image-classifier-rollout"
"""Field manager of what a rollout writes."""

LABELS: Final = {"app.kubernetes.io/part-of": "image-classifier"}
"""Labels of every object that is created here."""

REQUEST_S: Final = 15
"""Timeout of each request to the API server, in seconds."""


def current_context() -> str:
    """The name of the kubeconfig's current context, without asking a cluster.

    Returns:
        empty where none is set, as inside a pod, or where kubectl is not installed.
    """
    found = shutil.which("kubectl")
    if found is None:
        return ""
    argv = [found, "config", "current-context"]
    try:
        done = subprocess.run(
            argv, capture_output=True, text=True, timeout=REQUEST_S, check=False, errors="replace"
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


class KubectlError(InputError):
    """kubectl failed; the message is one line.

    Attributes:
        received: what kubectl said.
    """

    received = ""


class NoClusterError(KubectlError):
    """No API server answers, or none is configured."""


class ForbiddenError(KubectlError):
    """The user has no right to do this."""


class NotFoundError(KubectlError):
    """No such object."""


class ConflictError(KubectlError):
    """Somebody else has changed or created the object, or owns a field of it."""


class Kubectl:
    """Runs kubectl in one namespace of one cluster.

    Args:
        namespace: of all objects.
        context: of the kubeconfig; empty for the current one.

    Raises:
        InputError: kubectl is not installed.
    """

    def __init__(self, *, namespace: str = NAMESPACE, context: str = ""):
        found = shutil.which("kubectl")
        if found is None:
            raise InputError(
                "Expected kubectl on the PATH. Received: none. Install it "
                "(kubernetes.io/docs/tasks/tools), with a kubeconfig for the cluster."
            )
        self.namespace = namespace
        self.context = context
        self._base = [found, f"--namespace={namespace}"]
        if context:
            self._base.append(f"--context={context}")

    def argv(self, *arguments: str) -> list[str]:
        """A whole command line, for callers that run it themselves."""
        return [*self._base, *arguments]

    def run(
        self,
        *arguments: str,
        stdin: str = "",
        timeout_s: float = 3.0 * REQUEST_S,
        warned: Callable[[str], None] | None = None,
    ) -> str:
        """Runs a command to its end; returns its stdout.

        Args:
            arguments: of kubectl.
            stdin: what it reads.
            timeout_s: how long it may take.
            warned: called with each warning of the API server.

        Raises:
            KubectlError: or one of its children, by what kubectl said.
        """
        argv = self.argv(f"--request-timeout={REQUEST_S}s", *arguments)
        try:
            # A session of its own keeps Ctrl-C from kubectl, with which this process has to undo.
            done = subprocess.run(
                argv,
                input=stdin,
                capture_output=True,
                text=True,
                timeout=timeout_s,
                check=False,
                start_new_session=True,
            )
        except subprocess.TimeoutExpired:
            raise NoClusterError(
                f"Expected the cluster to answer within {timeout_s:g} s. Received: nothing, to "
                f"kubectl {' '.join(arguments[:2])}. {self._look()}"
            ) from None
        if done.returncode:
            raise self.error(done.stderr, arguments)
        if warned is not None:
            for line in done.stderr.splitlines():
                if line.startswith("Warning: "):
                    warned(line.removeprefix("Warning: "))
        return done.stdout

    def get(self, kind: str, name: str) -> dict[str, Any] | None:
        """One object; None where no object has this name."""
        try:
            found: dict[str, Any] = json.loads(self.run("get", kind, name, "--output=json"))
        except NotFoundError:
            return None
        return found

    def list(self, kind: str, selector: Mapping[str, str]) -> list[dict[str, Any]]:
        """All objects with these labels."""
        labels = ",".join(f"{key}={value}" for key, value in selector.items())
        found = json.loads(self.run("get", kind, f"--selector={labels}", "--output=json"))
        items: list[dict[str, Any]] = found["items"]
        return items

    def put(self, verb: str, document: Mapping[str, Any]) -> dict[str, Any]:
        """Creates or replaces an object; returns it as it is then.

        Args:
            verb: `create` or `replace`; with `replace`, a resourceVersion in the metadata must be
                the present one.
            document: the object.

        Raises:
            ConflictError: the object exists already, or was changed meanwhile.
        """
        done: dict[str, Any] = json.loads(
            self.run(
                *(verb, "--filename=-", "--output=json", f"--field-manager={FIELD_MANAGER}"),
                stdin=json.dumps(document),
            )
        )
        return done

    def error(self, stderr: str, arguments: Sequence[str]) -> KubectlError:
        """The error for what kubectl said: one line, with what to do."""
        lines = [line.strip() for line in stderr.splitlines() if line.strip()]
        text = _short([line for line in lines if not _TALK.match(line)] or lines)
        if kinds := dict.fromkeys(_NO_KIND.findall(stderr)):
            named = ", ".join(" ".join(filter(None, kind)) for kind in kinds)
            return KubectlError(
                f"Expected a cluster that knows all kinds of the manifests. Received: no {named}. "
                "Install what brings them (each component says at its top what it needs), or leave "
                "that component out."
            )
        if _NO_CLUSTER.search(stderr):
            return NoClusterError(
                f"Expected a Kubernetes cluster to answer. Received: {text}. {self._look()}"
            )
        if 'forbidden: User "' in stderr:
            return ForbiddenError(
                f"Expected the right to do this. Received: {text}. Ask an administrator; the "
                "Role image-classifier-operators has what rollouts need, and applying needs more."
            )
        if "(NotFound)" in stderr:
            return NotFoundError(f"Expected an object that exists. Received: {text}.")
        if _CONFLICT.search(stderr):
            text = text.partition(" Please review the fields above")[0]
            conflict = ConflictError(
                f"Expected nobody else to change it meanwhile. Received: {text}. Start again."
            )
            conflict.received = text
            return conflict
        return KubectlError(f"Expected kubectl {arguments[0]} to succeed. Received: {text}.")

    def _look(self) -> str:
        context = f"the context {self.context}" if self.context else "the current context"
        return f"Look at {context}: kubectl config get-contexts"


_TALK: Final = re.compile(r"[EWI]\d{4} |Warning: ")
"""Lines that kubectl's libraries log before the error itself."""

_NO_CLUSTER: Final = re.compile(
    r"connection to the server .* was refused|Unable to connect to the server|no such host"
    r"|no configuration has been provided|i/o timeout|connection refused|context .* does not exist"
    r"|Client\.Timeout|context deadline exceeded|TLS handshake timeout|EOF$"
    r"|You must be logged in|Unauthorized",
    re.MULTILINE,
)
_CONFLICT: Final = re.compile(
    r"\(Conflict\)|\(AlreadyExists\)|Apply failed with \d+ conflict|object has been modified"
)
_NO_KIND: Final = re.compile(
    r"no matches for kind \"(\w+)\" in version \"([^\"]+)\"|doesn't have a resource type \"(\w+)\""
    r"|could not find the requested resource \(\w+ ([\w.-]+)"
)


def _short(lines: Sequence[str]) -> str:
    text = " ".join(lines).removeprefix("error: ").removeprefix("Error from server ")
    text = text.rstrip(".")
    return text if len(text) <= 400 else f"{text[:397]}..."

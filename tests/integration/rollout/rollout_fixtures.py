"""Servers of model `line`, whose version N answers x / 2 + N, and somebody who leads them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import tensorflow as tf

from serving.fleet.config_file import ConfigFile
from serving.rollout import states
from serving.rollout.__main__ import main
from serving.rollout.journal import Change, Journal
from serving.rollout.states import State
from tests import tiny_models
from tests.integration.local_server_fixtures import RunningServer, line_config, save_line

FLAGS = ("--allow_version_labels_for_unavailable_models=true", "--max_num_load_retries=0")
"""Without retries, a version that does not load is END at once, with its error."""

HEADER = "# The header stays.\n"

START = line_config("specific { versions: 1 }", {"stable": 1})

BROKEN = 7
"""A version that does not load."""

FATAL = 8
"""A version that ends the server while it is loaded."""


class _Fatal(tf.Module):
    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="x")])
    def serve(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        with tf.control_dependencies([tf.raw_ops.Abort(error_msg="on purpose")]):
            return {"y": tf.identity(x)}


def save_store(models: Path) -> Path:
    """Versions 1 to 4 of line that are sound, one that does not load and one that is fatal."""
    for version in (1, 2, 3, 4):
        save_line(models / "line" / str(version), float(version))
    broken = models / "line" / str(BROKEN)
    broken.mkdir()
    (broken / "saved_model.pb").write_bytes(b"no graph")
    module = _Fatal()
    folder = tiny_models.save(module, models / "line" / str(FATAL), serving_default=module.serve)
    tiny_models.add_warmup(
        folder,
        'model_spec { name: "line" } inputs { key: "x" value { dtype: DT_FLOAT float_val: 1 '
        "tensor_shape { dim { size: 1 } } } }",
    )
    return models


class Operator:
    """Somebody with a models.config and the command line.

    Args:
        folder: for models.config.
        servers: whom it is for.
    """

    def __init__(self, folder: Path, servers: Sequence[RunningServer]):
        self.config = folder / "models.config"
        if not self.config.exists():
            self.config.write_text(HEADER + START)
        self.servers = servers

    def arguments(self, verb: str, *flags: str) -> list[str]:
        """Of the command line."""
        found = verb.split()
        found += ["--config", str(self.config), "--model", "line", *flags]
        if found[0] == "canary" and "--force" not in flags:
            found += ["--force", "--why", "a test"]
        if found[0] != "history":
            for server in self.servers:
                found += ["--target", f"127.0.0.1:{server.ports['grpc']}"]
        if found[0] not in ("history", "status") and "--timeout-s" not in flags:
            found += ["--timeout-s", "30"]
        return found

    def __call__(self, verb: str, *flags: str) -> int:
        """Runs the command here; returns its exit code."""
        return main(self.arguments(verb, *flags))

    def state(self) -> State:
        """What the file says."""
        return states.read(ConfigFile(self.config).read(), "line")

    def history(self) -> list[Change]:
        """What was written down."""
        return Journal(ConfigFile(self.config)).history()[0]

    def pending(self) -> Change | None:
        """What a killed command left."""
        return Journal(ConfigFile(self.config)).pending()

    def check_legal(self) -> None:
        """The file can be read, keeps its header, and every label points at what is served."""
        assert self.config.read_text().startswith(HEADER)
        self.state()


def answering(server: RunningServer, label: str) -> int | str:
    """The version that answers a label, or the code of the refusal."""
    found = server.line(f'version_label: "{label}"', (0.0,))
    return found if isinstance(found, str) else int(found[0])


def reset(servers: Sequence[RunningServer]) -> None:
    """Back to version 1 alone."""
    for server in servers:
        server.reload(line_config("specific { versions: 1 }"))
        server.wait_loaded(1)
        server.reload(START)

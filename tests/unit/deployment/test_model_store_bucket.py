"""The model store in a bucket: the script that brings versions into a pod, run as the pod runs it.

By this machine's shell, and by BusyBox, which is the shell of the image, where it is found.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import time
from pathlib import Path

import pytest
import yaml

from serving.models_config import PLATFORM
from tests.unit.deployment import pod_tools
from tests.waiting import eventually
from tfs_client import contract

CARD = Path("assets.extra") / "model_card.json"
STABLE = 'version_labels { key: "stable" value: 1 }'


def entry(model: str, policy: str, labels: str = STABLE) -> str:
    """A model's part of a models.config."""
    return (
        f'config {{ name: "{model}" base_path: "{contract.MODEL_STORE}/{model}" '
        f'model_platform: "{PLATFORM}" model_version_policy {{ {policy} }} {labels} }}'
    )


class Bucket:
    """A store, a pod's /models and the script between them."""

    def __init__(self, folder: Path, tools: pod_tools.Tools):
        self.folder = folder
        self.tools = tools
        self.config = folder / "models.config"
        self.list("versions: 1")
        self.environ = {
            "PATH": tools.path,
            "HOME": str(folder),
            "RCLONE_CONFIG": str(folder / "rclone.conf"),
            "RCLONE_CONFIG_STORE_TYPE": "alias",
            "RCLONE_CONFIG_STORE_REMOTE": str(folder),
            "SOURCE": "store:remote",
            "CONFIG": str(self.config),
            "STORE": str(folder / "models"),
            "INTERVAL_S": "0.1",
        }

    def models(self, *entries: str) -> None:
        """What models.config serves."""
        text = "\n".join(entries)
        self.config.write_text(f"# versions: 99 is only said here\nmodel_config_list {{ {text} }}")

    def list(self, versions: str) -> None:
        """One model, with these versions."""
        self.models(entry(contract.MODEL_NAME, f"specific {{ {versions} }}"))

    def upload(self, version: int, model: str = contract.MODEL_NAME) -> Path:
        """A whole version in the store, with its card."""
        folder = self.folder / "remote" / model / str(version)
        files = {"saved_model.pb": b"graph", "variables/variables.index": b"index"}
        for name, content in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)
        card = {
            "version": version,
            "files": {
                name: {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
                for name, content in files.items()
            },
        }
        (folder / CARD).parent.mkdir()
        (folder / CARD).write_text(json.dumps(card, indent=2))
        return folder

    def command(self, verb: str) -> list[str]:
        """The script, as a pod starts it."""
        return [*self.tools.sh, str(SCRIPT), verb]

    def once(self) -> subprocess.CompletedProcess[str]:
        """What the init container does."""
        return subprocess.run(
            self.command("once"),
            env=self.environ,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )

    @property
    def local(self) -> Path:
        """The pod's copy of the usual model."""
        return self.folder / "models" / contract.MODEL_NAME

    def published(self, model: str = contract.MODEL_NAME) -> list[str]:
        """What the server would see."""
        folder = self.folder / "models" / model
        return sorted(one.name for one in folder.iterdir() if one.name.isdigit())


SCRIPT = pod_tools.STORE / "publish-versions.sh"


@pytest.fixture(scope="module", params=pod_tools.SHELLS)
def tools(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> pod_tools.Tools:
    return pod_tools.make(request.param, tmp_path_factory.mktemp("tools"))


@pytest.fixture
def bucket(tools: pod_tools.Tools, tmp_path: Path) -> Bucket:
    return Bucket(tmp_path, tools)


def test_listed_versions_are_published_and_others_are_not(bucket: Bucket) -> None:
    for version in (1, 2, 3):
        bucket.upload(version)
    bucket.list("versions: 1 versions: 3")
    done = bucket.once()
    assert done.returncode == 0, done.stderr
    assert bucket.published() == ["1", "3"]
    assert (bucket.local / "1" / "variables" / "variables.index").read_bytes() == b"index"
    assert [one.name for one in bucket.local.iterdir() if one.name.startswith(".")] == []


def test_versions_written_as_a_list_are_read_too(bucket: Bucket) -> None:
    bucket.upload(1)
    bucket.upload(12)
    bucket.list("versions: [1, 12]")
    assert bucket.once().returncode == 0
    assert bucket.published() == ["1", "12"]


def test_a_half_synchronised_version_waits_and_is_published_when_it_is_whole(
    bucket: Bucket,
) -> None:
    folder = bucket.upload(1)
    late = folder / "variables" / "variables.index"
    content = late.read_bytes()
    late.unlink()
    done = bucket.once()
    assert done.returncode == 1
    assert "version 1: not whole: variables/variables.index" in done.stderr
    assert bucket.published() == []
    late.write_bytes(content)
    assert bucket.once().returncode == 0
    assert bucket.published() == ["1"]


def test_a_version_without_its_card_is_not_published(bucket: Bucket) -> None:
    (bucket.upload(1) / "assets.extra" / "model_card.json").unlink()
    done = bucket.once()
    assert done.returncode == 1
    why, lacks = done.stderr.splitlines()
    assert why.startswith("publish-versions: image_classifier, version 1: no assets.extra/model_")
    assert lacks.endswith("version 1, where the label stable points, is not there")


def test_a_corrupted_file_is_not_published_and_not_kept(bucket: Bucket) -> None:
    (bucket.upload(1) / "saved_model.pb").write_bytes(b"grapg")
    done = bucket.once()
    assert done.returncode == 1
    assert "not whole: saved_model.pb" in done.stderr
    assert not (bucket.local / ".incoming-1").exists()


def test_a_version_that_is_not_there_does_not_keep_stable_from_starting(bucket: Bucket) -> None:
    bucket.upload(1)
    bucket.list("versions: 1 versions: 2")
    done = bucket.once()
    assert done.returncode == 0
    assert "version 2: cannot be fetched" in done.stderr
    assert bucket.published() == ["1"]


def test_an_empty_store_is_said_with_what_is_missing(bucket: Bucket) -> None:
    done = bucket.once()
    assert done.returncode == 1
    why, lacks = done.stderr.splitlines()
    fetched = "image_classifier, version 1: cannot be fetched from store:remote/image_classifier/1"
    assert why.startswith(f"publish-versions: {fetched}")
    assert lacks.endswith("version 1, where the label stable points, is not there")


def test_a_card_with_compact_json_and_more_files_than_it_names(bucket: Bucket) -> None:
    folder = bucket.upload(1)
    card = folder / "assets.extra" / "model_card.json"
    card.write_text(json.dumps(json.loads(card.read_text()), separators=(",", ":")))
    (folder / "assets.extra" / "gate.json").write_text("{}")
    done = bucket.once()
    assert done.returncode == 0, done.stderr
    assert (bucket.local / "1" / "assets.extra" / "gate.json").exists()


def test_a_version_that_stands_is_never_touched(bucket: Bucket) -> None:
    bucket.upload(1)
    assert bucket.once().returncode == 0
    (bucket.folder / "remote" / contract.MODEL_NAME / "1" / "saved_model.pb").write_bytes(
        b"another"
    )
    assert bucket.once().returncode == 0
    assert (bucket.local / "1" / "saved_model.pb").read_bytes() == b"graph"


def test_the_script_finds_what_the_deployment_mounts() -> None:
    text = SCRIPT.read_text(encoding="utf-8")
    assert "${CONFIG:-/etc/tensorflow_serving/models.config}" in text
    assert f"${{STORE:-{contract.MODEL_STORE}}}" in text
    assert f"s,^{contract.MODEL_STORE}/" in text
    component = yaml.safe_load((pod_tools.STORE / "kustomization.yaml").read_text())
    (scripts,) = component["configMapGenerator"]
    assert {*scripts["files"]} == {SCRIPT.name, pod_tools.READER.name}


# --- several models, and policies other than a list ---------------------------------------------


def test_each_model_gets_what_it_asks_for(bucket: Bucket) -> None:
    for model, versions in (("one", (1, 2)), ("deep/two", (3, 4)), ("three", (5, 6))):
        for version in versions:
            bucket.upload(version, model)
    bucket.models(
        entry("one", "specific { versions: 1 }"),
        entry("deep/two", "latest { num_versions: 1 }", labels=""),
        entry("three", "all { }", labels=""),
    )
    done = bucket.once()
    assert done.returncode == 0, done.stderr
    assert bucket.published("one") == ["1"]
    assert bucket.published("deep/two") == ["4"]
    assert bucket.published("three") == ["5", "6"]


def test_no_server_starts_while_one_of_its_models_has_no_version(bucket: Bucket) -> None:
    """TensorFlow Serving would wait for it, and poll nothing meanwhile."""
    bucket.upload(1)
    bucket.models(
        entry(contract.MODEL_NAME, "specific { versions: 1 }"),
        entry("other", "latest { num_versions: 1 }", labels=""),
    )
    done = bucket.once()
    assert done.returncode == 1
    assert "other: cannot list the versions in store:remote/other: " in done.stderr
    assert done.stderr.splitlines()[-1] == "publish-versions: other: no version is there"
    bucket.upload(7, "other")
    assert bucket.once().returncode == 0


def test_the_latest_version_is_the_latest_that_is_whole(bucket: Bucket) -> None:
    bucket.models(entry(contract.MODEL_NAME, "latest { num_versions: 2 }", labels=STABLE))
    for version in (1, 2, 10):
        folder = bucket.upload(version)
    (folder / CARD).unlink()
    done = bucket.once()
    assert done.returncode == 0, done.stderr
    assert bucket.published() == ["1", "2"]


def test_older_versions_than_the_latest_make_room_but_for_one(bucket: Bucket) -> None:
    bucket.models(entry(contract.MODEL_NAME, "latest { num_versions: 1 }", labels=""), OTHER)
    bucket.upload(1, "other")
    for version in (1, 2, 3, 10):
        bucket.upload(version)
        assert bucket.once().returncode == 0
    assert bucket.published() == ["10", "3"]
    assert bucket.published("other") == ["1"]


OTHER = entry("other", "specific { versions: 1 }")


@pytest.mark.parametrize("base_path", ["s3://bucket/x", "/models/../x", "/models/", "/data/x"])
def test_a_model_elsewhere_is_left_to_the_server(bucket: Bucket, base_path: str) -> None:
    bucket.upload(1, "other")
    elsewhere = entry("x", "all { }").replace(f"{contract.MODEL_STORE}/x", base_path)
    bucket.models(elsewhere, OTHER)
    done = bucket.once()
    assert done.returncode == 0, done.stderr
    assert f"base_path {base_path} is not below /models/: left to the server" in done.stderr
    assert {one.name for one in (bucket.folder / "models").iterdir()} == {"other"}


def test_a_file_that_cannot_be_read_is_said_with_its_place(bucket: Bucket) -> None:
    bucket.config.write_text("model_config_list {\n  config\n}\n")
    done = bucket.once()
    assert done.returncode == 1
    assert done.stderr == (
        f"publish-versions: {bucket.config}:3:1: Expected :, {{ or <. Received: }}\n"
    )


def test_a_config_without_a_label_stable_is_refused(bucket: Bucket) -> None:
    bucket.upload(1)
    bucket.models(entry(contract.MODEL_NAME, "specific { versions: 1 }", labels=""))
    done = bucket.once()
    assert done.returncode == 1
    assert 'Expected a label "stable"' in done.stderr


def test_the_sidecar_follows_changes_and_says_each_thing_once(
    bucket: Bucket, tmp_path: Path
) -> None:
    bucket.upload(1)
    bucket.list("versions: 1 versions: 2")
    log = tmp_path / "log"

    def says(words: str) -> None:
        eventually(lambda: words in log.read_text(), words)
        time.sleep(0.4)  # some more looks, which say nothing new

    with (
        log.open("w") as stderr,
        subprocess.Popen(bucket.command("always"), env=bucket.environ, stderr=stderr) as sidecar,
    ):
        try:
            says("version 2: cannot be fetched")
            assert bucket.published() == ["1"]
            bucket.upload(2)
            says("version 2 is published")
            assert bucket.published() == ["1", "2"]
            bucket.config.write_text("model_config_list [")
            says("Expected a value. Received: the end of the file")
        finally:
            sidecar.terminate()
    said = log.read_text().splitlines()
    # A look in the middle of an upload may find it half there.
    told = [line for line in said if "not whole" not in line and "(yet)" not in line]
    assert len(told) == len(set(told)) == 4, said

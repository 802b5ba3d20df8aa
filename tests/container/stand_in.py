"""Stand-ins for the images that cannot be pulled, each under its own tag.

python:3.11-slim-bookworm is Debian by debootstrap. The project's own image of tools is built on it
and becomes TensorFlow Serving's, for it has the local server under the name
tensorflow_model_server. Prometheus is Debian's package. Of Grafana there is none.
"""

from __future__ import annotations

import logging
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import yaml

from foundation.command_line import InputError
from serving.container.engine import GPU_IMAGE, IMAGE

_log = logging.getLogger("tests.container")

ROOT: Final = Path(__file__).resolve().parents[2]

FOLDER: Final = ROOT / "serving" / "container"

RECIPE: Final = "serving/container/python.Dockerfile"

TOOLS: Final = "image-classifier-tools:dev"

TRAINING: Final = "image-classifier-training:dev"

DEBIAN: Final = "bookworm"

CERTIFICATES: Final = Path("/etc/ssl/certs/ca-certificates.crt")

LABEL: Final = "image-classifier.stand-in"
"""On every stand-in, so that it is told from the real image."""

SERVING: Final = f"""\
FROM {TOOLS}
LABEL {LABEL}=serving
USER 0:0
WORKDIR /
RUN ["ln", "-s", "/usr/local/bin/tensorflow_model_server", "/usr/bin/tensorflow_model_server"]
ENTRYPOINT ["bash", "-c", "exit 64"]
"""
"""Like the real one: root, with an entrypoint of its own, which the tests override."""

PROMETHEUS: Final = f"""\
FROM {{base}}
LABEL {LABEL}=prometheus
COPY usr/bin/prometheus /bin/prometheus
RUN ["install", "-d", "-o", "65534", "-g", "65534", "/prometheus", "/etc/prometheus"]
WORKDIR /prometheus
USER 65534
ENTRYPOINT ["/bin/prometheus"]
"""


def compose_file() -> dict[str, Any]:
    """The stack as it is written."""
    found: dict[str, Any] = yaml.safe_load((FOLDER / "compose.yaml").read_text("utf-8"))
    return found


def python_image() -> str:
    """What python.Dockerfile is built from."""
    text = (ROOT / RECIPE).read_text("utf-8")
    (base,) = re.findall(r"^FROM (\S+:\S+) AS python$", text, re.MULTILINE)
    return str(base)


def prometheus_image() -> str:
    """What the stack asks for."""
    return str(compose_file()["services"]["prometheus"]["image"])


def engine() -> str:
    """The first engine that answers.

    Raises:
        InputError: none does.
    """
    for name in ("docker", "podman"):
        if (
            shutil.which(name)
            and not subprocess.run([name, "info"], capture_output=True).returncode
        ):
            return name
    raise InputError("Expected a container engine. Received: none that answers. Start docker.")


def holds(engine: str, image: str) -> bool:
    """Whether the engine has the image."""
    done = subprocess.run([engine, "image", "inspect", image], capture_output=True)
    return done.returncode == 0


def _is_stand_in(engine: str, image: str, name: str) -> bool:
    """Whether it is a stand-in that was made here."""
    shown = ["image", "inspect", f'--format={{{{index .Config.Labels "{LABEL}"}}}}', image]
    done = subprocess.run([engine, *shown], capture_output=True, text=True)
    return done.stdout.strip() == name


def build(engine: str, tag: str, *flags: str, context: Path = ROOT, recipe: str = RECIPE) -> None:
    """Builds an image as a person would; here with the machine's own network.

    Raises:
        InputError: it could not be built; says why.
    """
    command = [engine, "build", "--network=host", "-f", recipe, "-t", tag, *flags, "."]
    done = subprocess.run(command, cwd=context, capture_output=True, text=True)
    if done.returncode:
        last = " | ".join((done.stdout + done.stderr).strip().splitlines()[-8:])
        raise InputError(f"Expected {recipe} to become {tag}. Received: {last}")


def make_all(engine: str) -> None:
    """Makes a stand-in for each image that the engine does not hold, and the project's own ones.

    Raises:
        InputError: debootstrap or Debian's package of Prometheus cannot be had.
        subprocess.CalledProcessError: a step failed; it has said why.
    """
    make_server(engine)
    _log.info("building %s", TRAINING)
    build(engine, TRAINING, "--build-arg=PACKAGES=training")
    prometheus = prometheus_image()
    if not holds(engine, prometheus):
        _log.info("%s does not hold %s: making a stand-in", engine, prometheus)
        make_prometheus(engine, prometheus)


def make_server(engine: str) -> None:
    """The tools' image, and TensorFlow Serving's where the engine does not hold it; as make_all."""
    base = python_image()
    if not holds(engine, base):
        _log.info("%s does not hold %s: making a stand-in", engine, base)
        make_python(engine, base)
    _log.info("building %s", TOOLS)
    build(engine, TOOLS, "--build-arg=PACKAGES=tools")
    # A stand-in is made anew, so that it has the current tools.
    if not holds(engine, IMAGE) or _is_stand_in(engine, IMAGE, "serving"):
        _log.info("%s does not hold %s: making a stand-in", engine, IMAGE)
        _build_from(engine, SERVING, (IMAGE, GPU_IMAGE))


def make_python(engine: str, tag: str) -> None:
    """Debian with its own Python where python's official image has one, and pip."""
    if shutil.which("debootstrap") is None:
        raise InputError(
            f"Expected debootstrap, to make a stand-in for {tag}. Received: none. Install it "
            "(apt-get install debootstrap), or pull the real image."
        )
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch) / "root"
        packages = "--include=python3,python3-pip,python3-venv,ca-certificates"
        command = ["debootstrap", "--variant=minbase", packages, DEBIAN, str(root)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        for name in ("python", "python3"):
            (root / "usr" / "local" / "bin" / name).symlink_to("/usr/bin/python3")
        for marker in root.glob("usr/lib/python3*/EXTERNALLY-MANAGED"):
            marker.unlink()
        if CERTIFICATES.exists():
            # The authorities that this machine trusts, which may be more than pip's own list.
            shutil.copyfile(CERTIFICATES, root / CERTIFICATES.relative_to("/"))
            (root / "etc" / "pip.conf").write_text(f"[global]\ncert = {CERTIFICATES}\n")
        for waste in ("var/cache/apt/archives", "var/lib/apt/lists"):
            shutil.rmtree(root / waste)
        command = ["tar", "-C", str(root), "-c", "."]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as tar:
            labels = f"--change=LABEL {LABEL}=python"
            imported = [engine, "import", labels, "-", tag]
            subprocess.run(imported, stdin=tar.stdout, check=True, stdout=subprocess.DEVNULL)
        if tar.returncode:
            raise subprocess.CalledProcessError(tar.returncode, "tar")


def make_prometheus(engine: str, tag: str) -> None:
    """Debian's Prometheus; the one in build/prometheus if it is there."""
    stands = ROOT / "build" / "prometheus"
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        if not (stands / "usr" / "bin" / "prometheus").exists():
            stands = folder / "package"
            stands.mkdir()
            done = subprocess.run(["apt-get", "download", "-q", "prometheus"], cwd=stands)
            found = list(stands.glob("prometheus_*.deb"))
            if done.returncode or not found:
                raise InputError(
                    f"Expected Debian's package prometheus, to make a stand-in for {tag}. "
                    "Received: none. Run apt-get update, or pull the real image."
                )
            subprocess.run(["dpkg", "-x", str(found[0]), str(stands)], check=True)
        (folder / "usr" / "bin").mkdir(parents=True)
        shutil.copy2(stands / "usr" / "bin" / "prometheus", folder / "usr" / "bin" / "prometheus")
        _build_from(engine, PROMETHEUS.format(base=python_image()), (tag,), folder)


def _build_from(engine: str, text: str, tags: Sequence[str], context: Path | None = None) -> None:
    with tempfile.TemporaryDirectory() as empty:
        folder = context or Path(empty)
        (folder / "Dockerfile").write_text(text)
        build(engine, tags[0], context=folder, recipe="Dockerfile")
    for tag in tags[1:]:
        subprocess.run([engine, "tag", tags[0], tag], check=True)

"""The set-up: a project of a few small packages, whose environment is made by real pip and uv."""

from __future__ import annotations

import base64
import hashlib
import importlib.metadata
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from foundation.make import environment, made_of

ROOT = Path(__file__).resolve().parents[3]

BACKEND = """
import zipfile

def build_editable(wheel_directory, config_settings=None, metadata_directory=None):
    name = "tiny_client-1.0-py3-none-any.whl"
    with zipfile.ZipFile(f"{wheel_directory}/{name}", "w") as wheel:
        for path, text in (
            ("tiny_client.py", "HERE = True"),
            ("tiny_client-1.0.dist-info/METADATA", "Metadata-Version: 2.1\\nName: tiny-client\\nVersion: 1.0"),
            ("tiny_client-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any"),
            ("tiny_client-1.0.dist-info/RECORD", ""),
        ):
            wheel.writestr(path, text)
    return name
"""  # noqa: E501 - lines of METADATA

CLIENT = """
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]

[project]
name = "tiny-client"
version = "1.0"
"""


def _wheel(folder: Path, name: str, version: str, tag: str, files: dict[str, bytes]) -> str:
    """Writes a wheel; returns its line of a lock file."""
    about = f"{name}-{version}.dist-info"
    files = files | {
        f"{about}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n".encode(),
        f"{about}/WHEEL": f"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: {tag}\n".encode(),
    }
    record = "".join(f"{path},{_record(content)}\n" for path, content in files.items())
    path = folder / f"{name}-{version}-{tag}.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        for inside, content in (files | {f"{about}/RECORD": record.encode()}).items():
            entry = zipfile.ZipInfo(inside)
            entry.external_attr = 0o100755 << 16  # a program stays one
            wheel.writestr(entry, content)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return f"{name}=={version} \\\n    --hash=sha256:{digest}\n    # via tests\n"


def _record(content: bytes) -> str:
    digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
    return f"sha256={digest},{len(content)}"


class Project:
    """A folder with our Makefile, locks of its own, and wheels in place of an index."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = folder / ".venv"
        shutil.copy(ROOT / "Makefile", folder)
        (folder / "foundation").symlink_to(ROOT / "foundation")
        client = folder / "serving" / "client"
        client.mkdir(parents=True)
        (client / "backend.py").write_text(BACKEND)
        (client / "pyproject.toml").write_text(CLIENT)
        wheels = folder / "wheels"
        wheels.mkdir()
        self.tiny = {
            version: _wheel(wheels, "tiny", version, "py3-none-any", {"tiny.py": b"HERE = True\n"})
            for version in ("1.0", "2.0")
        }
        uv = importlib.metadata.distribution("uv")
        program = Path(sys.executable).with_name("uv").read_bytes()
        tag = re.search(r"^Tag: (.*)", uv.read_text("WHEEL") or "", re.MULTILINE)
        assert tag is not None
        self.uv = _wheel(
            wheels, "uv", uv.version, tag[1], {f"uv-{uv.version}.data/scripts/uv": program}
        )
        # pip's own settings, in a file as companies have it
        (folder / "pip.conf").write_text(f"[global]\nno-index = true\nfind-links = {wheels}\n")

    def lock(self, *requirements: str, name: str = "requirements.lock") -> None:
        (self.folder / name).write_text("".join(requirements))

    def start(self, *words: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            ["make", *words],
            cwd=self.folder,
            env={
                "PATH": os.environ["PATH"],
                "HOME": str(self.folder),
                "PIP_CONFIG_FILE": str(self.folder / "pip.conf"),
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def make(self, *words: str) -> tuple[int, list[str]]:
        """Exit code, and lines on stderr."""
        with self.start(*words) as process:
            _, said = process.communicate(timeout=120)
        return process.returncode, said.splitlines()

    def installed(self) -> set[str]:
        found = importlib.metadata.distributions(
            path=[str(path) for path in self.environment.glob("lib/python*/site-packages")]
        )
        return {f"{one.name} {one.version}" for one in found} - {"pip", "setuptools"}


@pytest.fixture
def project(tmp_path: Path) -> Project:
    made = Project(tmp_path)
    made.lock(made.tiny["1.0"], made.uv)
    return made


def _stages(lines: list[str]) -> list[str]:
    return [re.sub(r" ?…? \d+ s$", "", line).removeprefix("make setup: ") for line in lines]


@pytest.mark.thorough
def test_an_interrupted_set_up_starts_over_and_makes_what_the_lock_says(project: Project) -> None:
    first = project.start("setup", f"PYTHON={sys.executable}")
    assert first.stderr is not None
    assert first.stderr.read(20) == "make setup: pip into"
    os.killpg(first.pid, signal.SIGINT)
    assert "interrupted" in first.communicate(timeout=60)[1]
    assert first.returncode != 0
    assert not (project.environment / "complete").exists()
    (project.environment / "half").write_text("of a file")

    code, lines = project.make("setup", f"PYTHON={sys.executable}")
    assert code == 0, lines
    python = "{}.{}".format(*sys.version_info)
    assert _stages(lines) == [
        *("clearing .venv", "pip into .venv", "uv by pip", "requirements.lock by uv"),
        *("serving/client", f".venv is complete: requirements.lock, Python {python},"),
    ]
    assert {"tiny 1.0", "tiny-client 1.0"} < project.installed()
    assert list(project.environment.glob("lib/*/site-packages/__pycache__/tiny.*.pyc"))
    assert not (project.environment / "half").exists()

    # The time of a file says nothing.
    complete = project.environment / "complete"
    before = complete.stat()
    os.utime(project.folder / "requirements.lock", (2**32, 2**32))
    os.utime(complete, (1, 1))
    assert project.make("setup") == (0, [])
    assert complete.stat().st_ino == before.st_ino


@pytest.mark.thorough
def test_another_lock_makes_it_anew_by_pip_where_it_has_no_uv(project: Project) -> None:
    project.environment.mkdir()
    (project.environment / "complete").write_text('{"lock": "requirements.lock", "sha256": "?"}')
    project.lock(project.tiny["2.0"], name="other.lock")
    code, lines = project.make("setup", "LOCK=other.lock")
    assert code == 0, lines
    assert _stages(lines)[1:4] == [
        *("pip into .venv", "without uv: other.lock does not list it", "other.lock by pip"),
    ]
    assert "tiny 2.0" in project.installed()
    # It stays as it was made until another lock is named, or the content of this one changes.
    assert project.make("setup") == (0, [])
    project.lock(
        project.tiny["2.0"].replace("--hash=sha256:", "--hash=sha256:00"), name="other.lock"
    )
    code, lines = project.make("setup")
    assert code == 2
    assert _stages(lines)[:2] == ["clearing .venv", "pip into .venv"]
    assert "make setup: error: Expected to install other.lock. Received: ERROR: " in lines[-2]
    assert not (project.environment / "complete").exists()


@pytest.mark.parametrize("kind", ["a link", "a dangling link", "a file"])
def test_what_is_not_a_folder_of_its_own_is_never_cleared(project: Project, kind: str) -> None:
    elsewhere = project.folder / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "mine").write_text("precious")
    if kind == "a file":
        project.environment.write_text("mine")
    else:
        project.environment.symlink_to("elsewhere" if kind == "a link" else "nowhere")
    code, lines = project.make("train")
    assert code == 2
    assert re.match(
        r"make setup: error: Expected \.venv to be a folder of its own, which may be cleared\. "
        r"Received: (a link to (elsewhere|nowhere)|a file)\. Remove it",
        lines[0],
    )
    assert [path.name for path in elsewhere.iterdir()] == ["mine"]
    assert project.environment.is_symlink() or project.environment.is_file()


def test_a_lock_that_is_not_there_comes_with_the_nearest(project: Project) -> None:
    code, lines = project.make("setup", "LOCK=requirement.lock")
    assert code == 2
    assert lines[0].endswith(
        "Received: LOCK=requirement.lock, which is none. Did you mean requirements.lock?"
    )
    assert not project.environment.exists()


def test_only_one_makes_the_environment_at_a_time(project: Project) -> None:
    code = (
        "import sys; from foundation.make import environment\n"
        "with environment._alone(): print('held', flush=True); sys.stdin.read()"
    )
    python = [sys.executable, "-c", code]
    flags = {"cwd": project.folder, "text": True, "stdout": -1, "stderr": -1, "stdin": -1}
    with subprocess.Popen(python, **flags) as first:
        # The second one begins later: on a busy machine either might have been the first.
        assert first.stdout.readline() == "held\n"
        with subprocess.Popen(python, **flags) as second:
            assert "waiting for it" in second.stderr.readline()
            first.stdin.close()
            assert second.stdout.readline() == "held\n"
            second.stdin.close()


@pytest.fixture
def set_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with this environment, and pip without any settings."""
    (tmp_path / ".venv").symlink_to(Path(sys.prefix))
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith(("PIP_", "UV_", "SSL_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PIP_CONFIG_FILE", str(tmp_path / "pip.conf"))
    return tmp_path


@pytest.mark.slow
def test_uv_is_told_what_pip_is_set_to(set_up: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (set_up / "pip.conf").write_text(
        "[global]\nindex-url = https://one.test/simple\ntimeout = 40\ncert = /my certs/a.pem\n"
        "no-cache-dir = true\n"
        "[install]\nindex-url = https://two.test/simple\nfind-links =\n  /a\n  /b\n"
    )
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", "https://u:p@three.test/a https://four.test/b")
    monkeypatch.setenv("PIP_TRUSTED_HOST", "three.test")
    monkeypatch.setenv("UV_HTTP_TIMEOUT", "50")
    assert environment._variables_of_uv() == {
        "UV_DEFAULT_INDEX": "https://two.test/simple",
        "UV_INDEX": "https://u:p@three.test/a https://four.test/b",
        "UV_INDEX_STRATEGY": "unsafe-best-match",
        "UV_FIND_LINKS": "/a,/b",
        "UV_INSECURE_HOST": "three.test",
        "SSL_CERT_FILE": "/my certs/a.pem",
        "UV_NO_CACHE": "true",
    }


@pytest.mark.parametrize("changed", ["", "lock", "client", "python", "gone"])
def test_an_environment_stands_as_long_as_what_it_was_made_of(changed: str, set_up: Path) -> None:
    (set_up / ".venv").unlink()
    (set_up / "requirements.lock").write_text("a==1")
    (set_up / made_of.CLIENT).mkdir(parents=True)
    (set_up / made_of.CLIENT / "pyproject.toml").write_text("b")
    made_of.PYTHON.parent.mkdir(parents=True)
    made_of.PYTHON.symlink_to(sys.executable)
    made_of.COMPLETE.write_text(json.dumps(made_of.wanted("requirements.lock")))
    if changed == "python":
        found = made_of.wanted("requirements.lock") | {"python": "3.9"}
        made_of.COMPLETE.write_text(json.dumps(found))
    elif changed == "gone":
        made_of.PYTHON.unlink()
        made_of.PYTHON.symlink_to("no/such/python")
    elif changed:
        path = {"lock": "requirements.lock", "client": "serving/client/pyproject.toml"}[changed]
        (set_up / path).write_text("c")
    stands = made_of.read() == made_of.wanted("requirements.lock")
    assert stands == (changed == "")


def test_an_older_python_is_refused_in_one_line() -> None:
    code = "import sys; sys.version_info = (3, 9, 18); import foundation.make"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stderr == (
        "Expected Python 3.10 to 3.13. Received: 3.9. Name another one: "
        "make setup PYTHON=python3.12\n"
    )

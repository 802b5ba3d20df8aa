"""The house itself: import rules, documented commands, files that must agree with the contract."""

from __future__ import annotations

import ast
import collections
import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from serving import models_config
from tests.house import command_lines, imports
from tfs_client import contract
from tfs_client.images import pixels
from training.config import RunConfig

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
TRACKED = subprocess.run(
    ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
).stdout.splitlines()

PYTHON = [name for name in TRACKED if name.endswith(".py") and (ROOT / name).is_file()]
ROOMS = ("foundation/", "training/", "export/", "serving/", "loadtest/")
DOCUMENTS = {
    name: (ROOT / name).read_text(encoding="utf-8")
    for name in TRACKED
    if name.endswith(".md") and (ROOT / name).is_file()
}

MOST_FILES = 13
"""Of one room: a reader takes it in."""


@pytest.mark.slow
def test_the_import_rules_hold() -> None:
    done = subprocess.run(
        [str(Path(sys.executable).with_name("lint-imports"))],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.thorough
def test_no_files_need_each_other_in_a_circle() -> None:
    found = imports.graph(ROOT, PYTHON)
    assert len(found) == len(PYTHON) > 300
    assert found["serving.local.__main__"] >= {"serving.local.main"}
    assert imports.circles(found) == []


def test_a_circle_is_found_whichever_way_a_file_imports(tmp_path: Path) -> None:
    written = {
        "a/__init__.py": "",
        "a/one.py": "from a import two",
        "a/two.py": "from .three import name",
        "a/three.py": "if TYPE_CHECKING:\n    import a.one",
        "a/four.py": "def later():\n    from a.one import name",
    }
    (tmp_path / "a").mkdir()
    for name, text in written.items():
        (tmp_path / name).write_text(text)
    assert imports.circles(imports.graph(tmp_path, written)) == [["a.one", "a.three", "a.two"]]


def test_no_room_has_more_files_than_a_reader_takes_in() -> None:
    files = [Path(name) for name in PYTHON if name.startswith(ROOMS)]
    rooms = collections.Counter(str(file.parent) for file in files if file.name != "__init__.py")
    assert "serving/local" in rooms
    assert {room: count for room, count in rooms.items() if count > MOST_FILES} == {}


SPOILT = re.compile(
    r"Args:|[A-Z] = |"
    r"(Tfs|Grpc|Libevent|Numpy|Int|Float|Bool|Str|Int\d+|Uint\d+|Float\d+)('s)?[ ,.:[]"
)
"""How docstrings begin that lack a sentence, or whose first word was given a capital letter."""


@pytest.mark.slow
def test_no_docstring_begins_with_its_arguments_or_a_spoilt_name() -> None:
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    found = {
        f"{name}: {text.splitlines()[0]}"
        for name in PYTHON
        for node in ast.walk(ast.parse((ROOT / name).read_text(encoding="utf-8")))
        if isinstance(node, kinds) and (text := ast.get_docstring(node)) and SPOILT.match(text)
    }
    assert found == set()


@pytest.mark.thorough
def test_every_documented_command_line_is_one_that_its_command_takes() -> None:
    lines = [
        line
        for text in DOCUMENTS.values()
        for documented in command_lines.documented(text)
        for line in command_lines.commands(documented)
    ]
    assert len(lines) > 60
    done = subprocess.run(
        [sys.executable, "-m", "tests.house.command_lines"],
        cwd=ROOT,
        input=json.dumps([*lines, ["loadtest.run", "--no-such-flag"]]),
        capture_output=True,
        text=True,
        check=True,
    )
    refused = json.loads(done.stdout)
    assert len(refused) == 1, refused
    assert refused[0].startswith("loadtest.run --no-such-flag: ")


def test_every_documented_make_target_exists() -> None:
    targets = set(re.findall(r"^([a-z0-9-]+):", MAKEFILE, re.MULTILINE))
    documented = {
        word
        for text in DOCUMENTS.values()
        for line in re.findall(r"`make ([^`]*)`", text) + re.findall(r"^\$ make (.*)", text, re.M)
        for word in re.split("ARGS=['\"]", line)[0].split()
        if re.fullmatch("[a-z][a-z0-9-]*", word)
    }
    assert {"train", "export", "serve", "test", "predict", "loadtest", "k8s-apply"} <= documented
    assert documented - {"make"} <= targets


def test_the_help_of_make_shows_every_target_in_lines_of_one_width() -> None:
    done = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    shown = [re.fullmatch(r"  make (\S+) +(\S.*)", line) for line in lines if line[:1] == " "]
    assert {line[1] for line in shown} == set(re.findall(r"^\.PHONY: ([a-z].*)", MAKEFILE, re.M))
    assert len({line.start(2) for line in shown}) == 1
    assert [line for line in lines if len(line) > 100] == []


def test_every_module_that_the_makefile_runs_exists() -> None:
    modules = re.findall(r"python -m ([a-z0-9_.]+)", MAKEFILE)
    assert len(modules) >= 6
    for module in modules:
        assert importlib.util.find_spec(module), module


def test_the_readme_shows_every_folder() -> None:
    shown = set(re.findall(r"^(\w+)/ ", README, re.MULTILINE))
    folders = {name.partition("/")[0] for name in TRACKED if "/" in name}
    assert shown == {folder for folder in folders if not folder.startswith(".")}


def test_every_room_and_file_that_the_architecture_shows_is_there() -> None:
    text = DOCUMENTS["docs/architecture.md"]
    tree = text[text.index("## The rooms") :].split("```")[1].splitlines()[1:]
    assert len(tree) > 40
    above: list[str] = []
    for line in tree:
        names = re.split(r" {2,}", line.strip())[0].split(", ")
        depth = (len(line) - len(line.lstrip())) // 2
        above = above[:depth]
        for name in names:
            path = "/".join([*above, name.rstrip("/")])
            assert (ROOT / path).exists() or (ROOT / f"{path}.py").exists(), path
        above.append(names[0].rstrip("/"))


def test_the_signatures_of_the_readme_are_the_contract() -> None:
    table = README[README.index("| signature | input") :].split("\n\n")[0]
    names = re.findall(r"^\| `(\w+)` \| `(\w+)`", table, re.MULTILINE)
    assert names == [
        (contract.SIGNATURE_DEFAULT, contract.INPUT_IMAGE_BYTES),
        (contract.SIGNATURE_IMAGES, contract.INPUT_IMAGES),
        (contract.SIGNATURE_CLASSIFY, contract.INPUT_EXAMPLES),
    ]
    for output in contract.PREDICT_OUTPUTS:
        assert f"`{output}`" in table


def test_what_cannot_import_the_contract_agrees_with_it() -> None:
    assert f"$(or $(TARGET),localhost:{contract.GRPC_PORT})" in MAKEFILE
    assert f"gRPC   localhost:{contract.GRPC_PORT}\n" in README
    assert f"http://localhost:{contract.REST_PORT}/v1/models/{contract.MODEL_NAME}\n" in README
    # the client cannot read a run's settings, but refuses what their default refuses
    assert RunConfig().max_pixels == pixels.MAX_PIXELS


def test_models_config_is_the_contract() -> None:
    text = (ROOT / "serving" / "models.config").read_text(encoding="utf-8")
    (model,) = models_config.parse(text).models
    assert model.name == contract.MODEL_NAME
    assert model.base_path == f"{contract.MODEL_STORE}/{contract.MODEL_NAME}"
    assert contract.LABEL_STABLE in model.labels


@pytest.mark.parametrize(
    ("name", "least"),
    [("requirements.lock", 100), ("requirements-gpu.lock", 100), ("requirements-backbone.lock", 1)],
)
def test_a_lock_file_has_hashes_and_no_addresses(name: str, least: int) -> None:
    lock = (ROOT / name).read_text(encoding="utf-8")
    pins = re.findall(r"^[a-z0-9][^\s=]*==", lock, re.MULTILINE)
    blocks = re.split(r"^(?=[a-z0-9])", lock, flags=re.MULTILINE)[1:]
    assert len(pins) == len(blocks) >= least
    assert all("--hash=sha256:" in block for block in blocks)
    assert "://" not in lock


def test_both_lock_files_pin_the_same_versions() -> None:
    pins = [
        set(re.findall(r"^(\S+==\S+)", (ROOT / name).read_text(encoding="utf-8"), re.MULTILINE))
        for name in ("requirements.lock", "requirements-gpu.lock")
    ]
    assert pins[0] < pins[1]
    assert all(pin.startswith("nvidia-") for pin in pins[1] - pins[0])


def test_no_tracked_file_is_large() -> None:
    sizes = {name: (ROOT / name).stat().st_size for name in TRACKED if (ROOT / name).is_file()}
    assert {name: size for name, size in sizes.items() if size > 500_000} == {}

"""The notebook's cells, one after the other, on a real run."""

from __future__ import annotations

import csv
import json
import os
import subprocess
from pathlib import Path

from tests.conftest import ROOT

NOTEBOOK = ROOT / "examples" / "a_run.ipynb"

WALK = """
import ast, sys
shown = {"display": print}
for cell in sys.stdin.read().split("\\0"):
    body = ast.parse(cell).body
    last = body.pop() if isinstance(body[-1], ast.Expr) else None
    exec(compile(ast.Module(body, []), "cell", "exec"), shown)
    if last:
        print("shown:", eval(compile(ast.Expression(last.value), "cell", "eval"), shown))
"""
"""Runs code cells as Jupyter does: the value of a cell's last line is shown."""


def _cells() -> list[str]:
    cells = json.loads(NOTEBOOK.read_text())["cells"]
    code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    assert all(not cell.get("outputs") for cell in cells), "keep outputs out of the notebook"
    return [cell.replace("%matplotlib inline\n", "") for cell in code]


def test_every_cell_runs_from_the_notebooks_folder_and_shows_what_it_says(
    sample_run: Path, tmp_path: Path, preloaded_python: str
) -> None:
    for name in ("training", "foundation"):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / "runs").symlink_to(sample_run.parent)
    (tmp_path / "examples").mkdir()
    done = subprocess.run(
        [preloaded_python, "-c", WALK],
        input="\0".join(_cells()),
        cwd=tmp_path / "examples",
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    with (sample_run / "predictions.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == "test"]
    wrong = [row for row in rows if row["label"] != row["predicted"]]
    assert f"{len(wrong)} of {len(rows)} test images are answered wrongly" in done.stdout
    for row in wrong[:5]:
        assert f"{row['path']}: is {row['label']}, said {row['predicted']}" in done.stdout
    assert f"shown: ('{sample_run.resolve().name}', ('sound', 'defective')" in done.stdout
    assert done.stdout.count("shown: Figure(") == 4
    assert "Total params: " in done.stdout

"""The notebook runs from its first to its last cell, and prints what is stored in it."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOK = ROOT / "examples" / "explain.ipynb"
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:e-?\d+)?")


def texts(notebook: Any) -> list[str]:
    """What its cells show as text, without times, sizes and names of jobs."""
    found = []
    for cell in notebook.cells:
        for output in cell.get("outputs", ()):
            assert output["output_type"] != "error", output
            text = output.get("text") or output.get("data", {}).get("text/plain", "")
            lines = [line for line in text.splitlines() if "nodes," not in line]
            found += [line for line in lines if "images/s" not in line and "job-" not in line]
    return found


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.filterwarnings("ignore")  # of Jupyter
def test_the_notebook_shows_what_it_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    bins = f"{ROOT / '.venv' / 'bin'}{os.pathsep}{os.environ['PATH']}"
    monkeypatch.setenv("PATH", bins)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    stored = nbformat.read(NOTEBOOK, as_version=4)
    here = {"metadata": {"path": str(tmp_path)}}
    ran = NotebookClient(nbformat.from_dict(stored), timeout=200, resources=here)
    wanted = texts(stored)
    found = texts(ran.execute())
    assert len(found) == len(wanted)
    for one, other in zip(found, wanted, strict=True):
        assert _NUMBER.sub("#", one) == _NUMBER.sub("#", other)
        for value, expected in zip(_NUMBER.findall(one), _NUMBER.findall(other), strict=True):
            assert float(value) == pytest.approx(float(expected), rel=2e-3, abs=1e-5)

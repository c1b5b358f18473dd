"""The notebooks of tutorials are as the tutorials are, and run from the first to the last cell."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from tools import make_notebooks

ROOT = Path(__file__).resolve().parents[1]


def test_notebooks_are_as_their_tutorials(capsys: pytest.CaptureFixture[str]) -> None:
    assert make_notebooks.main(["--check"]) == 0, capsys.readouterr().out
    written = {path.stem for path in make_notebooks.NOTEBOOKS.glob("*.ipynb")}
    assert written == {*make_notebooks.NAMES}


@pytest.mark.parametrize("name", make_notebooks.NAMES)
def test_notebooks_are_small_and_their_links_lead_somewhere(name: str) -> None:
    text = make_notebooks.notebook(name)
    assert len(text) < 60_000
    found = nbformat.reads(text, as_version=4)
    nbformat.validate(found)
    assert sum(cell.cell_type == "code" for cell in found.cells) >= 3
    for cell in found.cells:
        for _, target in make_notebooks._LINK.findall(cell.source):
            assert (make_notebooks.NOTEBOOKS / target.partition("#")[0]).exists(), target


def test_what_cannot_run_here_is_text() -> None:
    body = "pip install x\nlrpc demo build\ncd digits\nlrpc run a \\\n    -o b\nlrpc run photos\n"
    code, left = make_notebooks._block("bash", body, "")
    assert "".join(code["source"]) == "%cd digits\n!lrpc run a \\\n    -o b"
    assert "".join(left["source"]).splitlines()[1:-1] == [
        "pip install x",
        "lrpc demo build",
        "lrpc run photos",
    ]


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.filterwarnings("ignore")  # of Jupyter
@pytest.mark.parametrize("name", make_notebooks.NAMES)
def test_a_notebook_runs(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for part in ("examples", "tests"):
        (tmp_path / part).symlink_to(ROOT / part)
    monkeypatch.setenv("PATH", f"{ROOT / '.venv' / 'bin'}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    stored = nbformat.reads(make_notebooks.notebook(name), as_version=4)
    here = {"metadata": {"path": str(tmp_path)}}
    ran = NotebookClient(stored, timeout=600, resources=here).execute()
    assert shutil.which("lrpc") is not None
    outputs = [one for cell in ran.cells for one in cell.get("outputs", ())]
    assert outputs
    for one in outputs:
        assert one["output_type"] != "error", one
        text = one.get("text", "")
        assert not any(line.startswith(("error:", "usage:")) for line in text.splitlines()), text

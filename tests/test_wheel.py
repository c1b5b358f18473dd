"""The wheel alone, in an environment of its own and away from the checkout, does what the README
says."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.test_docs import ROOT
from tests.test_docs_commands import follow

#: What the build reads.
SOURCES = ("lrpc", "passes", "examples", "pyproject.toml", "README.md", "LICENSE")
NOTEBOOK = """
import sys, nbformat, nbclient
book = nbformat.read(sys.argv[1], as_version=4)
nbclient.NotebookClient(book, timeout=300).execute()
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the examples and, in `env`, Python with the wheel; what that depends on comes
    from this environment's packages, but lrpc does not."""
    tmp = tmp_path_factory.mktemp("wheel")
    checkout = tmp / "checkout"
    for name in SOURCES:
        source = ROOT / name
        left_out = shutil.ignore_patterns("__pycache__")
        copy = shutil.copytree if source.is_dir() else shutil.copy
        more = {"symlinks": True, "ignore": left_out} if source.is_dir() else {}
        checkout.mkdir(exist_ok=True)
        copy(source, checkout / name, **more)  # type: ignore[operator]
    built = [sys.executable, "-m", "pip", "wheel", str(checkout), "-w", str(tmp / "dist")]
    run([*built, "--no-deps", "--no-build-isolation", "-q"], tmp)
    shutil.rmtree(checkout)
    home = tmp / "home"
    shutil.copytree(ROOT / "examples", home / "examples")
    venv.create(home / "env", with_pip=False, symlinks=True)
    (wheel,) = (tmp / "dist").iterdir()
    packages = next((home / "env" / "lib").glob("python*/site-packages"))
    (packages / "others.pth").write_text(sysconfig.get_path("purelib") + "\n")
    install = [sys.executable, "-m", "pip", "--python", str(home / "env" / "bin" / "python")]
    run([*install, "install", "-q", "--no-deps", "--ignore-installed", str(wheel)], tmp)
    return home


def environment(home: Path) -> dict[str, str]:
    """Variables under which the environment of `home` comes first, and no checkout is known."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    kept["PATH"] = os.pathsep.join([str(home / "env" / "bin"), kept["PATH"]])
    return kept | {"IPYTHONDIR": str(home / "ipython")}


def run(words: list[str], folder: Path, given: Mapping[str, str] | None = None) -> str:
    done = subprocess.run(words, cwd=folder, env=given, text=True, capture_output=True)
    assert done.returncode == 0, f"{words}\n{done.stdout[-2000:]}\n{done.stderr[-3000:]}"
    return done.stdout


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_wheel_alone_does_what_the_readme_says(home: Path) -> None:
    given = environment(home)
    where = run(["python", "-c", "import lrpc, passes; print(lrpc.__file__)"], home, given)
    assert where.startswith(str(home / "env"))
    assert run(["lrpc", "--version"], home, given).startswith("lrpc ")
    follow(ROOT / "README.md", home, given)
    assert (home / "out" / "02.json").is_file()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_wheel_alone_explains_a_data_set_and_runs_the_notebook(home: Path) -> None:
    """Of the project that `lrpc example` writes; the templates of a report are in the wheel."""
    given = environment(home)
    run(["lrpc", "example", "mine"], home, given)
    mine = home / "mine"
    run(["lrpc", "compile", "--config", "maskdino.yaml", "-o", "p"], mine, given)
    run(["lrpc", "run", "p", "--data", "digits/scenes", "-o", "out"], mine, given)
    run(["lrpc", "report", "out", "--processes", "1"], mine, given)
    assert "style.css" in (mine / "out" / "report" / "index.html").read_text()
    run(["lrpc", "export", "out", "--to", "coco", "-o", "c.json"], mine, given)
    run(["python", "-c", NOTEBOOK, "examples/explain.ipynb"], home, given)

"""Programs as .pt2 packages, compiled by AOTInductor: from Python, and from C++ without it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch

from lrpc.cli import main
from lrpc.export import pt2
from lrpc.export.ledger import amounts
from lrpc.program.loading import load_program
from tests.export.test_export_programs import MODELS, Near, scene
from tests.support.programs import ANY_SIZE, DIGITS, EXAMPLES, Programs, difference

SOURCE = EXAMPLES / "export" / "explain.cpp"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["convolutions", "adaptive pooling"])
def test_packages(name: str, tmp_path: Path) -> None:
    directory, path = MODELS[name].compiled(tmp_path, torch.float32), tmp_path / "made.pt2"
    assert main(["export", str(directory), "--to", "pt2", "-o", str(path)]) == 0
    assert sorted(p.name for p in tmp_path.iterdir()) == ["made.pt2", "program"]


def compiled(source: Path, folder: Path) -> Path:
    """The C++ program, built against the headers and libraries that torch brings."""
    torch_folder, made = Path(torch.__file__).parent, folder / source.stem
    library = torch_folder / "lib"
    headers = [torch_folder / "include", torch_folder / "include/torch/csrc/api/include"]
    subprocess.run(
        [
            *("g++", "-std=c++20", str(source), "-o", str(made), f"-L{library}"),
            *(f"-I{folder}" for folder in headers),
            *(f"-Wl,-rpath,{library}", "-ltorch", "-ltorch_cpu", "-lc10"),
        ],
        check=True,
    )
    return made


@pytest.mark.slow
def test_digits_from_python_and_from_c(programs: Programs, tmp_path: Path) -> None:
    directory = programs.directory(DIGITS, **ANY_SIZE)
    package, given, made = (tmp_path / name for name in ("digits.pt2", "image.raw", "out.raw"))
    words = ["export", str(directory), "--to", "pt2", "-o", str(package), "--ledger"]
    assert main(words) == 0
    program, run, near = load_program(directory, "cpu"), pt2.opened(package), Near(directory)
    explain = compiled(SOURCE, tmp_path)
    for height, width in ((160, 160), (96, 128)):
        image, at = scene("02", height, width), torch.tensor([[[0, 5]]])
        relevance = program(image, "class_logit", at=at, ledger=True)
        wanted, ledger = relevance.input, relevance.ledger
        outputs = run([image, at])
        assert near(outputs["relevance.images"], wanted, image, at)
        assert len(outputs["ledger"]) == len(ledger.rows) + 2
        assert difference(outputs["ledger"], amounts(ledger)) < 1e-5
        image.numpy().tofile(given)
        options = [package, given, height, width, 0, 5, made]
        said = subprocess.run([explain, *map(str, options)], check=True, capture_output=True)
        assert b"target: class_logit" in said.stdout
        totals = [float(line.split()[1]) for line in said.stdout.splitlines()[-2:]]
        booked = amounts(ledger)
        apart = (torch.tensor(totals).double() - booked[:2].flatten()).abs().max()
        assert apart < 1e-5 * booked.abs().max()
        found = torch.from_numpy(np.fromfile(made, np.float32)).view(wanted.shape)
        assert near(found, wanted, image, at)

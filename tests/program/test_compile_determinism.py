"""Same input, same bytes; and graph.lrp, edited or not, compiles to the program that it says."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from lrpc.cli import main
from lrpc.program.loading import FILES, load_program
from tests.support.maskdino_cases import digits_image
from tests.support.programs import ANY_SIZE, DIGITS, Programs, difference

ROOT = Path(__file__).parents[2]
SMALL = """
MODEL:
  WEIGHTS: ""
LRPC:
  SOURCE: tests.support.small:network
  SHAPES: [[32, 32]]
  TARGETS: [class_logit]
"""


def compile_apart(folder: Path, jobs: Sequence[tuple[str, Path, Path]]) -> None:
    """Compile in processes that share nothing: (hash seed, config, output), each from a working
    directory of its own."""
    running = []
    for seed, config, output in jobs:
        here = folder / f"from-{seed}"
        here.mkdir(parents=True)
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-m", "lrpc.cli", "compile"]
        command += ["--config", os.path.relpath(config, here)]
        command += ["-o", os.path.relpath(output, here)]
        running.append(
            subprocess.Popen(
                command, cwd=here, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
            )
        )
    for process in running:
        said, _ = process.communicate()
        assert process.returncode == 0, said.decode()


def check_same_bytes(a: Path, b: Path) -> None:
    assert {p.name for p in a.iterdir()} == {p.name for p in b.iterdir()} == set(FILES)
    for name in FILES:
        assert (a / name).read_bytes() == (b / name).read_bytes(), name


def test_a_small_model_compiles_to_the_same_bytes(tmp_path: Path) -> None:
    config = tmp_path / "small.yaml"
    config.write_text(SMALL)
    outputs = [tmp_path / "a" / "p", tmp_path / "b" / "c" / "p"]
    compile_apart(tmp_path, [("1", config, outputs[0]), ("2", config, outputs[1])])
    check_same_bytes(*outputs)


@pytest.mark.slow
def test_the_digits_model_compiles_to_the_same_bytes(tmp_path: Path) -> None:
    outputs = [tmp_path / "a" / "p", tmp_path / "b" / "c" / "p"]
    compile_apart(tmp_path, [("3", DIGITS, outputs[0]), ("4", DIGITS, outputs[1])])
    check_same_bytes(*outputs)
    assert str(ROOT) not in (outputs[0] / "manifest.json").read_text()
    assert str(ROOT) not in (outputs[0] / "program.py").read_text()


# -- from graph.lrp --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def directory(programs: Programs) -> Path:
    return programs.directory(DIGITS, COMPOSITE="attnlrp", **ANY_SIZE)


def compiled_from(source: Path, output: Path, edit: tuple[str, str] | None, tmp: Path) -> Path:
    """`source`'s graph.lrp compiled, with one line of it edited where `edit` = (line, line) says
    so."""
    copy = tmp / "edited"
    copy.mkdir()
    for name in FILES:
        (copy / name).write_bytes((source / name).read_bytes())
    if edit is not None:
        text = (copy / "graph.lrp").read_text()
        assert text.count(edit[0]) == 1
        (copy / "graph.lrp").write_text(text.replace(*edit))
    assert main(["compile", "--graph", str(copy / "graph.lrp"), "-o", str(output)]) == 0
    return output


def node_line(directory: Path, name: str) -> str:
    """The line of graph.lrp that makes %name."""
    text = (directory / "graph.lrp").read_text()
    (line,) = re.findall(rf"^  %{name}: .*$", text, re.MULTILINE)
    return str(line)


def functions(directory: Path) -> dict[str, str]:
    """Name → text of every function at the top of program.py."""
    text = (directory / "program.py").read_text()
    parts = re.split(r"^(?=def |class |@)", text, flags=re.MULTILINE)
    return {part.split("(")[0]: part for part in parts if part.startswith("def ")}


def input_relevance(directory: Path) -> Any:
    program = load_program(directory, "cpu")
    state = program.forward(digits_image("02"))
    at = torch.tensor([[[0, 5]]])
    return program.relevance(state, "class_logit", at=at).input


def test_an_unedited_graph_gives_the_same_program(directory: Path, tmp_path: Path) -> None:
    again = compiled_from(directory, tmp_path / "again", None, tmp_path)
    check_same_bytes(directory, again)


def test_one_epsilon_edited_changes_that_place_alone(directory: Path, tmp_path: Path) -> None:
    line = node_line(directory, "enc_output_norm")
    assert "rule=detach_sigma(eps=1e-06)" in line
    edited = line.replace("detach_sigma(eps=1e-06)", "detach_sigma(eps=0.5)")
    output = compiled_from(directory, tmp_path / "new", (line, edited), tmp_path)
    before, after = functions(directory), functions(output)
    (own,) = after.keys() - before.keys()  # the rule with the other number
    assert "detach_sigma(eps=0.5)" in after[own]
    assert "1e-06" not in after[own]
    changed = {
        name
        for name in before.keys() & after.keys()
        if re.sub(r"_\d+(?=\()", "", before[name]) != re.sub(r"_\d+(?=\()", "", after[name])
    }
    assert all("0.5" not in after[name] for name in changed)
    assert difference(input_relevance(output), input_relevance(directory)) > 1e-4


def test_one_rule_edited_in_a_repeated_block_makes_it_a_function_of_its_own(
    directory: Path, tmp_path: Path
) -> None:
    text = (directory / "graph.lrp").read_text()
    layer = r"role=residual rule=epsilon\(eps=1e-06\) loc\(.*encoder\.layers\.1[.,]"
    line = next(line for line in text.splitlines() if re.search(layer, line))
    edited = line.replace("epsilon(eps=1e-06)", "epsilon(eps=0.5)")
    output = compiled_from(directory, tmp_path / "new", (line, edited), tmp_path)
    before, after = functions(directory), functions(output)
    blocks = {name for name in after.keys() - before.keys() if name.startswith("def encoder_")}
    assert blocks == {f"def encoder_layers_{kind}_2" for kind in ("forward", "relevance")}
    assert not before.keys() - after.keys()
    own, shared = (
        after[f"def encoder_layers_relevance{n}"].split("\n", 1)[1].splitlines() for n in ("_2", "")
    )
    changed = [(x, y) for x, y in zip(shared, own, strict=True) if x != y]
    assert changed
    assert all(
        re.sub(r"epsilon_?\d*\(", "", x) == re.sub(r"epsilon_?\d*\(", "", y) for x, y in changed
    )
    (rule,) = {re.findall(r"(epsilon_?\d*)\(", y)[0] for _, y in changed}
    assert "eps=0.5" in after[f"def {rule}"]
    assert difference(input_relevance(output), input_relevance(directory)) > 1e-4


@pytest.mark.parametrize(
    ("rule", "reason"),
    [
        ("splat", "rule splat is not defined for layer_norm; it has: "),
        ("detach_sigma(gamma=1.0)", "rule detach_sigma has no parameter 'gamma'; it has: eps"),
        ("detach_sigma", "rule detach_sigma misses eps=1e-06, as by default; write it into the"),
        ("detach_sigma(eps=-1.0)", "rule detach_sigma: eps=-1.0 is outside [0, inf]"),
    ],
)
def test_a_rule_that_an_op_does_not_have_is_refused_where_it_stands(
    directory: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], rule: str, reason: str
) -> None:
    line = node_line(directory, "enc_output_norm")
    edited = line.replace("detach_sigma(eps=1e-06)", rule)
    copy = tmp_path / "edited"
    copy.mkdir()
    for name in FILES:
        (copy / name).write_bytes((directory / name).read_bytes())
    text = (copy / "graph.lrp").read_text()
    (copy / "graph.lrp").write_text(text.replace(line, edited))
    output = tmp_path / "new"
    assert main(["compile", "--graph", str(copy / "graph.lrp"), "-o", str(output)]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert reason in said
    assert said.startswith("error: %enc_output_norm = layer_norm (")
    assert said.count("\n") == 1
    assert not output.exists()

"""What the README and docs/ say is so: commands parse, Python runs, pages are current."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from lrpc.cli import main, parser
from lrpc.rules.composite import composite

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.S | re.M)


def commands() -> list[list[str]]:
    """Every `lrpc …` in the README's shell blocks, as words."""
    found = []
    for block in blocks("bash"):
        for line in re.split(r"\n|&&", block.replace("\\\n", " ")):
            words = shlex.split(line, comments=True)
            if words and words[0].split("/")[-1] == "lrpc":
                found.append(words[1:])
    return found


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_commands_parse(words: list[str]) -> None:
    assert parser().parse_args(words).command == words[0]


def test_python_runs(tmp_path: Path) -> None:
    """All Python blocks, one after the other, as a reader would type them."""
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    program = tmp_path / "build" / "digits"
    assert main(["compile", "--config", f"{ROOT}/examples/maskdino.yaml", "-o", str(program)]) == 0
    checks = """
assert torch.equal(R.ledger.start, p.forward(images).outputs["pred_logits"][:, 0, 5][None])
assert {k: round(float(v), 2) for k, v in R.ledger.sinks.items() if abs(v) > 0.01} == {
    "bias": -2.47, "softmax": 2.18, "position": 1.39
}
assert round(float(R.ledger.end), 2) == 1.33 and float(R.ledger.closure) < 1e-5
"""
    script = "\n".join([*blocks("python"), checks])
    ran = subprocess.run(
        [sys.executable, "-W", "error", "-c", script],
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stderr


def test_rules_of_the_example_exist() -> None:
    (text,) = blocks("yaml")
    settings = yaml.safe_load(text)["LRPC"]
    made = composite(settings["COMPOSITE"], settings["EPSILON"], settings["RULES"])
    assert len(made.entries) == len(composite("attnlrp").entries) + 2


def test_links_lead_somewhere() -> None:
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    for page in pages:
        for target in re.findall(r"\]\(([^)#]+)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_pages_are_current() -> None:
    ran = subprocess.run(
        [sys.executable, str(ROOT / "tools" / "make_docs.py"), "--check"],
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, f"{ran.stdout}{ran.stderr}\nRun: python tools/make_docs.py"


def test_ci_runs_the_readme_s_test_command() -> None:
    """.ci/run reads the command from the README: there is exactly one, and it ends in pytest."""
    found = [block for block in blocks("bash") if "pytest" in block]
    assert len(found) == 1
    assert found[0].strip().splitlines()[-1].endswith("pytest")
    assert "README.md" in (ROOT / ".ci" / "run").read_text()
    assert shutil.which("bash")

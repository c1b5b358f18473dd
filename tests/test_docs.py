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
from tests.support.programs import DIGITS, Programs

ROOT = Path(__file__).resolve().parents[1]
NUMBER = re.compile(r"\d+(?:\.\d+)?")
README = ROOT / "README.md"
ANALYZE = ROOT / "docs" / "analyze.md"
PAGES = (README, *sorted((ROOT / "docs").glob("*.md")))


def blocks(language: str, page: Path = README) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.S | re.M)


def commands(page: Path = README) -> list[list[str]]:
    """Every `lrpc …` in the page's shell blocks, as words, without variables set before it."""
    found = []
    for block in blocks("bash", page):
        for line in re.split(r"\n|&&", block.replace("\\\n", " ")):
            words = shlex.split(line, comments=True)
            while words and re.match(r"[A-Z]+=", words[0]):
                words = words[1:]
            if words and words[0].split("/")[-1] == "lrpc":
                found.append(words[1:])
    return found


EVERY = [words for page in PAGES for words in commands(page)]


@pytest.mark.parametrize("words", EVERY, ids=" ".join)
def test_commands_parse(words: list[str]) -> None:
    assert parser().parse_args(words).command == words[0]


def test_pages_hold_what_is_checked_here() -> None:
    names = {page.name for page in PAGES if commands(page)}
    assert names >= {"README.md", "analyze.md", "composites.md", "evaluate.md"}
    assert {page.name for page in PAGES if blocks("python", page)} == {
        "README.md", "composites.md", "models.md"
    }  # fmt: skip


@pytest.mark.parametrize("name", ["composites.md", "models.md"])
def test_python_of_a_page_runs(name: str, tmp_path: Path) -> None:
    run_python("\n".join(blocks("python", ROOT / "docs" / name)), tmp_path)


def test_python_runs(programs: Programs, tmp_path: Path) -> None:
    """All Python blocks, one after the other, as a reader would type them."""
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    shutil.copytree(programs.directory(DIGITS), tmp_path / "build" / "digits")
    checks = """
assert torch.equal(R.ledger.start, p.forward(images).outputs["pred_logits"][:, 0, 5][None])
assert {k: round(float(v), 2) for k, v in R.ledger.sinks.items() if abs(v) > 0.01} == {
    "bias": -3.12, "softmax": 0.28, "position": -0.09
}
assert round(float(R.ledger.end), 2) == 5.37 and float(R.ledger.closure) < 1e-5
"""
    run_python("\n".join([*blocks("python"), checks]), tmp_path)


def run_python(script: str, folder: Path) -> None:
    """Run it as a program of its own; a warning is an error."""
    ran = subprocess.run(
        [sys.executable, "-W", "error", "-c", script],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stderr


def near(found: str, wanted: str) -> bool:
    """Whether two printed numbers are the same up to rounding; whole ones are the same."""
    decimals = len(wanted.partition(".")[2])
    limit = max(2e-3, 1.5 * 10.0**-decimals) if decimals else 0
    return abs(float(found) - float(wanted)) <= limit


def test_analyze_prints_what_its_page_shows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its commands as they stand there; numbers to the digits that are printed, less the last."""
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    monkeypatch.chdir(tmp_path)
    (analyze, validate), (shown,) = commands(ANALYZE), blocks("text", ANALYZE)
    assert analyze in commands()  # the README's is the same
    assert main(analyze) == 0
    printed = capsys.readouterr().out.splitlines()
    for line in shown.splitlines():
        pattern = NUMBER.sub("#", line.removesuffix("…"))
        alike = [other for other in printed if NUMBER.sub("#", other).startswith(pattern)]
        wanted = NUMBER.findall(line)
        found = [NUMBER.findall(other)[: len(wanted)] for other in alike]
        assert any(all(map(near, numbers, wanted)) for numbers in found), line
    assert main(validate) == 0
    told = capsys.readouterr().out
    assert "11 of 11 checks passed" in told
    assert validate == ["validate", "out/queries.csv"]


def test_rules_of_the_example_exist() -> None:
    (text,) = blocks("yaml", ROOT / "docs" / "composites.md")
    settings = yaml.safe_load(text)["LRPC"]
    made = composite(settings["COMPOSITE"], settings["EPSILON"], settings["RULES"])
    assert len(made.entries) == len(composite("attnlrp").entries) + len(settings["RULES"])


def test_links_lead_somewhere() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#]+)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_links_lead_to_headings() -> None:
    for page in PAGES:
        for target, anchor in re.findall(r"\]\(([^)#]*)#([^)]+)\)", page.read_text()):
            text = (page.parent / target if target else page).read_text()
            heads = re.findall(r"^#+ (.*)$", text, re.M)
            plain = {re.sub(r"[^\w\- ]", "", head).lower().replace(" ", "-") for head in heads}
            assert anchor in plain, f"{page.name}: {target}#{anchor}"


def test_pages_are_current() -> None:
    ran = subprocess.run(
        [sys.executable, str(ROOT / "tools" / "make_docs.py"), "--check"],
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, f"{ran.stdout}{ran.stderr}\nRun: python tools/make_docs.py"


def test_ci_runs_the_readme_s_test_command() -> None:
    """.ci/run reads the command from the README: exactly one block ends in a run of pytest."""
    found = [block for block in blocks("bash") if "pytest" in block]
    assert len(found) == 1
    assert re.match(r"\.venv/bin/pytest\b", found[0].strip().splitlines()[-1])
    assert "README.md" in (ROOT / ".ci" / "run").read_text()
    assert shutil.which("bash")

"""What the README and docs/ say is so: commands parse, Python runs, pages are current."""

from __future__ import annotations

import os
import pkgutil
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import lrpc
from lrpc.cli import main
from lrpc.commands.parser import parse
from lrpc.rules.composite import composite
from tests.support.programs import DIGITS, Programs

ROOT = Path(__file__).resolve().parents[1]
NUMBER = re.compile(r"\d+(?:\.\d+)?")
README = ROOT / "README.md"
ANALYZE = ROOT / "docs" / "analyze.md"
DOCS = ROOT / "docs"
PAGES = (README, *sorted(DOCS.rglob("*.md")))
SITE = yaml.safe_load((ROOT / "mkdocs.yml").read_text())
INCLUDED = re.compile(r'^--8<-- "(.+)"$', re.M)


def text_of(page: Path) -> str:
    """What a page shows, with the files that the site includes."""
    return INCLUDED.sub(lambda found: (ROOT / found[1]).read_text(), page.read_text())


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
    assert parse(words).command == words[0]


def test_pages_hold_what_is_checked_here() -> None:
    names = {page.name for page in PAGES if commands(page)}
    assert names >= {"README.md", "analyze.md", "composites.md", "evaluate.md", "index.md"}
    assert all(commands(page) for page in (DOCS / "tutorials").glob("*.md"))
    written = {page.relative_to(DOCS).as_posix() for page in PAGES[1:] if blocks("python", page)}
    assert written == {*ALONE, *WITH_PROGRAM, *WRITTEN}


#: Pages whose Python runs by itself; with a program of the digits; and those whose Python is code
#: that other tests run.
ALONE = (
    "api/errors.md", "command-line.md", "composites.md", "index.md", "ledger.md", "models.md",
    "tutorials/compare-rules.md", "tutorials/concepts.md",
)  # fmt: skip
WITH_PROGRAM = (
    "api/evaluate.md", "api/program.md", "tutorials/explain-a-data-set.md",
    "tutorials/explain-a-detector.md", "tutorials/export.md",
)  # fmt: skip
WRITTEN = ("tutorials/read-a-program.md", "tutorials/write-a-rule.md")


def test_python_of_pages_runs(tmp_path: Path) -> None:
    """Page by page, in one process for all of them."""
    pages = {name: "\n".join(blocks("python", DOCS / name)) for name in ALONE}
    lines = [f"exec(compile({code!r}, {name!r}, 'exec'), {{}})" for name, code in pages.items()]
    run_python("\n".join(lines), tmp_path)


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory, programs: Programs) -> Path:
    """A folder as the README's two commands leave it."""
    folder = tmp_path_factory.mktemp("docs")
    (folder / "examples").symlink_to(ROOT / "examples")
    program, image = str(folder / "build" / "digits"), f"{ROOT}/examples/digits/scenes/02.png"
    shutil.copytree(programs.directory(DIGITS), program)
    assert main(["run", program, "--images", image, "-o", str(folder / "out")]) == 0
    scenes = str(folder / "out" / "scenes")
    assert main(["run", program, "--data", image, "-o", scenes]) == 0
    return folder


@pytest.mark.parametrize("name", WITH_PROGRAM)
def test_python_of_a_page_runs_with_a_program(name: str, digits: Path) -> None:
    code = "\n".join(blocks("python", DOCS / name))
    shown = [
        text for text in blocks("text", DOCS / name) if text.startswith(("{", "class_logit ("))
    ]
    if name == "tutorials/export.md":
        words = next(words for words in commands(DOCS / name) if words[0] == "export")
        assert main([str(digits / w) if w.startswith("build/") else w for w in words]) == 0
    printed = run_python(code.replace('device="cuda"', 'device="cpu"'), digits)
    assert all(text in printed for text in shown)


def test_python_runs(digits: Path) -> None:
    """All Python blocks, one after the other, as a reader would type them."""
    checks = """
assert torch.equal(R.ledger.start, p.forward(images).outputs["pred_logits"][:, 0, 5][None])
assert {k: round(float(v), 2) for k, v in R.ledger.sinks.items() if abs(v) > 0.01} == {
    "shared": -4.06, "softmax": 0.25, "position": -0.05, "bias": 0.11
}
assert round(float(R.ledger.end), 2) == 6.17 and float(R.ledger.closure) < 1e-5
"""
    run_python("\n".join([*blocks("python"), checks]), digits)


def run_python(script: str, folder: Path) -> str:
    """Run it as a program of its own, where a warning is an error; what it prints."""
    ran = subprocess.run(
        [sys.executable, "-W", "error", "-c", script],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def near(found: str, wanted: str) -> bool:
    """Whether two printed numbers are the same up to rounding; whole ones are the same."""
    decimals = len(wanted.partition(".")[2])
    limit = max(2e-3, 1.5 * 10.0**-decimals) if decimals else 0
    return abs(float(found) - float(wanted)) <= limit


def test_analyze_prints_what_its_page_shows(
    programs: Programs,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Its commands as they stand there; numbers to the digits that are printed, less the last."""
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    monkeypatch.chdir(tmp_path)
    (analyze, validate), (shown,) = commands(ANALYZE), blocks("text", ANALYZE)
    with programs.trace_of(DIGITS):
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
    assert "12 of 12 checks passed" in told
    assert validate == ["validate", "out/channels.csv"]


def test_rules_of_the_example_exist() -> None:
    (text,) = blocks("yaml", ROOT / "docs" / "composites.md")
    settings = yaml.safe_load(text)["LRPC"]
    made = composite(settings["COMPOSITE"], settings["EPSILON"], settings["RULES"])
    assert len(made.entries) == len(composite("attnlrp").entries) + len(settings["RULES"])


LINK = re.compile(r"\]\(([^)#\s]*)(?:#([^)\s]+))?\)")


def headings(page: Path) -> set[str]:
    """The anchors of a page: its headings, and the objects whose docstrings the site shows."""
    text = re.sub(r"^```.*?^```", "", text_of(page), flags=re.S | re.M)
    heads = re.findall(r"^#+ (.*)$", text, re.M)
    plain = {re.sub(r"[^\w\- ]", "", head).lower().replace(" ", "-") for head in heads}
    return plain | set(re.findall(r"^::: (\S+)", text, re.M))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    """To files, which for the site are pages or pictures in docs/, and to headings in them."""
    for target, anchor in LINK.findall(text_of(page)):
        if target.startswith("https://"):
            continue
        path = (page.parent / target).resolve() if target else page
        assert path.is_file(), target
        assert page == README or path.is_relative_to(DOCS), f"{target} is not on the site"
        assert not anchor or anchor in headings(path), f"{target}#{anchor}"


def test_every_page_is_in_the_navigation() -> None:
    def pages(entry: object) -> list[str]:
        if isinstance(entry, dict):
            (entry,) = entry.values()
        return [entry] if isinstance(entry, str) else [p for e in entry for p in pages(e)]  # type: ignore[attr-defined]

    listed = pages(SITE["nav"])
    assert len(listed) == len(set(listed))
    assert set(listed) == {page.relative_to(DOCS).as_posix() for page in PAGES[1:]}
    assert [next(iter(part)) for part in SITE["nav"][1:3]] == ["Tutorials", "Reference"]


def test_the_reference_shows_what_exists_and_has_docstrings() -> None:
    shown = [name for page in PAGES for name in re.findall(r"^::: (\S+)", page.read_text(), re.M)]
    assert {f"lrpc.{name}" for name in lrpc.__all__} <= {*shown, "lrpc.__version__"}
    for name in shown:
        assert pkgutil.resolve_name(name).__doc__, name


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

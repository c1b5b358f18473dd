"""The tables of docs/performance.md, from the JSON files beside it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from lrpc.commands.bench import store
from lrpc.commands.bench.tables import Case
from lrpc.errors import ProgramError
from tools.bench.growth_tables import growth_sheets
from tools.bench.sheets import sheets, to_markdown

BEGIN, END = "<!-- measured: tools/bench --docs writes this part -->", "<!-- end measured -->"
TITLES = {
    "encoder": "The deformable encoder",
    "vit": "ViT-B/16",
    "detector": "MaskDINO with a ResNet-50",
    "sizes": "Images of any size",
    "checkpoint": "Under a memory budget",
    "sampling": "The sampling op",
    "compile": "Compilation",
    "growth": "Growth",
}


def measured(folder: Path) -> dict[str, dict[str, Case]]:
    """The cases of every machine: file name without `.json` → name → case."""
    return {path.stem: store.read(path) for path in sorted(folder.glob("*.json"))}


def text_of(found: Mapping[str, Mapping[str, Case]]) -> str:
    """The measured part of the page."""
    parts = []
    for case_name, title in TITLES.items():
        own = {name: cases[case_name] for name, cases in found.items() if case_name in cases}
        if not own:
            continue
        parts.append(f"## {title}\n")
        if case_name == "growth":
            parts.append("![Time and memory over size](images/growth.svg)\n")
        for case in own.values():
            parts += [_machine(case), *_tables(case_name, case)]
    return "\n".join(parts)


def _tables(name: str, case: Case) -> list[str]:
    found = growth_sheets(case) if name == "growth" else sheets(case)
    return [to_markdown(sheet) for sheet in found]


def _machine(case: Case) -> str:
    about, ceilings = case["machine"], case.get("ceilings")
    text = f"*{about['device']}, {about['threads']} thread(s), torch {about['torch']}"
    if "load" in about:
        text += f"; load {about['load']:g} on {about['cores']} cores"
    if about.get("keep_pages"):
        text += "; freed memory kept"
    if ceilings:
        text += f"; matrix products {_rate(ceilings['matmul_flops'])}"
        if ceilings["half_flops"]:
            text += f" ({_rate(ceilings['half_flops'])} in bfloat16)"
        text += f", copying {ceilings['copy_bytes'] / 1e9:.3g} GB/s"
    return f"{text}*\n"


def _rate(flops: float) -> str:
    unit, scale = ("TFLOP/s", 1e12) if flops >= 1e12 else ("GFLOP/s", 1e9)
    return f"{flops / scale:.3g} {unit}"


def page(old: str, found: Mapping[str, Mapping[str, Case]]) -> str:
    """The page with its measured part written anew."""
    if old.count(BEGIN) != 1 or old.count(END) != 1 or old.index(BEGIN) > old.index(END):
        raise ProgramError(f"the page needs one line {BEGIN!r} and, below it, one line {END!r}")
    before, rest = old.split(BEGIN)
    return f"{before}{BEGIN}\n\n{text_of(found)}\n{END}{rest.split(END)[1]}"


def write_docs(docs: Path) -> list[Path]:
    """Write docs/performance.md and its picture anew from docs/performance/*.json."""
    found = measured(docs / "performance")
    path = docs / "performance.md"
    path.write_text(page(path.read_text(), found))
    grown = {name: cases["growth"] for name, cases in found.items() if "growth" in cases}
    if not grown:
        return [path]
    from tools.bench.growth_plot import write_plot

    picture = docs / "images" / "growth.svg"
    write_plot(picture, grown)
    return [path, picture]

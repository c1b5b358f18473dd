"""`lrpc show`: what it prints, draws and refuses."""

from __future__ import annotations

import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from itertools import pairwise
from pathlib import Path

import pytest

from lrpc.cli import main
from lrpc.commands.show.clusters import drawing
from lrpc.commands.show.diff import compare, summary
from lrpc.commands.show.layout import place
from lrpc.commands.show.palette import ROLES
from lrpc.commands.show.select import Filter
from lrpc.commands.show.svg import svg
from lrpc.ir.parser import parse_graph

BLOCK = """\
graph @forward(%x: f32[B,5,8]) {
  weight "w": f32[8,8]
  %q: f32[B,5,8] = linear(%x) {weight="w"} role=linear rule=epsilon(eps=1e-06) \
loc(layers.0.q, net.py:3)
  %r: f32[B,5,8] = relu(%q) role=activation rule=identity loc(layers.0)
  %a: f32[B,5,8] = add(%x, %r) role=residual rule=epsilon(eps=1e-06) loc(layers.0, net.py:9)
  %n: f32[B,5,8] = layer_norm(%a) {eps=1e-05} loc(layers.1.norm)
  place "layers.0" %a
  return "y" %n
}
"""
MARKED = BLOCK.replace(
    "{eps=1e-05} loc", "{eps=1e-05} role=layer_norm rule=detach_sigma(eps=1e-06) loc"
)
RELEVANCE = """\
graph @f(%x: f32[B,8], %seed: f32[K,B,8]) {
  weight "w": f32[8,8]
  %y: f32[B,8] = linear(%x) {weight="w"} role=linear loc(layer)
  %g: f32[K,B,8] = linear_transpose(%seed) {weight="w"} role=linear loc(layer)
  %r: f32[K,B,8] = mul(%g, %x) role=linear loc(layer)
  read(%r, %x) {name="x"} loc(layer)
  return "y" %y, "r" %r
}
"""


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """A program directory with three passes; the last graph is graph.lrp as well."""
    passes = tmp_path / "passes"
    passes.mkdir()
    for name, text in {"00-canonicalize": BLOCK, "01-mark_layer_norm": MARKED, "02-simplify": MARKED}.items():  # fmt: skip  # noqa: E501
        (passes / f"{name}.lrp").write_text(text)
    (tmp_path / "graph.lrp").write_text(MARKED)
    return tmp_path


def shown(capsys: pytest.CaptureFixture[str], *arguments: object, code: int = 0) -> str:
    assert main(["show", *(str(argument) for argument in arguments)]) == code
    captured = capsys.readouterr()
    assert not captured.err
    return "\n".join(line.rstrip() for line in captured.out.splitlines())


def refused(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """The one line of an error."""
    assert main(["show", *(str(argument) for argument in arguments)]) == 2
    captured = capsys.readouterr()
    assert not captured.out
    assert captured.err.count("\n") == 1
    return captured.err.removeprefix("error: ").rstrip("\n")


def test_header_and_tree(program: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert shown(capsys, program) == (
        "@forward  4 nodes, 1 weights, 1 places\n"
        "input   %x: f32[B,5,8]\n"
        'output  "y" %n: f32[B,5,8]\n'
        "roles   activation 1  layer_norm 1  linear 1  residual 1\n"
        "rules   epsilon 2  detach_sigma 1  identity 1\n"
        "\n"
        "modules\n"
        "└── layers  4  activation 1  layer_norm 1  linear 1  residual 1\n"
        "    ├── 0  3  activation 1  linear 1  residual 1\n"
        "    │   └── q  1  linear 1\n"
        "    └── 1  1  layer_norm 1\n"
        "        └── norm  1  layer_norm 1"
    )


def test_the_tree_stops_at_its_depth(program: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = shown(capsys, program, "--depth", 2).splitlines()
    assert lines[-2:] == [
        "    ├── 0  3  activation 1  linear 1  residual 1  +1 below",
        "    └── 1  1  layer_norm 1  +1 below",
    ]


def test_both_halves_are_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "g.lrp").write_text(RELEVANCE)
    first = shown(capsys, tmp_path / "g.lrp").splitlines()[0]
    assert first == "@f  4 nodes (1 forward, 3 relevance), 1 weights, 0 places"


def test_a_filter_shows_a_table(program: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = shown(capsys, program, "--role", "linear").splitlines()
    assert lines[-1] == "1 of 4 nodes"
    header, _, row = (line.split() for line in lines[-5:-2])
    assert header == ["#", "value", "type", "op", "inputs", "role", "rule", "module", "source"]
    assert row == [
        "0", "%q", "f32[B,5,8]", "linear", "%x", "linear", "epsilon(eps=1e-06)", "layers.0.q",
        "net.py:3",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "values"),
    [
        (("--op", "relu"), ["%r"]),
        (("--module", "layers.0"), ["%q", "%r", "%a"]),
        (("--module", "*.norm"), ["%n"]),
        (("--module", "layers.?", "--role", "residual"), ["%a"]),
        (("--role", "none", "--pass", "canonicalize"), ["%n"]),
        (("--table",), ["%q", "%r", "%a", "%n"]),
    ],
)
def test_filters(
    program: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    values: list[str],
) -> None:
    lines = shown(capsys, program, *arguments).splitlines()
    assert [m[1] for line in lines if (m := re.match(r" *\d+ +(%\w+) ", line))] == values


@pytest.mark.parametrize("name", ["canonicalize", "0", "00", "00-canonicalize"])
def test_passes_by_name_and_number(
    program: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    assert "none 1" in shown(capsys, program, "--pass", name)


def test_passes_are_listed(program: Path, capsys: pytest.CaptureFixture[str]) -> None:
    listed = "00 canonicalize\n01 mark_layer_norm\n02 simplify"
    assert shown(capsys, program, "--pass") == listed


def test_the_diff_of_two_passes(program: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert shown(capsys, program, "--diff", "canonicalize", "1", code=1) == (
        "--- 00 canonicalize\n"
        "+++ 01 mark_layer_norm\n"
        "@@ layers.1.norm @@\n"
        "~ %n = layer_norm\n"
        "    role: none → layer_norm\n"
        "    rule: none → detach_sigma(eps=1e-06)\n"
        "0 added, 0 removed, 1 changed (role 1, rule 1), 3 the same"
    )


def test_equal_graphs_do_not_differ(program: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = program / "passes" / "01-mark_layer_norm.lrp", program / "graph.lrp"
    assert shown(capsys, "--diff", *files) == "no difference in 4 nodes"


def test_added_and_removed_nodes_stand_in_their_places() -> None:
    relu = "  %r: f32[B,5,8] = relu(%q) role=activation rule=identity loc(layers.0)\n"
    other = parse_graph(
        BLOCK.replace(relu, relu.replace("%r", "%s").replace("relu", "silu"))
        .replace("%x, %r", "%x, %s")
        .replace('place "layers.0" %a', 'place "first" %a'),
    )
    found = compare(parse_graph(BLOCK), other)
    kinds = [(c.old and c.old.op, c.new and c.new.op) for c in found.changes]
    assert kinds == [(None, "silu"), ("relu", None), ("add", "add")]
    assert found.changes[2].fields == (("inputs", "%x, %r", "%x, %s"),)
    assert [sign for sign, _ in found.heads] == ["-", "+"]
    assert summary(found) == (
        "1 added, 1 removed, 1 changed (inputs 1), 2 the same; 2 lines of the head"
    )


def test_another_order_is_a_difference() -> None:
    head, a, b = "graph @f(%x: f32[2]) {\n", "%a: f32[2] = relu(%x)\n", "%b: f32[2] = exp(%x)\n"
    found = compare(parse_graph(f"{head}{a}{b}return }}"), parse_graph(f"{head}{b}{a}return }}"))
    assert summary(found) == "0 added, 0 removed, 0 changed, 2 the same; another order"


def test_dot_has_a_cluster_for_each_module(
    program: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = shown(capsys, program, "--dot", "-")
    assert re.findall(r"subgraph \"cluster_([\w.]+)\"", text) == [
        "layers", "layers.0", "layers.0.q", "layers.1", "layers.1.norm",
    ]  # fmt: skip
    assert re.findall(r"(\w+) -> (\w+);", text) == [
        ("in_4", "n0"), ("n0", "n1"), ("in_4", "n2"), ("n1", "n2"), ("n2", "n3"), ("n3", "out_0"),
    ]  # fmt: skip
    assert text.count("{") == text.count("}")


def test_svg_and_html_are_written_whole(program: Path, tmp_path: Path) -> None:
    image, html = tmp_path / "g.svg", tmp_path / "g.html"
    assert main(["show", str(program), "--svg", str(image), "--html", str(html)]) == 0
    root = ElementTree.parse(image).getroot()
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    titles = [e.text or "" for e in root.iter("{http://www.w3.org/2000/svg}title")]
    assert [t.split("=")[0] for t in titles][1] == "0: %q: f32[B,5,8] "
    page = html.read_text()
    assert page.count("<tr data-node=") == 4
    assert not re.search(r"(?:src|href)=|url\(|@import", page)
    assert not list(tmp_path.glob(".*"))


def chain(blocks: int) -> str:
    """Residual blocks in a list, three nodes each."""
    lines, last = [], "x"
    for i in range(blocks):
        lines += [
            f"%p{i}: f32[2] = relu(%{last}) role=activation loc(model.layers.{i}.act)",
            f"%q{i}: f32[2] = exp(%p{i}) loc(model.layers.{i}.act)",
            f"%r{i}: f32[2] = add(%{last}, %q{i}) role=residual loc(model.layers.{i})",
        ]
        last = f"r{i}"
    return "graph @f(%x: f32[2]) {\n" + "\n".join(lines) + f"\nreturn %{last}\n}}"


def test_large_graphs_are_folded_by_module() -> None:
    graph = parse_graph(chain(40))
    folded = drawing(graph, Filter(), None)
    assert [b.module for b in folded.boxes if b.nodes] == [f"model.layers.{i}" for i in range(40)]
    assert len(drawing(graph, Filter(), 1).boxes) == 3
    assert len(drawing(graph, Filter(module="model.layers.7"), None).boxes) == 4
    assert "120 nodes, in 40 boxes by module" in svg(graph, folded)


def test_interleaved_modules_are_split_rather_than_made_a_cycle() -> None:
    graph = parse_graph(
        "graph @f(%x: f32[2]) {\n"
        "%a: f32[2] = relu(%x) loc(one.a)\n%b: f32[2] = exp(%a) loc(two.a)\n"
        "%c: f32[2] = sin(%b) loc(one.b)\n%d: f32[2] = cos(%c) loc(one.c)\nreturn %d }"
    )
    found = drawing(graph, Filter(), 1)
    assert [(b.module, len(b.nodes)) for b in found.boxes if b.nodes] == [
        ("one", 1), ("two", 1), ("one", 2),
    ]  # fmt: skip


def test_the_relevance_half_has_boxes_of_its_own() -> None:
    found = drawing(parse_graph(RELEVANCE), Filter(), 1)
    assert [(b.module, b.relevance, len(b.nodes)) for b in found.boxes if b.nodes] == [
        ("layer", False, 1),
        ("layer", True, 3),
    ]


def test_boxes_neither_overlap_nor_sit_on_edges() -> None:
    network = drawing(parse_graph(chain(12)), Filter(), None).network
    sizes = [(60.0 + 7 * (i % 5), 40.0) for i in range(len(network))]
    layout = place(network, sizes)
    rows: dict[float, list[tuple[float, float]]] = {}
    for (x, y), (width, _) in zip(layout.centres, sizes, strict=True):
        rows.setdefault(y, []).append((x - width / 2, x + width / 2))
    for row in rows.values():
        assert all(left[1] < right[0] for left, right in pairwise(sorted(row)))
    for (a, b), points in layout.paths.items():
        assert all(upper[1] <= lower[1] for upper, lower in pairwise(points)), (a, b)
        for x, y in points[1:-1]:
            inside = [r for middle, r in rows.items() if abs(middle - y) <= 20.1]
            assert all(not left <= x <= right for r in inside for left, right in r), (a, b)


def test_a_drawing_that_nobody_could_read_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "g.lrp").write_text(chain(401))
    message = refused(capsys, tmp_path / "g.lrp", "--op", "*", "--svg", tmp_path / "x.svg")
    assert message.startswith("a drawing of 1205 boxes would not be readable (1200 at most);")
    assert message.endswith("narrow it with --module, or collapse it with --depth")


def test_every_role_has_a_colour_of_its_own() -> None:
    assert len(set(ROLES.values())) == len(ROLES) == 25


def test_bad_input(program: Path, capsys: pytest.CaptureFixture[str]) -> None:
    listed = "there are: 00 canonicalize, 01 mark_layer_norm, 02 simplify"
    graph, bad = program / "graph.lrp", program / "bad.lrp"
    (program / "bare").mkdir()
    bad.write_text("graph @f(%x: f32[B]) {\n  %y = relu(%x)\n}")
    cases: list[tuple[tuple[object, ...], str]] = [
        ((), "name a program directory or an .lrp file"),
        ((program / "no",), f"{program}/no: no such file or directory"),
        ((program / "bare",), f"{program}/bare: is no program directory: it holds no graph.lrp"),
        ((bad,), f"{bad}:2:6: found =; expected ':' and the type"),
        ((program, "--pass", "simplfy"), f"no pass 'simplfy' (perhaps simplify); {listed}"),
        ((program, "--pass", "7"), f"no pass '7'; {listed}"),
        (
            (program / "bare", "--pass", "7"),
            f"{program}/bare: holds no per-pass graphs;"
            " compile it with `lrpc compile --dump-passes`",
        ),
        ((graph, "--pass", "7"), f"{graph}: --pass needs a program directory, and this is a file"),
        ((graph, "--role", "linaer"), "no node has role 'linaer'; there are: linear"),
        ((graph, "--op", "zzz"), "no node has op 'zzz'; there are: add, layer_norm, linear, relu"),
        (
            (graph, "--op", "add", "--role", "linear"),
            "no node meets all the conditions at once; drop one of them",
        ),
        ((graph, "--svg", program / "no/x.svg"), f"{program}/no/x.svg: cannot be written (no such file or directory)"),  # noqa: E501
    ]  # fmt: skip
    for arguments, message in cases:
        assert refused(capsys, *arguments) == message


def test_the_tool_runs_as_a_script(program: Path) -> None:
    tool = Path(__file__).parents[2] / "tools" / "show_graph.py"
    done = subprocess.run(
        [sys.executable, str(tool), str(program)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("@forward  4 nodes")

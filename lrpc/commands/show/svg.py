"""A drawing as SVG: plain text, no scripts, fonts or other files."""

from __future__ import annotations

from collections.abc import Sequence

from lrpc.commands.session.units import shortened
from lrpc.commands.show.clusters import Box, Drawing
from lrpc.commands.show.escaped import escaped
from lrpc.commands.show.layout import Layout, Point, place
from lrpc.commands.show.palette import NONE, role_colour, tint
from lrpc.commands.show.select import counted
from lrpc.ir.graph import Graph, Node
from lrpc.ir.printer import print_node

FONT = "ui-monospace, 'DejaVu Sans Mono', Menlo, Consolas, monospace"
EM = 0.602  # advance of a monospaced character, in units of the font size
LABEL, NOTE = 12.0, 10.0
WIDEST = 34  # characters of a label
MARGIN, HEAD, LEGEND = 32.0, 58.0, 196.0
INK, FAINT, LINE = "#1f2630", "#6c7683", "#b3bac4"


def svg(graph: Graph, drawing: Drawing) -> str:
    """The whole drawing with a title and a legend of roles."""
    labels = [_labels(box) for box in drawing.boxes]
    sizes = [_size(box, *label) for box, label in zip(drawing.boxes, labels, strict=True)]
    layout = place(drawing.network, sizes)
    legend = _legend(drawing)
    width = 2 * MARGIN + LEGEND + max(layout.width, 420.0)
    height = 2 * MARGIN + HEAD + max(layout.height, 18.0 * len(legend))
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" '
        f'viewBox="0 0 {width:.0f} {height:.0f}" font-family="{FONT}">',
        f'<rect width="{width:.0f}" height="{height:.0f}" fill="#ffffff"/>',
        *_title(graph, drawing),
        *legend,
        f'<g transform="translate({MARGIN + LEGEND:.0f} {MARGIN + HEAD:.0f})">',
        *_edges(drawing, layout),
    ]
    for i, box in enumerate(drawing.boxes):
        parts += _box(i, box, labels[i], layout.centres[i], sizes[i])
    return "\n".join([*parts, "</g>", "</svg>"]) + "\n"


def _title(graph: Graph, drawing: Drawing) -> list[str]:
    nodes = sum(len(box.nodes) for box in drawing.boxes)
    boxes = sum(1 for box in drawing.boxes if box.nodes)
    how = "node by node" if boxes == nodes else f"in {boxes} boxes by module"
    of = f"{nodes} of {len(graph.nodes)}" if nodes < len(graph.nodes) else f"{nodes}"
    return [
        _text(MARGIN, MARGIN + 14, f"@{graph.name}", 18, INK, bold=True),
        _text(MARGIN, MARGIN + 32, f"{of} nodes, {how}", NOTE + 1, FAINT),
    ]


def _legend(drawing: Drawing) -> list[str]:
    roles = counted(node.role for box in drawing.boxes for _, node in box.nodes)
    parts = []
    for i, (role, count) in enumerate(roles):
        y = MARGIN + HEAD + 18 * i
        parts.append(
            f'<rect x="{MARGIN:.0f}" y="{y:.0f}" width="10" height="10" rx="2" '
            f'fill="{role_colour(role)}"/>'
        )
        shown = "no role" if role == "none" else role
        parts.append(_text(MARGIN + 17, y + 9, f"{shown} {count}", NOTE, INK))
    return parts


def _labels(box: Box) -> tuple[str, str]:
    """The two lines of a box."""
    if box.value is not None:
        return shortened(box.label, WIDEST), str(box.value.type)
    node = box.single
    if node is not None:
        return node.op, shortened(str(node.out.type) if node.outputs else _attrs(node), WIDEST)
    half = " · relevance" if box.relevance else ""
    roles = counted(node.role for _, node in box.nodes if node.role not in ("", "relevance"))
    most = f", {roles[0][0]} {roles[0][1]}" if roles else ""
    return shortened(box.module or "(no module)", WIDEST), f"{len(box.nodes)} nodes{most}{half}"


def _attrs(node: Node) -> str:
    return ", ".join(str(value) for _, value in node.attrs)


def _size(box: Box, label: str, note: str) -> tuple[float, float]:
    wide = max(len(label) * LABEL, len(note) * NOTE) * EM + 28
    return max(wide, 76.0), 44.0 if box.value is None else 38.0


def _box(i: int, box: Box, labels: tuple[str, str], centre: Point, size: Point) -> list[str]:
    x, y = centre[0] - size[0] / 2, centre[1] - size[1] / 2
    frame = f'x="{x:.1f}" y="{y:.1f}" width="{size[0]:.1f}" height="{size[1]:.1f}"'
    parts = [f'<g class="box" data-nodes="{" ".join(str(n) for n, _ in box.nodes)}">']
    parts.append(f"<title>{escaped(_hover(box))}</title>")
    if box.value is not None:
        parts.append(f'<rect {frame} rx="19" fill="#f3f5f8" stroke="{LINE}"/>')
    else:
        roles = counted(node.role for _, node in box.nodes)
        colour = role_colour(roles[0][0])
        dashed = ' stroke-dasharray="5 3"' if box.relevance else ""
        fill = tint(colour, 0.1)
        parts.append(f'<rect {frame} rx="6" fill="{fill}" stroke="{colour}"{dashed}/>')
        parts += _shares(roles, x, y + size[1] - 9, size[0])
    middle = centre[0]
    lift = 0.0 if box.value is not None else -4.0
    parts.append(_text(middle, centre[1] - 3 + lift, labels[0], LABEL, INK, bold=True, middle=True))
    parts.append(_text(middle, centre[1] + 11 + lift, labels[1], NOTE, FAINT, middle=True))
    return [*parts, "</g>"]


def _shares(roles: Sequence[tuple[str, int]], x: float, y: float, width: float) -> list[str]:
    """A bar that shows how much of a box has which role."""
    room, total = width - 16, sum(count for _, count in roles)
    parts, start = [], x + 8
    for role, count in roles:
        part = room * count / total
        parts.append(
            f'<rect x="{start:.1f}" y="{y:.1f}" width="{part:.1f}" height="3.5" '
            f'fill="{role_colour(role) if role != "none" else tint(NONE, 0.6)}"/>'
        )
        start += part
    return parts


def _hover(box: Box) -> str:
    if box.value is not None:
        return f"{box.label}: {box.value.type}"
    if box.single is not None:
        return f"{box.nodes[0][0]}: {print_node(box.single)}"
    roles = "\n".join(f"{role}: {count}" for role, count in counted(n.role for _, n in box.nodes))
    return f"{box.module or '(no module)'}\n{len(box.nodes)} nodes\n{roles}"


def _edges(drawing: Drawing, layout: Layout) -> list[str]:
    parts = [f'<g fill="none" stroke="{LINE}" stroke-width="1.4" stroke-linejoin="round">']
    heads = []
    for (a, b), points in layout.paths.items():
        pale = ' stroke-opacity="0.55"' if _constant(drawing.boxes[a]) else ""
        parts.append(f'<path data-ends="{a} {b}" d="{_curve(points)}"{pale}/>')
        x, y = points[-1]
        heads.append(f'<path d="M{x:.1f} {y:.1f}l-3.6 -7h7.2z"/>')
    return [*parts, "</g>", f'<g fill="{FAINT}">', *heads, "</g>"]


def _constant(box: Box) -> bool:
    return bool(box.nodes) and all(node.op == "constant" for _, node in box.nodes)


def _curve(points: Sequence[Point]) -> str:
    """Straight down through layers, and a smooth step between them."""
    (x, y), steps = points[0], []
    steps.append(f"M{x:.1f} {y:.1f}")
    for next_x, next_y in points[1:]:
        if abs(next_x - x) < 0.05:
            steps.append(f"V{next_y:.1f}")
        else:
            half = (y + next_y) / 2
            steps.append(f"C{x:.1f} {half:.1f} {next_x:.1f} {half:.1f} {next_x:.1f} {next_y:.1f}")
        x, y = next_x, next_y
    return "".join(steps)


def _text(
    x: float, y: float, text: str, size: float, fill: str, bold: bool = False, middle: bool = False
) -> str:
    extra = (' font-weight="600"' if bold else "") + (' text-anchor="middle"' if middle else "")
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size:g}" fill="{fill}"{extra}>'
        f"{escaped(text)}</text>"
    )

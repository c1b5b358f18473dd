"""A drawing and a searchable table of nodes as one HTML file that needs nothing else."""

from __future__ import annotations

from lrpc.commands.show.clusters import Drawing
from lrpc.commands.show.escaped import escaped
from lrpc.commands.show.palette import role_colour
from lrpc.commands.show.svg import FONT, svg
from lrpc.commands.show.text import HEADINGS, cells
from lrpc.ir.graph import Graph, Node

STYLE = """
* { box-sizing: border-box }
body { margin: 0; height: 100vh; display: grid;
  grid-template-columns: minmax(0, 1fr) minmax(0, 1fr); font: 12px/1.5 FONT;
  color: #1f2630; background: #fff }
#drawing { overflow: auto; border-right: 1px solid #d9dde3 }
#drawing svg { display: block; margin: 0 auto; max-width: 100%; height: auto }
#drawing.full svg { max-width: none }
#drawing .box { cursor: pointer }
#drawing .box.on > rect:first-of-type { stroke-width: 3.5 }
#list { display: flex; flex-direction: column; min-width: 0 }
#bar { display: flex; gap: 12px; align-items: center; padding: 12px 16px;
  border-bottom: 1px solid #d9dde3 }
#bar input { flex: 1; min-width: 0; font: inherit; padding: 6px 10px; border: 1px solid #b3bac4;
  border-radius: 6px; outline-color: #2f6fdb }
#bar button { font: inherit; padding: 6px 10px; border: 1px solid #b3bac4; border-radius: 6px;
  background: #f3f5f8; color: inherit; cursor: pointer; white-space: nowrap }
#count { color: #6c7683; white-space: nowrap }
#rows { overflow: auto; flex: 1 }
table { border-collapse: collapse; white-space: nowrap; width: 100% }
th { position: sticky; top: 0; background: #f3f5f8; text-align: left; font-weight: 600 }
th, td { padding: 3px 10px; vertical-align: top }
td { border-top: 1px solid #eef0f3; white-space: pre }
td:first-child { color: #6c7683; text-align: right }
tr { cursor: pointer }
tbody tr:hover { background: #f3f5f8 }
tbody tr.on { background: #e6effc }
.dot { display: inline-block; width: 8px; height: 8px; border-radius: 2px; margin-right: 6px }
@media (max-width: 900px) { body { grid-template: 1fr 1fr / minmax(0, 1fr) } }
"""

SCRIPT = """
const rows = [...document.querySelectorAll('tbody tr')];
const texts = rows.map(row => row.textContent.toLowerCase());
const boxes = [...document.querySelectorAll('.box')];
const search = document.getElementById('search'), count = document.getElementById('count');
const boxOf = new Map(), rowOf = new Map(rows.map(row => [row.dataset.node, row]));
for (const box of boxes) for (const n of box.dataset.nodes.split(' ')) if (n) boxOf.set(n, box);
function show(keep) {
  let shown = 0;
  rows.forEach((row, i) => { row.hidden = !keep(row, texts[i]); shown += !row.hidden; });
  count.textContent = shown + ' of ' + rows.length;
}
function find() {
  const words = search.value.toLowerCase().split(/\\s+/).filter(Boolean);
  show((row, text) => words.every(word => text.includes(word)));
}
function mark(box, chosen) {
  for (const other of boxes) other.classList.toggle('on', other === box);
  for (const row of rows) row.classList.toggle('on', chosen.includes(row));
}
search.addEventListener('input', find);
for (const row of rows) row.addEventListener('click', () => {
  const box = boxOf.get(row.dataset.node);
  mark(box, [row]);
  if (box) box.scrollIntoView({ block: 'center', inline: 'center' });
});
for (const box of boxes) box.addEventListener('click', () => {
  const inside = box.dataset.nodes.split(' ').filter(Boolean);
  if (!inside.length) return;
  search.value = '';
  show(row => inside.length === 1 || inside.includes(row.dataset.node));
  mark(box, inside.length === 1 ? [rowOf.get(inside[0])] : []);
  rowOf.get(inside[0]).scrollIntoView({ block: 'center' });
});
search.addEventListener('keydown', event => {
  if (event.key === 'Escape') { search.value = ''; find(); mark(null, []); }
});
const zoom = document.getElementById('zoom'), pane = document.getElementById('drawing');
zoom.addEventListener('click', () => {
  zoom.textContent = pane.classList.toggle('full') ? 'fit width' : 'full size';
});
find();
"""

COLUMNS = ("op", "role", "rule", "module", "value", "type", "inputs", "source")


def page(graph: Graph, drawing: Drawing) -> str:
    """The drawing beside a searchable table of its nodes; each leads to the other."""
    nodes = sorted((item for box in drawing.boxes for item in box.nodes), key=lambda item: item[0])
    head = "".join(f"<th>{name}</th>" for name in ("#", *COLUMNS))
    return "\n".join(
        [
            "<!DOCTYPE html>",
            '<html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width">',
            f"<title>@{escaped(graph.name)}</title>",
            f"<style>{STYLE.replace('FONT', FONT)}</style></head><body>",
            f'<div id="drawing">{svg(graph, drawing)}</div>',
            '<div id="list"><div id="bar">',
            '<input id="search" type="search" autofocus aria-label="search nodes" '
            'placeholder="search: words of a name, type, op, role, rule, module">',
            '<span id="count"></span><button id="zoom">full size</button></div>',
            '<div id="rows"><table>',
            f"<thead><tr>{head}</tr></thead><tbody>",
            *(_row(index, node) for index, node in nodes),
            "</tbody></table></div></div>",
            f"<script>{SCRIPT}</script></body></html>",
            "",
        ]
    )


def _row(index: int, node: Node) -> str:
    texts = dict(zip(HEADINGS, cells(node), strict=True))
    parts = [f'<tr data-node="{index}"><td>{index}</td>']
    for name in COLUMNS:
        text, dot = texts[name], ""
        if name == "role" and text:
            dot = f'<span class="dot" style="background:{role_colour(text)}"></span>'
        parts.append(f"<td>{dot}{escaped(text)}</td>")
    return "".join([*parts, "</tr>"])

"""The end of a program's text: the tables that hand its functions to the runtime."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence

from lrpc.backend.expression import TORCH_DTYPES
from lrpc.backend.interface import Description, TargetCode
from lrpc.backend.quoting import literal, quoted
from lrpc.backend.schedule.ir import Target
from lrpc.ir.graph import Graph
from lrpc.ir.types import Sym

LOAD = '''    """The program with its weights on `device`; its files are checked first.

    `compile` runs its functions through torch.compile: each once for every shape of its inputs and
    seeds and every choice of places, when it is first called. `capture` (CUDA only) replays them as
    CUDA graphs, one for each of these; a state then lasts until the next forward of its shape.
    `keep_pages` (glibc only) has this process keep what CPU tensors free, for good: large batches
    then need no new pages from the system.
    """
'''


def tables(
    forward: Graph,
    targets: Sequence[TargetCode],
    scheduled: Sequence[Target],
    about: Description,
    scopes: Sequence[str],
) -> str:
    """The text of `INTERFACE` and `load`; `scopes` are the parts of the state."""
    inputs = "".join(
        f'        {quoted(v.name)}: ("{TORCH_DTYPES[v.type.dtype]}", {_shape(v.type.shape)}),\n'
        for v in forward.inputs
    )
    blocks = "".join(f"        {quoted(scope)},\n" for scope in scopes)
    rows: dict[str, str] = {}
    for target, own in zip(targets, scheduled, strict=True):
        row = _target_row(target, own)
        rows[target.composite] = rows.get(target.composite, "") + row
    first, *others = rows
    sweep = f"    sweep={literal(about.sweep)},\n" if about.sweep else ""
    return (
        "INTERFACE = Interface(\n    forward=forward,\n"
        f"    inputs={{\n{inputs}    }},\n    blocks=(\n{blocks}    ),\n   "
        f" targets={{\n{rows[first]}    }},\n"
        f"    read_inputs={literal(dict(about.read_inputs))},\n"
        f"    structure={literal(about.structure)},\n    dtype={TORCH_DTYPES[forward.dtype]},\n"
        f"    tf32={literal(about.tf32)},\n    chunk={literal(about.chunk)},\n"
        f"{sweep}{_others({name: rows[name] for name in others})})\n"
        'SOURCE = source_checksum(globals().get("__file__"))\n\n\n'
        'def load(path=None, device="cpu", *, compile=False, capture=False, keep_pages=False):\n'
        f"{LOAD}"
        "    own = (__name__, __file__, SOURCE)\n"
        "    return opened(INTERFACE, own, path, device, compile, capture, keep_pages)\n"
    )


def _others(rows: Mapping[str, str]) -> str:
    """The targets of every composite after the first."""
    if not rows:
        return ""
    tables = (
        f"        {literal(name)}: {{\n{textwrap.indent(text, '    ')}        }},\n"
        for name, text in rows.items()
    )
    return f"    others={{\n{''.join(tables)}    }},\n"


def _target_row(target: TargetCode, own: Target) -> str:
    shape = target.value.type.shape
    batch = next((i for i, d in enumerate(shape) if isinstance(d, Sym)), 0)
    reads = [str(n.attr("name")) for n in target.plain.nodes if n.op == "read"]
    return (
        f"        {quoted(target.name)}: Target(\n            {own.plain.name},"
        f" {literal((own.start.part.scope, own.start.name))},\n"
        f"            shape={_shape(shape)}, batch_axis={batch},\n"
        f"            index_axes={literal(target.index_axes)},"
        f" index_names={literal(target.index_names)},\n"
        f"            token_axis={literal(target.token_axis)}, reads={literal(tuple(reads))},\n"
        f"{_image_axes(target)}"
        "        ),\n"
    )


def _image_axes(target: TargetCode) -> str:
    """Where the images lie in results whose first axis after the seeds they are not."""
    axes: dict[str, int] = {}
    for node in target.plain.nodes:
        if node.op == "read":
            shape = enumerate(node.inputs[0].type.shape)
            axis = next((i for i, d in shape if isinstance(d, Sym) and d.batch), 1)
            axes |= {str(node.attr("name")): axis} if axis != 1 else {}
    return f"            image_axes={literal(axes)},\n" if axes else ""


def _shape(shape: Sequence[object]) -> str:
    inner = ", ".join(f'"{d}"' if isinstance(d, Sym) else str(d) for d in shape)
    return f"({inner},)" if inner else "()"

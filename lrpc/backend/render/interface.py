"""The end of a program's text: the tables that hand its functions to the runtime."""

from __future__ import annotations

from collections.abc import Sequence

from lrpc.backend.expression import TORCH_DTYPES
from lrpc.backend.interface import Description, TargetCode
from lrpc.backend.quoting import literal, quoted
from lrpc.backend.render.layout import laid_out
from lrpc.backend.schedule.ir import Target
from lrpc.ir.extents import Extent
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
    of_sizes: bool,
) -> str:
    """The text of `INTERFACE` and `load`; `scopes` are the parts of the state."""
    inputs = {v.name: (v.type.dtype, v.type.shape) for v in forward.inputs}
    given = ", ".join(
        f'{quoted(name)}: ("{TORCH_DTYPES[dtype]}", {_shape(shape)})'
        for name, (dtype, shape) in inputs.items()
    )
    rows: dict[str, list[str]] = {}
    for target, own in zip(targets, scheduled, strict=True):
        rows.setdefault(target.composite, []).append(_target_row(target, own))
    first, *others = ({name: f"{{{', '.join(row)}}}" for name, row in rows.items()}).items()
    fields = {
        "forward": "forward",
        "inputs": f"{{{given}}}",
        "blocks": literal(tuple(scopes)),
        "targets": first[1],
        "read_inputs": literal(dict(about.read_inputs)),
        "structure": literal(about.structure),
        "dtype": TORCH_DTYPES[forward.dtype],
        "tf32": literal(about.tf32),
        "chunk": literal(about.chunk),
    }
    fields |= {"per_pass": literal(about.per_pass)} if about.per_pass else {}
    if of_sizes:
        fields["of_sizes"] = "of_sizes"
    if forward.sizes:
        fields["sizes"] = literal({size.name: size.step for size in forward.sizes})
    if others:
        more = ", ".join(f"{literal(name)}: {text}" for name, text in others)
        fields["others"] = f"{{{more}}}"
    inner = ", ".join(f"{key}={text}" for key, text in fields.items())
    table = "\n".join(laid_out(f"INTERFACE = Interface({inner})"))
    return (
        f"{table}\n"
        'SOURCE = source_checksum(globals().get("__file__"))\n\n\n'
        'def load(path=None, device="cpu", *, compile=False, capture=False, keep_pages=False):\n'
        f"{LOAD}"
        "    own = (__name__, __file__, SOURCE)\n"
        "    return opened(INTERFACE, own, path, device, compile, capture, keep_pages)\n"
    )


def _target_row(target: TargetCode, own: Target) -> str:
    shape = target.value.type.shape
    batch = next((i for i, d in enumerate(shape) if isinstance(d, Sym)), 0)
    reads = tuple(str(n.attr("name")) for n in target.plain.nodes if n.op == "read")
    fields = {
        "shape": _shape(shape),
        "batch_axis": str(batch),
        "index_axes": literal(target.index_axes),
        "index_names": literal(target.index_names),
        "token_axis": literal(target.token_axis),
        "reads": literal(reads),
    }
    axes = _image_axes(target)
    fields |= {"image_axes": literal(axes)} if axes else {}
    if target.conditions:
        masks = (
            f"{quoted(name)}: Mask({_shape(mask.type.shape)}, {literal(own_axes)})"
            for name, (mask, own_axes) in target.conditions.items()
        )
        fields["masks"] = f"{{{', '.join(masks)}}}"
    start = literal((own.start.part.scope, own.start.name))
    inner = ", ".join(f"{key}={text}" for key, text in fields.items())
    return f"{quoted(target.name)}: Target({own.plain.name}, {start}, {inner})"


def _image_axes(target: TargetCode) -> dict[str, int]:
    """Where the images lie in results whose first axis after the seeds they are not."""
    axes: dict[str, int] = {}
    for node in target.plain.nodes:
        if node.op == "read":
            shape = enumerate(node.inputs[0].type.shape)
            axis = next((i for i, d in shape if isinstance(d, Sym) and d.batch), 1)
            axes |= {str(node.attr("name")): axis} if axis != 1 else {}
    return axes


def _shape(shape: Sequence[object]) -> str:
    return literal(tuple(str(d) if isinstance(d, Sym | Extent) else d for d in shape))

"""`lrpc.compare`: relevance of one target by several composites or programs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from lrpc.commands.compare.sheet import Words, panel, sheet
from lrpc.commands.drawing.draw import totals
from lrpc.commands.drawing.render import Marks
from lrpc.commands.session.members import names_of
from lrpc.commands.session.metrics import pairwise, positive_share
from lrpc.errors import ProgramError
from lrpc.program.protocol import Box
from lrpc.results.colour import Map, Pixels
from lrpc.runtime.program import Program as Loaded


@dataclass(frozen=True, eq=False)
class Comparison:
    """Relevance of one target by several composites or programs.

    Attributes:
        names: the composites or programs, in the order of all tables.
        target: name of the target.
        relevance: name → relevance at the first input, [K, B, *input].
        sums: name → its sum, [K, B].
        start: name → relevance at the target, [K, B].
        heatmaps: name → sum over channels, [K, B, H, W]; empty unless the input is images.
        spearman: rank correlation of each pair, [n, n, K, B]: of heat maps, or of relevance where
            there are none. A constant map gives nan.
        cosine: cosine similarity of each pair, likewise.
        outputs: the outputs of each program.
    """

    names: tuple[str, ...]
    target: str
    relevance: Mapping[str, Tensor]
    sums: Mapping[str, Tensor]
    start: Mapping[str, Tensor]
    heatmaps: Mapping[str, Tensor]
    spearman: Tensor
    cosine: Tensor
    outputs: Mapping[str, Any] = field(repr=False)

    def plot(
        self,
        image: Pixels | Tensor | None = None,
        *,
        seed: int = 0,
        item: int = 0,
        box: Box | None = None,
        title: str = "",
        warning: str = "",
    ) -> Image.Image:
        """Draw a panel for each name.

        Args:
            image: uint8 [H, W, 3], or a tensor [3, H, W], which is scaled to the full range.
            seed: which of the K seeds.
            item: which image of the batch.
            box: x0, y0, x1, y1 in pixels: drawn, with the share of positive relevance inside.
            title: text above the panels.
            warning: text in red above the panels.

        Raises:
            ProgramError: the input is not a batch of images [B, C, H, W].
        """
        if not self.heatmaps:
            raise ProgramError("only relevance at a batch of images [B, C, H, W] can be drawn")
        panels = []
        for i, name in enumerate(self.names):
            heat = self.heatmaps[name][seed, item].double().cpu()
            start = float(self.start[name][seed, item])
            same = (float(self.spearman[0, i, seed, item]), float(self.cosine[0, i, seed, item]))
            total = float(self.sums[name][seed, item])
            inside = None if box is None else positive_share(heat, box)
            facts = figures(total, start, inside, same if i else None, self.names[0])
            panels.append(panel(name, heat.numpy(), facts=facts))
        photo = _pixels(image)
        return sheet(photo, panels, Marks(box=box), Words(title, warning=warning))


def figures(
    total: float,
    start: float | None,
    inside: float | None,
    alike: tuple[float | None, float | None] | None,
    first: str,
) -> list[str]:
    """What is written below a panel; `alike` is rank correlation and cosine with the first."""
    rows = [totals(total, start)]
    if inside is not None:
        rows.append(f"{inside:.0%} of the positive in the box")
    if alike is None:
        rows.append("what the others are compared with")
    else:
        rank, angle = ("none" if v is None or v != v else f"{v:.2f}" for v in alike)
        rows.append(f"with {first}: rank corr. {rank}, cosine {angle}")
    return rows


def compare(
    program: Loaded | Mapping[str, Loaded],
    inputs: Tensor | Sequence[Tensor],
    target: str = "output",
    at: Sequence[Sequence[int]] | Tensor | None = None,
    *,
    composites: Sequence[str] | None = None,
    **options: Any,
) -> Comparison:
    """Compare relevance of one target under every composite of a program.

    Args:
        program: a loaded program, or a mapping of names to programs. Each program runs one forward
            pass. In a mapping, composites of one program are named `NAME: COMPOSITE`.
        inputs: the input, or a sequence of inputs.
        target: the target, as in `Program.relevance`.
        at: where relevance starts, as in `Program.relevance`.
        composites: which composites to compare; by default all.
        **options: further options of `Program.relevance`, such as `seeds`.

    Raises:
        ProgramError: an argument that the program refuses.
    """
    if not isinstance(inputs, Tensor | Sequence) or isinstance(inputs, str):
        raise ProgramError(f"inputs are a tensor, or several, got {type(inputs).__name__}")
    if isinstance(composites, str) or not isinstance(composites, Sequence | None):
        raise ProgramError(f"composites is a list of names, got {composites!r}")
    given = tuple([inputs] if isinstance(inputs, Tensor) else inputs)
    programs = program if isinstance(program, Mapping) else {"": program}
    if not programs:
        raise ProgramError("no program to compare is given")
    for one in programs.values():
        if not hasattr(one, "manifest") or not hasattr(one, "relevance"):
            raise ProgramError(f"compare takes loaded programs, got {type(one).__name__}")
    found: dict[str, Any] = {}
    outputs: dict[str, Any] = {}
    for label, one in programs.items():
        state = one.forward(*given)
        outputs[label] = state.outputs
        for name, composite in names_of(label, one.manifest, composites).items():
            asked = options if composite is None else {**options, "composite": composite}
            found[name] = one.relevance(state, target, at=at, **{**asked, "ledger": True})
    return comparison(target, found, outputs)


def comparison(
    target: str, found: Mapping[str, Any], outputs: Mapping[str, Any] | None = None
) -> Comparison:
    """The comparison of relevance that programs returned, with its ledger, by name.

    Raises ProgramError where their shapes differ.
    """
    shapes = {tuple(r.input.shape) for r in found.values()}
    if len(shapes) > 1:
        raise ProgramError(f"relevance of different shapes cannot be compared: {sorted(shapes)}")
    relevance = {name: r.input for name, r in found.items()}
    maps = {n: r.sum(2) for n, r in relevance.items() if r.dim() == 5}
    tables = _tables(list((maps or relevance).values()))
    return Comparison(
        tuple(found),
        target,
        relevance,
        {n: r.flatten(2).sum(2) for n, r in relevance.items()},
        {n: r.ledger.start for n, r in found.items()},
        maps,
        tables["spearman"],
        tables["cosine"],
        dict(outputs or {}),
    )


def _tables(maps: Sequence[Tensor]) -> dict[str, Tensor]:
    """`spearman` and `cosine`, [n, n, K, B]."""
    seeds, batch = maps[0].shape[:2]
    cells = []
    for k in range(seeds):
        for b in range(batch):
            cells.append(pairwise([m[k, b].double().cpu() for m in maps]))
    made = {}
    for kind in ("spearman", "cosine"):
        values = [[[np.nan if v is None else v for v in r] for r in c[kind]] for c in cells]
        table = torch.tensor(values, dtype=torch.float64)  # [K·B, n, n]
        made[kind] = table.reshape(seeds, batch, len(maps), len(maps)).permute(2, 3, 0, 1)
    return made


def _pixels(image: Pixels | Tensor | None) -> Pixels | None:
    if not isinstance(image, Tensor):
        return image
    values: Map = image.detach().double().cpu().numpy()
    low, high = float(values.min()), float(values.max())
    values = (values - low) / (high - low) if high > low else values * 0
    rgb = values if values.shape[0] == 3 else values.mean(0, keepdims=True).repeat(3, axis=0)
    pixels: Pixels = np.ascontiguousarray((rgb * 255).round().astype(np.uint8).transpose(1, 2, 0))
    return pixels

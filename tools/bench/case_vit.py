"""ViT-B/16: AttnLRP and γ by programs, by autograd through partly detached models, and by LXT."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from lrpc.commands.bench.machine import machine
from lrpc.commands.bench.memory import held
from lrpc.commands.bench.tf32 import matmuls
from lrpc.rules.composite import composite
from tools.bench import offered
from tools.bench.contest import EPSILON, LIMITS, Candidate, Contest, Ready, Row
from tools.bench.detached import Attention, Gamma, detached, relevance
from tools.bench.floors import Ceilings, ceilings
from tools.bench.goals import figures, verdicts
from tools.bench.offered import Compiler
from tools.bench.peers import gamma_hooks, import_lxt, importable, lxt_vit
from tools.bench.settings import Options
from tools.bench.vit import Sizes, ViT

LABEL = 3  # the class whose logit is explained
SMALL = Sizes(image=32, patch=8, layers=2, heads=4, width=64, ffn=128, classes=10)
CONV, LINEAR = 1.0, 0.5  # γ
#: γ where zennit's hooks see linear maps: not inside attention.
OUTSIDE = "gamma outside attention"


def chosen(name: str, epsilon: float) -> Any:
    """A composite of the table; OUTSIDE is `gamma` with the epsilon rule on attention's own
    maps."""
    rules = [{"role": "linear", "module": "*self_attention*", "rule": "epsilon"}]
    if name == OUTSIDE:
        return composite("gamma", epsilon, rules, conv_gamma=CONV, linear_gamma=LINEAR)
    return composite(name, epsilon)


class Transformers:
    """The model, its images and its programs."""

    def __init__(self, sizes: Sizes, options: Options) -> None:
        self.sizes, self.options, self.device = sizes, options, options.device
        self.model = ViT(sizes)
        shape = (options.vit_batch, 3, sizes.image, sizes.image)
        images = torch.randn(*shape, generator=torch.Generator().manual_seed(1))
        self.compiler = Compiler(self.model, images[:1], {"seeds": 1}, options.store)
        self.images = images.to(self.device)
        self.inputs = held([self.images])

    def reference(self, name: str) -> Tensor:
        """Relevance of every image's logit in double precision: [B, 3, H, W]."""
        model = self._detached(name).double().to(self.device)
        images = (x[None].double() for x in self.images)
        return torch.cat([relevance(model, x, self.seeds(x))[0] for x in images])

    def seeds(self, images: Tensor) -> Tensor:
        """1 at the logit of every image: [1, B, classes]."""
        made = images.new_zeros(1, len(images), self.sizes.classes)
        made[..., LABEL] = 1
        return made

    def _detached(self, name: str) -> nn.Module:
        if name == OUTSIDE:
            made = detached(self.model, "gamma", CONV, LINEAR)
            for module in made.modules():
                if isinstance(module, Attention):
                    for part in module.children():
                        _without_gamma(part)
            return made
        return detached(self.model, name, CONV, LINEAR)

    def autograd(self, name: str) -> Ready:
        """Forward and input gradient of the model as detached for a composite."""
        return self._gradient(self._detached(name))

    def _gradient(self, model: nn.Module) -> Ready:
        weights = held([*model.parameters(), *model.buffers()])
        run, seeds = model.to(self.device), self.seeds(self.images)

        def call() -> Tensor:
            with matmuls(self.options.gpu):
                return relevance(run, self.images, seeds)[0]

        def forward() -> Tensor:
            with matmuls(self.options.gpu), torch.no_grad():
                out: Tensor = run(self.images)
            return out

        return Ready(call, forward, weights=weights, inputs=self.inputs)

    def lxt(self, gamma: bool) -> Ready:
        """LXT's patches, and zennit's γ besides."""
        reason = import_lxt() or (importable("zennit.rules") if gamma else None)
        if reason is not None:
            raise offered.NotOfferedError(reason)
        model = lxt_vit(self.sizes)
        if gamma:
            gamma_hooks(model, CONV, LINEAR)
        ready = self._gradient(model)
        return replace(ready, forward=None)

    def program(self, name: str, configuration: offered.Configuration, epsilon: float) -> Ready:
        """Forward and relevance of a program."""
        program = self.compiler.program(chosen(name, epsilon), configuration, self.device)
        images = self.images.to(offered.input_dtype(program))

        def forward() -> Any:
            return program.forward(images)

        def call() -> Tensor:
            found: Tensor = program.relevance(forward(), at=[(LABEL,)]).input[0]
            return found.float()

        weights = held(program.weights.values())
        return Ready(call, forward, weights=weights, inputs=self.inputs)


def _without_gamma(part: nn.Module) -> None:
    for module in part.modules():
        if isinstance(module, Gamma):
            module.gamma = 0.0


def _table(
    made: Transformers,
    name: str,
    others: list[Candidate],
    ours: tuple[str, ...],
    limits: Ceilings,
) -> list[Row]:
    """The rows of one question: alternatives, then programs under the composites `ours`."""
    options, candidates = made.options, list(others)
    work = made.sizes.work(options.vit_batch)
    for which in ours:
        for one in options.ways(which == ours[0]):
            kind = one.name.split("+")[0]
            candidates.append(
                Candidate(
                    f"program, {which}, {one.name}",
                    partial(made.program, which, one, EPSILON),
                    which,
                    LIMITS[kind],
                    exact=partial(made.program, which, one, 0.0),
                    ours=True,
                    goal=f"vit/{name}" if kind != "bf16" and which in ("attnlrp", "gamma") else "",
                    floor=limits.seconds(work, kind == "bf16"),
                )
            )
    names = {one.expected for one in candidates}
    references: dict[str, Callable[[], Tensor]] = {n: partial(made.reference, n) for n in names}
    return Contest(
        options.device, references, options.repeats, options.tell, until=options.until
    ).run(candidates)


def run(options: Options) -> dict[str, Any]:
    """The case as JSON holds it."""
    sizes = SMALL if options.quick else Sizes()
    made, limits = (
        Transformers(sizes, options),
        ceilings(options.device, tf32=options.gpu, quick=options.quick),
    )
    mine = LIMITS["tf32" if options.gpu else "fp32"]
    plain = Candidate(
        "autograd, plain input gradient", partial(made.autograd, "gradient_input"),
        "gradient_input", mine,
    )  # fmt: skip
    apart = Candidate(
        "autograd, detached as for AttnLRP", partial(made.autograd, "attnlrp"), "attnlrp", mine
    )
    cheap = [
        plain,
        apart,
        Candidate("LXT (CP-LRP in attention)", partial(made.lxt, False), "cp_lrp", mine),
    ]  # fmt: skip
    dear = [
        Candidate(
            "autograd, own γ outside attention", partial(made.autograd, OUTSIDE), OUTSIDE, mine
        ),
        Candidate("LXT + zennit γ (outside attention)", partial(made.lxt, True), OUTSIDE, mine),
    ]
    what = "ViT-B/16" if not options.quick else "a small ViT"
    tables, rows = [], []
    for name, others, ours in (
        ("attnlrp", cheap, ("attnlrp", "cp_lrp", "gradient_input")),
        ("gamma", dear, ("gamma", OUTSIDE)),
    ):
        options.tell(f"vit: {name}")
        found = _table(made, name, others, ours, limits)
        rows += found
        table = {
            "title": f"{what}, {sizes.image}×{sizes.image}, B={options.vit_batch}: forward + "
            f"relevance of a logit, {name}",
            "rows": [row.to_json() for row in found],
        }
        options.show(table)
        tables.append(table)
    asked = not options.quick and (options.vit_batch == 32 or not options.gpu)
    found_for = figures(rows, ["vit/attnlrp", "vit/gamma"]) if asked else {}
    if "vit/attnlrp" in found_for:
        found_for["vit/attnlrp"] |= _against(rows, plain.name)
        found_for["vit/detached"] = _against(rows, apart.name)
    return {
        "machine": machine(options.device),
        "settings": {"batch": options.vit_batch, "repeats": options.repeats},
        "ceilings": limits.to_json(),
        "tables": tables,
        "verdicts": verdicts(found_for, options.gpu_name),
    }


def _against(rows: list[Row], other: str) -> dict[str, tuple[str, float]]:
    """How many times faster the best program is than another row."""
    times = {row.name: row.time.median for row in rows if row.time is not None}
    ours = [r for r in rows if r.goal == "vit/attnlrp" and r.name in times]
    if other not in times or not ours:
        return {}
    best = min(ours, key=lambda row: times[row.name])
    return {"speedup": (best.name, times[other] / times[best.name])}

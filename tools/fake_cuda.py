#!/usr/bin/env python3
"""Checks without a GPU that no function of a program on CUDA makes or meets a tensor on the CPU.

    python tools/fake_cuda.py build/digits            # every target, with and without ledger

Tensors have shapes and devices and no numbers (FakeTensorMode). torch must be a CUDA build; no GPU
is needed. Nothing but torch is imported. Exit code 1 where something was found.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

BATCH, STEPS = 2, 3  # images, and steps of a size that varies
SEEDS = {False: (1,), True: (1, 5)}  # by Triton kernels, few seeds and many take different ones


@dataclass
class OneDevice(TorchDispatchMode):
    """Notes operations with a tensor on the CPU, copies from there included: a CUDA graph records
    none of these."""

    file: str
    found: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        tensors = [t for t in tree_leaves((args, kwargs, result)) if isinstance(t, Tensor)]
        devices = sorted({t.device.type for t in tensors})
        if "cpu" in devices and func.namespace != "prim":
            self.found.append(f"{func} with tensors on {' and '.join(devices)}{self.place()}")
        return result

    def place(self) -> str:
        """The line of the program that called the operation."""
        frames = [f for f in traceback.extract_stack() if f.filename == self.file]
        return f", line {frames[-1].lineno}: {frames[-1].line}" if frames else ""


@dataclass(frozen=True)
class Finding:
    """What one call did on the CPU, or how it failed."""

    call: str
    text: str


def main(argv: Sequence[str] | None = None) -> int:
    """0 where no call of any program took a CPU tensor, 1 where one did, 2 without a CUDA build."""
    parser = argparse.ArgumentParser(prog="tools/fake_cuda.py", description=__doc__.splitlines()[0])
    parser.add_argument("program", type=Path, nargs="+", metavar="DIR")
    args = parser.parse_args(argv)
    if not cuda_build():
        print("error: this torch has no CUDA build; install one, no GPU is needed", file=sys.stderr)
        return 2
    bad = False
    for directory in args.program:
        calls, findings = check(directory)
        bad |= bool(findings)
        for one in findings:
            print(f"{directory}: {one.call}: {one.text}")
        print(f"{directory}: {len(calls)} calls, {len(findings)} findings")
    return int(bad)


def cuda_build() -> bool:
    """Whether torch can describe CUDA tensors here."""
    return torch.backends.cuda.is_built() and torch.version.cuda is not None


def check(directory: Path) -> tuple[list[str], list[Finding]]:
    """The calls that were made, and what was found: `forward`, and relevance of every target under
    every composite, with and without ledger, few seeds and many, by Triton kernels and without."""
    module = imported(directory)
    program = module.load(device="cpu")
    calls: list[str] = []
    findings: list[Finding] = []
    for kernels in (False, True):
        with FakeTensorMode(allow_non_fake_inputs=False) as mode, kernels_of(module, kernels):
            weights = {k: mode.from_tensor(w).to("cuda") for k, w in program.weights.items()}
            for name, run in _calls(module, program, weights, SEEDS[kernels]):
                calls.append(f"{name}, {'Triton' if kernels else 'torch'}")
                findings += [Finding(calls[-1], text) for text in _found(module, run)]
    return calls, findings


def _found(module: ModuleType, run: Callable[[], None]) -> list[str]:
    watch = OneDevice(str(module.__file__))
    try:
        with watch:
            run()
    except Exception as error:  # fake tensors refuse most mixtures by whatever the operation raises
        return [*watch.found, f"{type(error).__name__}: {str(error).splitlines()[0]}"]
    return list(dict.fromkeys(watch.found))


def _calls(
    module: ModuleType, program: Any, weights: dict[str, Tensor], counts: Sequence[int]
) -> Iterator[tuple[str, Callable[[], None]]]:
    """Names of calls, and the calls; each relevance is of a state that others have used too."""
    made = program.interface
    inputs = [fake_input(*given, getattr(made, "sizes", {})) for given in made.inputs.values()]
    state: dict[str, Any] = {}

    def forward() -> None:
        with module.indexing(dict(zip(made.inputs, inputs, strict=True))):
            state["saved"] = program.calls.forward(made.forward, weights, made.blocks, inputs)[1]

    def relevance(target: Any, seeds: int, ledger: bool) -> None:
        g = torch.empty(seeds, *value_of(target).shape, device="cuda", dtype=value_of(target).dtype)
        places, inner = frozenset(target.reads), made.chunk if made.per_pass else 0
        program.calls.relevance(target.run, weights, state["saved"], g, places, ledger, inner)

    def value_of(target: Any) -> Tensor:
        value: Tensor = state["saved"][target.value[0]][target.value[1]]
        return value

    yield "forward", forward
    if "saved" not in state:
        return
    for composite in program.composites:
        for name, target in made.others.get(composite, made.targets).items():
            for count in counts:
                for ledger in (False, True):
                    more = ", ledger" if ledger else ""
                    call = f"{name}, {composite}, {count} seed{'s' * (count > 1)}{more}"
                    yield call, partial(relevance, target, count, ledger)


def fake_input(dtype: str, shape: Sequence[Any], steps: Mapping[str, int]) -> Tensor:
    """An input without numbers; `steps` are of sizes that vary."""
    varying = {"B": BATCH, **{name: STEPS * step for name, step in steps.items()}}
    sizes = [varying.get(size, size) for size in shape]
    kind = getattr(torch, str(dtype).removeprefix("torch."))
    return torch.empty(sizes, dtype=kind, device="cuda")


@contextmanager
def kernels_of(module: ModuleType, triton: bool) -> Iterator[None]:
    """Let the program take its Triton kernels or none. What is no operator of torch's cannot be
    called without numbers, and is left out."""
    before = {name: getattr(module, name) for name in ("has_triton", "triton_stab_mul")
              if hasattr(module, name)}  # fmt: skip
    if "has_triton" in before:
        known = before["has_triton"]
        module.has_triton = lambda tensor: triton and known(tensor)  # type: ignore[attr-defined]
    if "triton_stab_mul" in before:
        module.triton_stab_mul = lambda g, z, eps, out: out  # type: ignore[attr-defined]
    try:
        yield
    finally:
        for name, value in before.items():
            setattr(module, name, value)


def imported(directory: Path) -> ModuleType:
    """The program's module."""
    name = f"_fake_cuda_{abs(hash(directory.resolve()))}"
    spec = importlib.util.spec_from_file_location(name, directory / "program.py")
    if spec is None or spec.loader is None:
        raise FileNotFoundError(f"{directory}: holds no program.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look there
    spec.loader.exec_module(module)
    return module


if __name__ == "__main__":
    sys.exit(main())

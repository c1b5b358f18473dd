"""Compiles the kernels named on the command line for an H200, which need not be there, and prints
what triton's compiler made of each as JSON: `{"kernel dtype sizes": text}`.

A process of its own: triton must not have been imported to interpret.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from lrpc.runtime.kernels import triton_deformable, triton_ratios

H200 = GPUTarget("cuda", 90, 32)
ALWAYS = {"levels": "*i32", "index": "*i32", "entry": "*fp32", "offsets": "*i32", "source": "*i32"}
TENSORS = {"a", "g", "z", "value", "loc", "weight", "out"}


def types(kernel: str, names: list[str], dtype: str) -> dict[str, str]:
    """The type of each argument that is no constant."""
    found = dict.fromkeys(names, "i32") | ALWAYS | dict.fromkeys(TENSORS, f"*{dtype}")
    found |= {"part": "*fp32", "eps": "fp32"}
    if kernel == "splat_kernel":
        found["out"] = "*fp32"  # atomics add in float32
    return found


def compiled(kernel: str, constants: dict[str, Any], warps: int, dtype: str) -> str:
    """The kernel's intermediate text; raises where the compiler refuses it."""
    module = triton_ratios if hasattr(triton_ratios, kernel) else triton_deformable
    function = getattr(module, kernel)
    names = function.arg_names
    known = types(kernel, names, dtype)
    source = ASTSource(
        fn=function,
        signature={n: "constexpr" if n in constants else known[n] for n in names},
        constexprs={(names.index(n),): value for n, value in constants.items()},
    )
    made = triton.compile(source, target=H200, options={"num_warps": warps})
    assert made.asm["cubin"]
    text: str = made.asm["ttir"]
    return text


def main() -> None:
    found = {}
    for kernel, (constants, warps) in json.loads(sys.argv[1]).items():
        module = triton_ratios if hasattr(triton_ratios, kernel) else triton_deformable
        names = getattr(module, kernel).arg_names
        one = {name: 1 for name in ("K", "B") if name in names}  # triton makes constants of ones
        for sizes, more in (("i32", {}), ("one", one)):
            for dtype in ("fp32", "bf16", "fp16"):
                text = compiled(kernel, constants | more, warps, dtype)
                found[f"{kernel} {dtype} {sizes}"] = text
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()

"""What the Triton kernels of a program are made with; triton may be missing.

A program registers its operators under the hash of the file that holds them: equal files share
them, others never meet.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

try:
    import triton
except ImportError:  # plain torch serves
    triton = None

OPERATORS = f"lrpc_{hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:12]}"
Function = TypeVar("Function", bound=Callable[..., Any])


def jit(kernel: Any) -> Any:
    """`kernel` compiled by triton where there is one."""
    return kernel if triton is None else triton.jit(kernel)


def operator(fake: Function) -> Callable[[Function], Function]:
    """Make a function an operator whose result looks like that of `fake`."""

    def register(function: Function) -> Function:
        if triton is None:
            return function
        space, name = getattr(torch.ops, OPERATORS), function.__name__
        if not hasattr(space, name):
            own = torch.library.custom_op(f"{OPERATORS}::{name}", function, mutates_args=())
            own.register_fake(fake)
        made: Function = getattr(space, name)
        return made

    return register


def has_triton(tensor: Tensor) -> bool:
    """Whether the kernels take `tensor`: on a GPU, triton at hand, and not in double precision."""
    return triton is not None and tensor.is_cuda and tensor.dtype != torch.float64

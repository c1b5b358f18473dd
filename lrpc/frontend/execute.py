"""Runs one recorded call, and knows calls by their names."""

from __future__ import annotations

from typing import Any

from torch import nn
from torch._ops import OpOverloadPacket

# Attributes that compute a tensor: operations like any other.
OPERATIONS = frozenset({"T", "mT", "H", "mH", "data", "real", "imag"})

# Questions about a tensor other than what it holds: answered at once.
ANSWERS = frozenset({
    "size", "dim", "ndimension", "numel", "nelement", "stride", "storage_offset", "element_size",
    "is_floating_point", "is_complex", "is_signed", "is_contiguous", "is_tensor", "get_device",
    "is_same_size", "result_type", "len", "is_conj", "is_neg", "is_inference", "is_distributed",
    "is_coalesced", "is_pinned", "is_shared", "has_names", "dense_dim", "sparse_dim", "dim_order",
})  # fmt: skip

# Those of them about how it lies in memory.
LAYOUTS = frozenset({"stride", "storage_offset", "is_contiguous", "dim_order"})

# Calls that only borrow a tensor's type: computed at once, their results are constants.
FACTORIES = frozenset({
    "zeros_like", "ones_like", "full_like", "empty_like",
    "new_zeros", "new_ones", "new_full", "new_empty",
})  # fmt: skip

# Those whose numbers nobody has set: a trace has zeros there, so that no two differ.
UNSET = frozenset({"empty", "empty_like", "new_empty"})

# The same, where the first argument is a plain tensor and the traced one only lends its type.
FACTORIES_ON_PLAIN = frozenset({"to", "type_as", "expand_as", "view_as", "reshape_as"})

IN_PLACE_OPERATORS = {
    "iadd": "add", "isub": "sub", "imul": "mul", "itruediv": "div", "idiv": "div",
    "iand": "and", "ior": "or", "ixor": "xor", "ipow": "pow", "ifloordiv": "floordiv",
    "imod": "mod", "ilshift": "lshift", "irshift": "rshift", "setitem": "setitem",
}  # fmt: skip

SPELLINGS = {
    "and_": "and", "or_": "or", "truediv": "div", "rtruediv": "rdiv", "__rdiv__": "rdiv",
    "index": "int",
}  # fmt: skip


def call_name(target: Any) -> str:
    """The plain name of a function, operator or method: `add`, `iadd`, `relu_`, `getitem`.

    Operators of other libraries than torch go by their full names: `nms` may be anyone's.
    """
    if isinstance(target, OpOverloadPacket) and not str(target).startswith("aten."):
        return str(target)
    name = target if isinstance(target, str) else str(getattr(target, "__name__", target))
    name = name.strip("_") if name.startswith("__") else name
    return SPELLINGS.get(name, name)


def is_in_place(name: str) -> bool:
    """Whether a call of this name changes its first argument."""
    return name in IN_PLACE_OPERATORS or name.endswith("_")


def out_of_place(name: str) -> str:
    """The name of the call that computes the same and leaves its first argument alone."""
    return IN_PLACE_OPERATORS.get(name) or name.removesuffix("_")


def execute(
    kind: str, target: Any, root: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    """The result of a call on plain values."""
    if kind == "call_module":
        return root.get_submodule(target)(*args, **kwargs)
    if kind == "call_function":
        return target(*args, **kwargs)
    if target in OPERATIONS:
        return getattr(args[0], target)
    return getattr(args[0], target)(*args[1:], **kwargs)

"""What model code may ask a traced tensor for by name: a closed list, so that no value leaks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from lrpc.errors import TraceError
from lrpc.frontend.execute import OPERATIONS

if TYPE_CHECKING:
    from lrpc.frontend.proxy import TracedTensor
    from lrpc.frontend.recording import Recorder

# Facts that hold for every input of this shape and dtype.
PLAIN = frozenset({
    "shape", "dtype", "device", "ndim", "layout", "itemsize", "nbytes", "names", "is_cpu",
    "is_cuda", "is_ipu", "is_maia", "is_meta", "is_mkldnn", "is_mps", "is_mtia", "is_nested",
    "is_quantized", "is_sparse", "is_sparse_csr", "is_vulkan", "is_xla", "is_xpu",
})  # fmt: skip

# What autograd keeps about a tensor is as at inference: programs are compiled without it.
WITHOUT_AUTOGRAD: dict[str, Any] = {
    "requires_grad": False, "retains_grad": False, "is_leaf": True, "grad": None, "grad_fn": None,
    "output_nr": 0,
}  # fmt: skip

# Assigning these changes nothing that inference computes.
ASSIGNABLE = frozenset({"requires_grad", "grad", "names"})

# Where a tensor lies in memory, and its memory itself.
MEMORY = frozenset({
    "data_ptr", "storage", "untyped_storage", "_typed_storage", "__dlpack__", "__reduce_ex__",
    "__reduce__", "__setstate__", "as_subclass", "_is_view", "__dlpack_device__",
})  # fmt: skip

# Methods for autograd alone.
NO_EFFECT = frozenset({"requires_grad_", "retain_grad"})


def accessed(tracer: Recorder, access: str, name: str, args: tuple[Any, ...]) -> Any:
    """What reading (`__get__`), assigning or deleting the attribute `name` gives."""
    if access != "__get__":
        if name in ASSIGNABLE:
            return None
        raise TraceError(
            f"the model assigns to .{name} of a traced tensor, at {tracer.where()}; "
            "compute a new tensor instead"
        )
    x: TracedTensor = args[0]
    if name in OPERATIONS:
        return tracer.create_proxy("call_method", name, (x,), {})
    if name in WITHOUT_AUTOGRAD:
        return WITHOUT_AUTOGRAD[name]
    if name in PLAIN:
        return getattr(x.value, name)
    raise TraceError(
        f"the model reads .{name} of a traced tensor, which cannot be followed, at "
        f"{tracer.where()}; use torch's functions on the tensor instead"
    )


def special(tracer: Recorder, name: str, args: tuple[Any, ...]) -> tuple[bool, Any]:
    """Whether the method `name` is one with a meaning of its own while tracing; its result."""
    x = args[0] if args else None
    if name in NO_EFFECT:
        return True, x if name == "requires_grad_" else None
    if name == "__dir__":
        return True, dir(Tensor)
    if name == "__deepcopy__":
        return True, tracer.create_proxy("call_method", "clone", (x,), {})
    if name == "__repr__" or (name == "__format__" and not args[1]):
        return True, _description(args[0].value)
    if name == "__format__":
        text = format(args[0].value, args[1])
        return True, tracer.decide("format", args[0].value, text)
    if name in MEMORY:
        raise TraceError(
            f"{name.strip('_')} takes a traced tensor's memory out of torch, at {tracer.where()}; "
            "use torch's functions on the tensor instead"
        )
    return False, None


def _description(value: Tensor) -> str:
    shape = ", ".join(map(str, value.shape))
    return f"tensor(of shape [{shape}], {value.dtype}, while tracing)"


def refused_dispatch(op: Any, in_transform: bool, place: object) -> TraceError:
    """The refusal of what reads a traced tensor in a way that cannot be followed."""
    name = str(op).removeprefix("aten.").partition(".")[0]
    if in_transform:
        return TraceError(
            f"torch.vmap and torch.func cannot be traced, at {place}; "
            "write what they do with batched operations"
        )
    if op is torch.ops.aten._local_scalar_dense.default:
        return TraceError(
            f"torch reads a number out of a traced tensor, at {place}; use .item() to hold it "
            "fixed, or operations between tensors to follow it"
        )
    if name in ("detach", "alias", "clone", "_to_copy", "lift_fresh", "copy_"):
        return TraceError(
            f"a traced tensor is copied into a new one in a way that cannot be followed ({name}), "
            f"at {place}; use .clone() or .detach() instead"
        )
    return TraceError(
        f"{name} runs on a traced tensor where tracing cannot follow, as in a function of "
        f"torch.jit.script or an extension, at {place}; call the Python function instead"
    )

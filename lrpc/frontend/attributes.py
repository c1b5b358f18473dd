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
    "data_ptr", "const_data_ptr", "storage", "untyped_storage", "_typed_storage", "__dlpack__",
    "__reduce_ex__", "__reduce__", "__setstate__", "as_subclass", "_is_view", "__dlpack_device__",
})  # fmt: skip

# Methods for autograd alone: without an effect on values, and those that need a backward pass.
NO_EFFECT = frozenset({"requires_grad_", "retain_grad"})
BACKWARD = frozenset({"backward", "register_hook", "register_post_accumulate_grad_hook"})


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
        tracer.true_places.seen([x])
        return getattr(x.value, name)
    raise TraceError(
        f"the model reads .{name} of a traced tensor, which cannot be followed, at "
        f"{tracer.where()}; use torch's functions on the tensor instead"
    )


def attribute(descriptor: Any) -> str:
    """The name of the attribute behind a descriptor of Tensor's."""
    name: str = getattr(descriptor, "__name__", "") or descriptor.fget.__name__
    return name


def special(
    tracer: Recorder, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[bool, Any]:
    """Whether the method `name` is one with a meaning of its own while tracing; its result."""
    x: TracedTensor = args[0]
    if name in NO_EFFECT:
        return True, x if name == "requires_grad_" else None
    if name == "__dir__":
        return True, dir(Tensor)
    if name == "type" and len(args) == 1 and not kwargs:
        return True, x.value.type()
    if name == "__deepcopy__":
        return True, tracer.create_proxy("call_method", "clone", (x,), {})
    if name == "__reversed__":
        return True, tracer.create_proxy("call_method", "flip", (x, 0), {}) if x.dim() else x
    if name in ("__repr__", "__format__"):
        text = repr(x.value) if name == "__repr__" else format(x.value, args[1])
        return True, tracer.decide(name.strip("_"), x.value, text)
    if name in MEMORY:
        raise TraceError(
            f"{name.strip('_')} takes a traced tensor's memory out of torch, at {tracer.where()}; "
            "use torch's functions on the tensor instead"
        )
    if name in BACKWARD:
        raise TraceError(
            f"{name} needs gradients inside the model, at {tracer.where()}; "
            "compile what computes its outputs from its inputs without them"
        )
    return False, None


def plain_argument(tracer: Recorder, a: Any) -> Any:
    """An argument that is no tensor, a number of NumPy as one of Python."""
    if isinstance(a, torch.ScriptObject):
        raise TraceError(
            "a layer with packed weights, as quantised ones are, cannot be traced, at "
            f"{tracer.where()}; use the layer that it was made of"
        )
    return a.item() if type(a).__module__ == "numpy" and getattr(a, "shape", None) == () else a


def refused_argument(tracer: Recorder, a: Any) -> TraceError:
    """The refusal of an argument that fx cannot write down."""
    return TraceError(
        f"an argument of type {type(a).__name__} cannot be followed, at {tracer.where()}; "
        "pass tensors and plain numbers"
    )


def refused_function(tracer: Recorder, func: Any) -> TraceError | None:
    """The refusal of what is no function of torch, or wraps others that cannot be seen."""
    if torch._C._functorch.peek_interpreter_stack() is not None:
        return refused_dispatch(None, True, tracer.where())
    if isinstance(func, torch._ops.HigherOrderOperator):
        return refused_control_flow(tracer.where())
    if isinstance(func, (torch._C.ScriptMethod, torch._C.ScriptFunction)):
        return TraceError(
            f"a module of torch.jit.script cannot be traced, at {tracer.where()}; "
            "use the Python module that it was made of"
        )
    return None


def refused_write(
    tracer: Recorder, x: TracedTensor, name: str, following: bool, same_shape: bool
) -> TraceError | None:
    """The refusal of a write in place that cannot be followed."""
    if not same_shape:
        return TraceError(
            f"{name} changes the shape of a traced tensor in place, at {tracer.where()}; use the "
            "function that returns a new tensor"
        )
    if x.carries and not following:
        return TraceError(
            f"{name} writes under torch.no_grad() into a tensor that has a gradient, at "
            f"{tracer.where()}; compute a new tensor instead"
        )
    return None


def refused_control_flow(place: object) -> TraceError:
    """The refusal of torch.cond and its like."""
    return TraceError(
        f"torch.cond and other functions that take functions cannot be traced, at {place}; use "
        "torch.where, or Python's own `if` and loops, which keep the way that the example takes"
    )


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

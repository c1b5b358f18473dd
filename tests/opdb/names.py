"""The public names of torch that take a tensor: functions, and attributes of `torch.Tensor`."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

import torch
from torch.overrides import get_overridable_functions, get_testing_overrides

NAMESPACES: dict[str, Any] = {
    "torch": torch,
    "torch.nn.functional": torch.nn.functional,
    "torch.special": torch.special,
    "torch.linalg": torch.linalg,
    "torch.fft": torch.fft,
    "torch.Tensor": torch.Tensor,
}

#: Not about what a tensor holds: printing, pickling, Python's object protocol, hooks of autograd.
PROTOCOL = frozenset({
    "__array_priority__", "__array_wrap__", "__class__", "__cuda_array_interface__", "__delattr__",
    "__delitem__", "__dict__", "__dir__", "__dlpack_c_exchange_api__", "__doc__", "__annotations__",
    "__format__", "__getattribute__", "__getstate__", "__hash__", "__init__", "__init_subclass__",
    "__module__", "__new__", "__reduce__", "__reduce_ex__", "__repr__", "__setattr__",
    "__setstate__", "__sizeof__", "__str__", "__subclasshook__", "__torch_dispatch__",
    "__torch_function__", "__weakref__", "__deepcopy__", "__dlpack__", "__dlpack_device__",
})  # fmt: skip


#: Entry points of torch's backends, which models reach through other names.
BACKENDS = ("cudnn_", "fbgemm_", "miopen_", "mkldnn_", "quantized_", "q_", "batch_norm_")

#: Python's own machinery beside the functions: it asks what dispatches, not what a tensor holds.
MACHINERY = frozenset({
    "Callable", "Optional", "assert_int_or_pair", "boolean_dispatch", "handle_torch_function",
    "has_torch_function", "has_torch_function_unary", "has_torch_function_variadic",
})  # fmt: skip

#: Iterations that take minutes on arguments that are not meant for them.
SLOW = frozenset({"lobpcg"})

#: Functions that torch does not list as taking tensors, though some of their arguments may be.
MORE = frozenset({
    "torch.arange", "torch.as_strided", "torch.as_tensor", "torch.asarray", "torch.cond",
    "torch.eye", "torch.fill", "torch.full", "torch.is_tensor", "torch.linspace", "torch.logspace",
    "torch.normal", "torch.ones", "torch.rand_like", "torch.randint_like", "torch.randn_like",
    "torch.result_type", "torch.scalar_tensor", "torch.tensor", "torch.to_dlpack", "torch.vander",
    "torch.vmap", "torch.zeros",
})  # fmt: skip


def names() -> Iterator[tuple[str, str]]:
    """Every namespace and name to be called, in order."""
    for space, home in NAMESPACES.items():
        for name in sorted(dir(home)):
            hidden = name.startswith("_") and not (name.startswith("__") and space.endswith("r"))
            left_out = name.startswith(BACKENDS) or name in PROTOCOL | MACHINERY | SLOW
            if not hidden and not left_out and _takes_a_tensor(space, home, name):
                yield space, name


def _takes_a_tensor(space: str, home: Any, name: str) -> bool:
    found = getattr(home, name, None)
    if space == "torch.Tensor":
        return True
    if not callable(found) or isinstance(found, type):
        return False
    whole = f"{space}.{name}"
    in_place = name.endswith("_") and callable(getattr(torch.Tensor, name, None))
    return (
        name in _overridable(space) or in_place or whole in MORE or space == "torch.nn.functional"
    )


@cache
def _overridable(space: str) -> frozenset[str]:
    """The functions of a namespace that torch dispatches on tensors, by name."""
    home = NAMESPACES[space]
    listed = [f for group in get_overridable_functions().values() for f in group]
    listed += list(get_testing_overrides())
    known = {id(f) for f in listed}
    return frozenset(name for name in dir(home) if id(getattr(home, name, None)) in known)


def reader(space: str, name: str) -> Any:
    """The call of this name as a function of its arguments: `f(x, …)`, `x.name(…)`, `x.name`."""
    if space != "torch.Tensor":
        return getattr(NAMESPACES[space], name)
    if callable(getattr(torch.Tensor, name, None)):
        return lambda x, *args, **kwargs: getattr(x, name)(*args, **kwargs)
    return lambda x: getattr(x, name)

"""Computes as if none of torch's settings were changed, and leaves them to the caller as they are.

Grad mode, inference mode and autocast are each thread's own. How float32 products are rounded is a
setting of the whole process: while programs run that need another than the caller's, all threads
see theirs. It is not touched where it is right already.
"""

from __future__ import annotations

import contextlib
import functools
import sys
import threading
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any, TypeVar

import torch

Wrapped = TypeVar("Wrapped", bound=Callable[..., Any])
SHARED = "_lrpc_float32_1"  # in sys.modules, for all programs of the process

# What decides how float32 is multiplied on each kind of device, as torch.backends.A.B.
FLOAT32 = {
    "cuda": (("cuda", "matmul"), ("cudnn", "conv"), ("cudnn", "rnn")),
    "cpu": (("mkldnn", "matmul"), ("mkldnn", "conv")),
}


def in_own_modes(call: Wrapped) -> Wrapped:
    """A method of a program that runs without gradients, autocast and inference mode."""

    @functools.wraps(call)
    def run(self: Any, *given: Any, **named: Any) -> Any:
        kind = self.device.type
        with contextlib.ExitStack() as modes:
            if torch.is_inference_mode_enabled():  # its tensors refuse to be written to outside it
                modes.enter_context(torch.inference_mode(False))  # with gradients
            modes.enter_context(torch.no_grad())
            if torch.is_autocast_enabled(kind):
                modes.enter_context(torch.autocast(kind, enabled=False))
            return call(self, *given, **named)

    return run  # type: ignore[return-value]


@contextlib.contextmanager
def own_settings(tf32: bool, device: torch.device) -> Iterator[None]:
    """The program's own float32 precision and GPU; the caller's are back afterwards.

    Triton launches on the current GPU, wherever its tensors are.
    """
    cuda = device.type == "cuda"
    if not cuda and not any(map(rounds, FLOAT32.get(device.type, ()))):
        yield
        return
    here = torch.cuda.device(device) if cuda else contextlib.nullcontext()
    shared = shared_float32()
    shared.enter(device.type, tf32 and cuda)
    try:
        with here:
            yield
    finally:
        shared.leave()


class SharedFloat32:
    """The float32 precision that running programs have agreed on.

    The first to come sets it, the last to go sets back what it has found; those that want another
    wait until then.
    """

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.running = 0
        self.mode: tuple[str, bool] = ("", False)
        self.found: dict[str, Any] | None = None  # None where nothing had to be set

    def enter(self, kind: str, tf32: bool) -> None:
        """Wait for the turn of this mode, and set it where it is not."""
        with self.changed:
            self.changed.wait_for(lambda: not self.running or self.mode == (kind, tf32))
            if not self.running:
                self.mode, self.found = (kind, tf32), None
                if any(rounds(part) != tf32 for part in FLOAT32[kind]):
                    self.found = found_float32()
                    set_float32(kind, tf32)
            self.running += 1

    def leave(self) -> None:
        """The caller's own again, where this was the last."""
        with self.changed:
            self.running -= 1
            if not self.running:
                if self.found is not None:
                    restore_float32(self.found)
                self.changed.notify_all()


def shared_float32() -> SharedFloat32:
    """The one of this process, whichever program was the first to want it."""
    made = ModuleType(SHARED)
    made.state = SharedFloat32()  # type: ignore[attr-defined]
    shared: SharedFloat32 = sys.modules.setdefault(SHARED, made).state
    return shared


def rounds(part: tuple[str, str]) -> bool:
    """Whether float32 operands are rounded: to TF32, or to bfloat16."""
    return backend(part).fp32_precision in ("tf32", "bf16")


def backend(part: tuple[str, str]) -> Any:
    """torch.backends.A.B"""
    return getattr(getattr(torch.backends, part[0]), part[1])


# torch has two interfaces to the same settings. The old one raises RuntimeError where the new one
# was used, and setting the new one alone makes the old one raise: so both are read, set and reset.
OLD: dict[str, tuple[Callable[[], Any], Callable[[Any], None]]] = {
    "matmul": (torch.get_float32_matmul_precision, torch.set_float32_matmul_precision),
    "cudnn": (
        lambda: torch.backends.cudnn.allow_tf32,
        lambda value: setattr(torch.backends.cudnn, "allow_tf32", value),
    ),
}


def found_float32() -> dict[str, Any]:
    """All that `set_float32` may change, by either interface."""
    found: dict[str, Any] = {}
    for name, (read, _) in OLD.items():
        with contextlib.suppress(RuntimeError):
            found[name] = read()
    for part in (*FLOAT32["cuda"], *FLOAT32["cpu"]):
        found[".".join(part)] = backend(part).fp32_precision
    return found


def set_float32(kind: str, tf32: bool) -> None:
    """Have float32 products on this kind of device take TF32, or all bits."""
    if kind == "cuda":
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = tf32
    for part in FLOAT32[kind]:
        if rounds(part) != tf32:
            backend(part).fp32_precision = "tf32" if tf32 else "ieee"


def restore_float32(found: dict[str, Any]) -> None:
    """What `found_float32` has found."""
    for name, (_, write) in OLD.items():
        if name in found:
            write(found[name])
    for part in (*FLOAT32["cuda"], *FLOAT32["cpu"]):
        if backend(part).fp32_precision != found[".".join(part)]:
            backend(part).fp32_precision = found[".".join(part)]

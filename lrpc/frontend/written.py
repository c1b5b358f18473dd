"""Plain tensors that a model writes traced values into: from then on they are traced themselves."""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Any

from torch import Tensor

from lrpc.errors import TraceError
from lrpc.frontend.gradients import values_only
from lrpc.frontend.layout import layout
from lrpc.frontend.proxy import TracedTensor
from lrpc.frontend.records import found, kind_of

if TYPE_CHECKING:
    from lrpc.frontend.recording import Recorder


class Written:
    """The memory of such tensors, and what is traced of it.

    A tensor becomes traced where it stands: its class changes, so that every name that the model
    has for it means the traced one. Views of the same memory follow when they are next used.
    """

    def __init__(self, tracer: Recorder) -> None:
        self._tracer = tracer
        self._roots: dict[int, tuple[Tensor, Tensor]] = {}  # by memory: the traced one, as plain
        self._values: dict[int, Tensor] = {}  # the traced ones by the memory of their values

    def __bool__(self) -> bool:
        return bool(self._roots)

    def follow(self, tree: Any) -> None:
        """Make traced what is plain in `tree`, and lies in memory that was written into."""
        for x in found(tree, object):
            if type(x) is Tensor and _memory(x) in self._roots:
                self.adopt(x, "the model")

    def adopt(self, x: Tensor, name: str) -> None:
        """Make the plain tensor `x` traced, which `name` is about to write into."""
        if type(x) is not Tensor or x.requires_grad or self._tracer.constants.owns(x):
            raise TraceError(
                f"{name} writes traced values into a parameter or buffer of the model, at "
                f"{self._tracer.where()}; write into a clone of it"
            )
        root, plain = self._root(x, name)
        if x is not root:
            self._view(x, root, plain, name)

    def into(self, kind: str, target: Any, name: str, args: Any, kwargs: dict[str, Any]) -> Any:
        """A call that writes its result into `out`, where that is traced and of its shape."""
        out = kwargs.pop("out")
        result = self._tracer.create_proxy(kind, target, args, kwargs)
        if type(result) is not TracedTensor or not isinstance(out, Tensor):
            raise TraceError(
                f"{name} writes several results (out=), at {self._tracer.where()}; "
                "use what it returns instead"
            )
        if result.shape != out.shape:
            raise TraceError(
                f"{name} changes the shape of a traced tensor in place (out=), at "
                f"{self._tracer.where()}; use what it returns instead"
            )
        self._tracer.create_proxy("call_method", "copy_", (out, result), {})
        return out

    def wrote(self, x: TracedTensor) -> None:
        """Autograd follows what was written into `x`, so into all of its memory."""
        if type(root := self._values.get(_memory(x.value))) is TracedTensor:
            root.carries = True

    def _root(self, x: Tensor, name: str) -> tuple[Tensor, Tensor]:
        """The traced tensor that all memory of `x` belongs to, and the same as a plain one."""
        if (known := self._roots.get(_memory(x))) is not None:
            return known
        root = x if x._base is None else x._base
        whole = root.numel() * root.element_size() == root.untyped_storage().nbytes()
        if not root.is_contiguous() or not whole or type(root) is not Tensor:
            raise self._refusal(name)
        tracer = self._tracer
        with values_only():
            plain = root.detach()  # sees and counts what is written
        node = tracer.create_node("call_method", "clone", (tracer.intern(plain),), {})
        node.meta["type"] = kind_of(plain)
        value = plain if tracer.runner.fake is None else tracer.runner.fake.from_tensor(plain)
        _become(root, TracedTensor(node, tracer, value))
        self._roots[_memory(plain)] = root, plain
        self._values[_memory(value)] = root
        return root, plain

    def _view(self, x: Tensor, root: Any, plain: Tensor, name: str) -> None:
        """Make `x` what `root`, of the same memory, shows at its place."""
        lies = layout(plain.shape, x.shape, x.stride(), int(x.storage_offset()))
        made = root
        if x.is_contiguous() and x.numel() == plain.numel():
            lies = None
        elif lies is None:
            raise self._refusal(name)
        if lies is not None:
            made = operator.getitem(root, lies.picks)
            if lies.order != tuple(range(len(lies.order))):
                made = made.permute(lies.order)
        shape = tuple(x.shape)
        if tuple(made.shape) != shape:
            made = made.view(shape)
        elif made is root:
            made = made.view_as(made)
        _become(x, made)

    def _refusal(self, name: str) -> TraceError:
        return TraceError(
            f"{name} writes traced values into a plain tensor whose memory is spread, at "
            f"{self._tracer.where()}; write into a contiguous one, by indices"
        )


def _become(x: Tensor, traced: TracedTensor) -> None:
    x.__class__ = TracedTensor
    vars(x).update(vars(traced))


def _memory(x: Tensor) -> int:
    """Equal for tensors of one memory, also of none as in traces by shapes."""
    place: int = x.untyped_storage()._cdata
    return place

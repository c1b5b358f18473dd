"""The plain tensors that a trace meets: parameters and buffers by name, the rest by number."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.utils.weak import WeakIdKeyDictionary

from lrpc.frontend.gradients import values_only
from lrpc.frontend.records import memory_of


class Constants:
    """Their nodes, one for each tensor and each content that it had, and what they hold."""

    def __init__(self, model: nn.Module, node: Callable[[str, Tensor], fx.Node]) -> None:
        """`node(name, tensor)` makes the node that stands for a tensor."""
        self.stored: dict[str, Tensor] = {}
        self._node = node
        self._names: dict[object, str] = {}
        self._fetched: dict[str, fx.Node] = {}
        self._seen: Any = WeakIdKeyDictionary()  # tensor → (its version, node)
        for name, tensor in (*model.named_parameters(), *model.named_buffers()):
            self._names.setdefault(memory_of(tensor), name)
        state = (*model.parameters(), *model.buffers())
        self._own = {x.untyped_storage().data_ptr() for x in state} - {0}

    def owns(self, tensor: Tensor) -> bool:
        """Whether a tensor lies in memory of a parameter or buffer of the model."""
        return tensor.untyped_storage().data_ptr() in self._own

    def node_of(self, tensor: Tensor) -> fx.Node:
        """The node of a tensor as it is now."""
        name = self._names.get(memory_of(tensor)) if tensor.numel() else None
        if name is None:
            return self._numbered(tensor)
        if name not in self._fetched:
            self.stored[name] = tensor.detach()
            self._fetched[name] = self._node(name, tensor)
        return self._fetched[name]

    def _numbered(self, tensor: Tensor) -> fx.Node:
        node: fx.Node | None
        version, node = self._seen.get(tensor, (-1, None))
        now = None if tensor.is_inference() else tensor._version
        if node is None or now is None or version != now:
            name = f"constant.{sum(k.startswith('constant.') for k in self.stored)}"
            with values_only():
                self.stored[name] = _copy(tensor)
            node = self._node(name, tensor)
            self._seen[tensor] = (now, node)
        return node


def _copy(tensor: Tensor) -> Tensor:
    return tensor.detach().clone(memory_format=torch.preserve_format)

"""Places where a mask is true: `x[torch.where(mask)] = v` is recorded as `x[mask] = v`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, fx

from lrpc.errors import TraceError
from lrpc.frontend.execute import call_name
from lrpc.frontend.proxy import TracedTensor
from lrpc.frontend.records import found
from lrpc.ir.graph import Loc


def asks_for_places(name: str, args: tuple[Any, ...], kwargs: Any) -> bool:
    """Whether a call on plain tensors asks where a mask is true, for a tuple of index tensors."""
    mask = isinstance(args[0], Tensor) and args[0].dtype == torch.bool if args else False
    if name == "where":
        return mask and len(args) == 1 and not kwargs
    return mask and name == "nonzero" and bool(kwargs.get("as_tuple"))


class TruePlaces:
    """The masks whose places a model asked for. How many there are hangs on the values, the masks
    do not."""

    def __init__(self) -> None:
        self._masks: dict[tuple[fx.Node, ...], tuple[TracedTensor, int]] = {}
        self._asked: set[fx.Node] = set()

    def note(self, name: str, args: tuple[Any, ...], kwargs: Any, made: Any) -> None:
        """Keep the mask, where a call gives the places at which one is true."""
        mask = args[0] if args else None
        if isinstance(mask, TracedTensor) and asks_for_places(
            name, (mask.value, *args[1:]), kwargs
        ):
            parts = tuple(part.node for part in made)
            self._masks[parts] = mask, mask.value._version

    def instead(self, index: Any) -> Any:
        """The mask in place of an index that is all of its places, if it is unchanged since."""
        if not isinstance(index, tuple) or not all(type(i) is TracedTensor for i in index):
            return index
        mask, version = self._masks.get(tuple(i.node for i in index), (None, 0))
        return index if mask is None or mask.value._version != version else mask

    def seen(self, operands: Iterable[TracedTensor]) -> None:
        """Places are asked for something, such as how many there are."""
        if self._masks:
            self._asked |= {x.node for x in operands}

    def prune(self, graph: fx.Graph, returned: Any, by_shapes: bool) -> set[tuple[str, Loc]]:
        """Remove from `graph` the places that stood for their mask alone, which `returned` does not
        hold; the names of these calls, and where they stand. TraceError for others where values are
        not known, `by_shapes`."""
        kept, gone = set(found(returned, fx.Node)), set[tuple[str, Loc]]()
        for parts in self._masks:
            nodes = (*parts, *parts[0].all_input_nodes)
            if not kept & {*nodes} and not self._asked & {*parts}:
                for node in nodes:
                    graph.erase_node(node)
                    gone.add((call_name(node.target), node.meta["loc"]))
            elif by_shapes:
                raise TraceError(
                    f"{call_name(nodes[-1].target)} gives places whose number depends on the data,"
                    f" at {parts[0].meta['loc']}; multiply by the mask instead"
                )
        return gone

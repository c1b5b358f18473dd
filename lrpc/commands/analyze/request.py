"""What is asked: which features of which layer, and between which two places relevance runs."""

from __future__ import annotations

from dataclasses import dataclass

from lrpc.config import target_kinds
from lrpc.errors import AnalysisError

KINDS = {"encoder": "encoder_feature", "decoder": "decoder_query"}
SUBLAYERS = {stack: tuple(parts) for stack, parts in target_kinds.SUBLAYERS.items()}
UNITS = {"encoder": "channel", "decoder": "query"}


@dataclass(frozen=True)
class LocalRequest:
    """Features of one layer; `features` None stands for all of them, `token` None for the mean."""

    module: str
    layer: int
    features: tuple[int, ...] | None
    sublayer: str | None = None
    measure: str = "post_res"
    token: int | None = None
    norm: str = "none"

    def __post_init__(self) -> None:
        if self.sublayer is not None and self.sublayer not in SUBLAYERS[self.module]:
            known = ", ".join(SUBLAYERS[self.module])
            raise AnalysisError(
                f"--sublayer {self.sublayer}: layers of the {self.module} have {known}"
            )
        if self.token is not None and self.module == "decoder":
            raise AnalysisError(
                "--target-token goes with --which-module encoder; queries have none"
            )


@dataclass(frozen=True)
class Route:
    """Places by name: relevance of `target` starts at `start` and is read at `read`.

    Both `read` and `leaving` end it: what arrives at the latter left the path between the two.
    """

    target: str
    start: str
    read: str
    leaving: tuple[str, ...]


def route(request: LocalRequest, encoder_layers: int) -> Route:
    """From the asked place of a layer to the same place of the layer before (rules.md, local mode).

    Before layer 0 comes what enters the stack. Reading a transform before its residual sum leaves
    the skip path aside; what decoder layers look up in the encoder's output leaves the queries.
    """
    stack, layer = request.module, request.layer
    sublayer, before = request.sublayer or "ffn", request.measure == "pre_res"
    start = _place(stack, layer, sublayer, before)
    leaving: tuple[str, ...] = ()
    if layer == 0:
        read = f"{stack}.input"
    else:
        read = _place(stack, layer - 1, sublayer, before)
        leaving = (_entering(stack, layer - 1, sublayer),) if before else ()
    if stack == "decoder":
        leaving = (*leaving, f"encoder.layers.{encoder_layers - 1}")
    return Route(f"{KINDS[stack]}:{start.split('.layers.')[1]}", start, read, leaving)


def _place(stack: str, layer: int, sublayer: str, before_sum: bool) -> str:
    name = f"{stack}.layers.{layer}"
    if before_sum:
        return f"{name}.{sublayer}.pre_res"
    return name if sublayer == "ffn" else f"{name}.{sublayer}"


def _entering(stack: str, layer: int, sublayer: str) -> str:
    """The skip of a sublayer: the output of the sublayer, layer or input before it."""
    order = SUBLAYERS[stack]
    at = order.index(sublayer)
    if at:
        return _place(stack, layer, order[at - 1], False)
    return f"{stack}.layers.{layer - 1}" if layer else f"{stack}.input"


def parse_features(text: str) -> tuple[int, ...] | None:
    """`all` (None), or indices and ranges such as `17` or `0,4,8-15`, in the order given."""
    if text.strip() == "all":
        return None
    found: dict[int, None] = {}
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not _number(first) or (dash and not (_number(last) and int(last) >= int(first))):
            raise AnalysisError(
                f"--feature-index {text}: {part.strip()!r} is no index or range; give 17, 0,4,8-15"
                " or all"
            )
        found.update(dict.fromkeys(range(int(first), int(last or first) + 1)))
    return tuple(found)


def _number(text: str) -> bool:
    return text.isascii() and text.isdigit()


def check_features(features: tuple[int, ...] | None, size: int, module: str) -> tuple[int, ...]:
    """The indices asked for; AnalysisError where one is not below `size`."""
    chosen = tuple(range(size)) if features is None else features
    if max(chosen) >= size:
        raise AnalysisError(
            f"--feature-index {max(chosen)}: the {module} has {UNITS[module]} 0 to {size - 1}"
        )
    return chosen


def check_layer(layer: int, layers: int, module: str) -> None:
    """AnalysisError where the module has no such layer."""
    if layer >= layers:
        there = f"layers 0 to {layers - 1}" if layers else "no layer"
        raise AnalysisError(f"--layer-index {layer}: the {module} has {there}")

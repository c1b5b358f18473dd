"""What refusals say: how a call is shown, and what to do about operations without a rule."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from lrpc.frontend.records import Call, ImageNumbers, Stored
from lrpc.ir.graph import Value
from lrpc.ir.types import Sym

NO_RULE = "has no rule yet"
LOSS = "a loss is no part of an explanation: return the outputs that it takes"
RANDOM = "it draws random numbers, so that no two calls agree; draw them outside, as an input"
COMPLEX = "of complex numbers, sums, products and Fourier transforms compile"
VOLUME = "of maps of three axes convolutions, pooling by windows and resizing can be compiled"
TRANSPOSED = "a 3-D transposed convolution has no rule yet; add up 2-D ones of each depth"
UNPOOLED = "put the entries back by their indices, with scatter on the flattened map"
RUNNING = "of running values sums and products (cumsum, cumprod) can be compiled"
FREQUENT = "topk, sort and median can be compiled"
PACKED = "give the padded sequence, and mask what the layer gives"
SOLVE = "of decompositions and solvers only those of constants can be compiled"
SHAPE = "its result's shape depends on the data; multiply by a mask instead"
SCATTER = "scatter_add, scatter_reduce with sum or mean, and index_put can be compiled"
BY_WHERE = "use torch.where(mask, new, x), both of x's shape"
MASKED = "multiply by the mask instead"
FLAT = "flatten the index and reshape the result; rows of a table are embedding(index, table)"
ONE_AXIS = "index one axis after the other, or use torch.gather along one"
LATER = "return all, and pick from the result"
SCORES = "return the scores before it, and start from those"

#: What to do about a call without a rule, by what it means: names, and what begins or ends so.
ADVICE: dict[str, str] = {
    "logcumsumexp": SCORES,
    "conv_transpose3d": TRANSPOSED,
    **dict.fromkeys(("max_unpool1d", "max_unpool2d", "max_unpool3d"), UNPOOLED),
    **dict.fromkeys(("cummax", "cummin"), RUNNING),
    "_pack_padded_sequence": PACKED,
    **dict.fromkeys(("cross_entropy", "kl_div", "binary_cross_entropy", "nll_loss"), LOSS),
    **dict.fromkeys(
        ("bernoulli", "multinomial", "poisson", "rand_like", "randn_like", "randint_like",
         "normal", "gumbel_softmax", "native_dropout", "uniform", "random", "exponential", "cauchy",
         "geometric", "log_normal", "binomial"), RANDOM,
    ),
    **dict.fromkeys(
        ("complex", "polar", "real", "imag", "angle", "conj", "stft", "istft"), COMPLEX
    ),
    **dict.fromkeys(("nanmedian", "mode", "nanquantile", "quantile"), FREQUENT),
    **dict.fromkeys(
        ("det", "logdet", "slogdet", "inverse", "pinverse", "cholesky", "qr", "svd", "solve", "inv",
         "lu", "eig", "eigh", "lstsq"), SOLVE,
    ),
    **dict.fromkeys(
        ("nonzero", "masked_select", "unique", "unique_consecutive", "argwhere"), SHAPE
    ),
    **dict.fromkeys(("index_reduce", "masked_scatter", "put", "scatter_reduce"), SCATTER),
}  # fmt: skip
ENDINGS = {"_loss": LOSS, "3d": VOLUME, "cross_entropy": LOSS, "_with_logits": LOSS}
SPACES = ("linalg_", "special_", "fft_")


def no_rule(call: Call) -> str:
    """The refusal of a call that no rule stands for."""
    whole = _full_name(call)
    name = call.name.removesuffix("_")
    for space in SPACES:
        name = name.removeprefix(space)
    found = [
        *(text for key, text in ADVICE.items() if key == name),
        *(text for end, text in ENDINGS.items() if name.endswith(end)),
        *([COMPLEX] if whole.startswith("torch.fft.") else []),
    ]
    text = f"{whole} {NO_RULE}, at {call.loc}"
    return f"{text}; {found[0]}" if found else text


def _full_name(call: Call) -> str:
    if isinstance(call.target, (str, torch.nn.Module)):
        return call.name
    return torch.overrides.resolve_name(call.target) or call.name


def shown(name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> str:
    """A call as its user would write it, with types in place of tensors."""
    parts = [_part(x) for x in args] + [f"{key}={_part(x)}" for key, x in kwargs.items()]
    return f"{name}({', '.join(parts)})"


def _part(x: Any) -> str:
    if isinstance(x, (Value, Stored)):
        constant = "constant " if isinstance(x, Stored) else ""
        return f"{constant}{x.type}"
    if isinstance(x, ImageNumbers):
        return "the numbers of the images"
    if isinstance(x, (tuple, list)):
        inner = ", ".join(_part(part) for part in x[:6]) + (", …" if len(x) > 6 else "")
        return f"[{inner}]"
    if isinstance(x, (bool, int, float, str, Sym, torch.dtype, slice)) or x is None or x is ...:
        return str(x) if isinstance(x, Sym) else repr(x)
    return f"a {type(x).__name__}" if isinstance(x, torch.Tensor) else "…"

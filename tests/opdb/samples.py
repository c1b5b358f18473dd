"""Sample calls by name: torch's own, else those of a small table, else plain patterns that fit."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from tests.opdb.names import MORE, reader
from tests.opdb.own import OWN

PREFIXES = ("", "nn.functional.", "special.", "linalg.", "fft.")
DTYPES = (torch.float64, torch.int64, torch.bool)


@dataclass(frozen=True)
class Sample:
    """One call: `args[0]` is what the method or attribute is of."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    @property
    def tensors(self) -> list[Tensor]:
        """Every tensor in it, in order."""
        return [x for x in tree_leaves((self.args, self.kwargs)) if isinstance(x, Tensor)]


def samples(space: str, name: str, most: int) -> list[Sample]:
    """At most about `most` sample calls of each dtype that run; [] where none is known."""
    own = [Sample(args, kwargs) for args, kwargs in OWN.get(f"{space}.{name}", ())]
    found = [s for s in own if _runs(space, name, s)]
    for dtype in DTYPES:
        listed = [Sample(a, k) for a, k in _listed(_keys(space, name), dtype)]
        fitting = [s for s in _spread(listed, 2 * most) if _runs(space, name, s)]
        found += _spread(fitting, most if dtype == torch.float64 else -(-most // 4))
    if found or (space == "torch" and f"torch.{name}" in MORE):
        return found
    return [s for s in _patterns() if _runs(space, name, s)][:4]


def _keys(space: str, name: str) -> tuple[str, ...]:
    """The names that torch's table may have the call under, the nearest first."""
    home = space.removeprefix("torch").removeprefix(".").removeprefix("Tensor")
    plain = name.strip("_") if name.startswith("__") else name.removesuffix("_")
    own = (f"{home}.{name}".strip("."), f"{home}.{plain}".strip("."))
    operator = (plain.removeprefix("i"),) if name.startswith("__i") else ()
    loose = [prefix + p for p in (plain, *operator) for prefix in PREFIXES]
    return tuple(dict.fromkeys((*own, *loose)))


def _listed(keys: tuple[str, ...], dtype: torch.dtype) -> list[tuple[Any, Any]]:
    for key in keys:
        if ops := _table().get(key):
            made = [pair for op in ops for pair in _made(op, dtype)]
            if made or any(op.supports_dtype(torch.float64, "cpu") for op in ops):
                return made
    return []


@cache
def _table() -> dict[str, list[Any]]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from torch.testing._internal import common_utils
        from torch.testing._internal.common_methods_invocations import op_db
        from torch.testing._internal.opinfo import core
    # For a seed they look through the whole stack for a unittest.TestCase, which is not there:
    # most of the time that samples take below pytest.
    common_utils.extract_test_fn = core.extract_test_fn = lambda: None
    # Its import forbids this process to set torch's flags, as programs do for their own calls.
    settings = torch.backends.disable_global_flags.__globals__
    settings["__allow_nonbracketed_mutation_flag"] = True
    table: dict[str, list[Any]] = {}
    for op in op_db:
        for key in dict.fromkeys((op.name, *(alias.name for alias in op.aliases))):
            table.setdefault(key, []).append(op)
    return table


def _made(op: Any, dtype: torch.dtype) -> list[tuple[Any, Any]]:
    if not op.supports_dtype(dtype, "cpu"):
        return []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.manual_seed(0)
        given = op.sample_inputs("cpu", dtype, requires_grad=False)
        return [((s.input, *s.args), dict(s.kwargs)) for s in given if _plain(s)]


def _plain(sample: Any) -> bool:
    """Whether it is of dense tensors that own their memory in the usual order, and small."""
    leaves = tree_leaves((sample.input, sample.args, sample.kwargs))
    tensors = [x for x in leaves if isinstance(x, Tensor)]
    return all(
        x.layout == torch.strided and not x.is_complex() and 0 < x.numel() <= 4096 for x in tensors
    )


def _spread(found: list[Sample], most: int) -> list[Sample]:
    """`most` of them, evenly over the list."""
    if len(found) <= most:
        return found
    return [found[i * len(found) // most] for i in range(most)]


def _runs(space: str, name: str, sample: Sample) -> bool:
    """Whether torch itself takes the call, with a tensor first where it is one of a tensor."""
    if not sample.tensors:
        return False
    if space == "torch.Tensor" and not isinstance(sample.args[0], Tensor):
        return False
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            reader(space, name)(*copied(sample.args), **copied(sample.kwargs))
    except Exception:
        return False
    return True


def copied(tree: Any) -> Any:
    """`tree` with its tensors copied."""
    return torch.utils._pytree.tree_map(lambda x: x.clone() if isinstance(x, Tensor) else x, tree)


def _patterns() -> Iterator[Sample]:
    """Plain calls, the likeliest first."""
    generator = torch.Generator().manual_seed(0)

    def some(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator, dtype=torch.float64) + 0.5

    x, y, z = some(4, 4), some(4, 4), some(4, 4)
    image, whole = some(2, 3, 8, 8), torch.randint(1, 4, (4, 4), generator=generator)
    for args in (
        (x,), (x, y), (x, 1), (x, 2, 1), (x, y, z), (x, -1), (x, (4, 4)), (x, 0.5), (x, 1, y),
        (image,), (image, 2), (image, (2, 2)), (whole,), (whole, whole), (whole, 1), (whole > 1,),
        (whole > 1, whole > 2), (x, whole > 1, 0.0), (x, 0, whole % 4), ([x, y],),
        (x, torch.float32), (x, "sum"), (some(3, 4, 4), some(3, 4, 4)), (x, 1, 0, 1),
    ):  # fmt: skip
        yield Sample(args, {})

"""Where relevance starts by index: what `at` means for a target."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from lrpc.runtime.arguments import is_integer, kind_of, plain_tensor, whole_number
from lrpc.runtime.loading import ProgramError


def indices(name: str, names: Sequence[str], extents: Sequence[int], batch: int, at: Any) -> Tensor:
    """`at` for each seed and image: [K, B, n], for n indices called `names`, each below its extent.

    A list has one entry for each seed: its n indices, or, where each image has its own, one such
    for each image. An integer tensor or numpy array is read by its shape: [K, B, n]; [K, n], alike
    for all images; and, for targets of one index, [B], one seed that starts at another place in
    each image. Indices count from 0.
    """
    width = len(names)
    if isinstance(at, Tensor) or hasattr(at, "__array__"):
        index = from_tensor(name, names, batch, at)
    elif isinstance(at, Sequence) and not isinstance(at, str | bytes):
        index = from_list(name, names, extents, batch, at)
    else:
        raise ProgramError(f"{name}: {at_takes(names, batch)}; got {kind_of(at)}")
    if index.shape[0] == 0:
        raise ProgramError(f"{name}: at is empty; {at_takes(names, batch)}")
    for i in range(width):
        check_range(name, names[i], extents[i], *map(int, index[..., i].aminmax()))
    return index


def at_takes(names: Sequence[str], batch: int) -> str:
    """What `at` may be, in words."""
    width = len(names)
    per_image = f", or [{batch}] with one for each image" if width == 1 else ""
    return (
        f"at takes ({', '.join(names)}) per seed, as in at=[{example(names)}], or an integer tensor"
        f" [K, {width}] or [K, {batch}, {width}]{per_image}"
    )


def example(names: Sequence[str]) -> str:
    """The indices of one seed, all 0."""
    zeros = ", ".join("0" for _ in names)
    return f"({zeros},)" if len(names) == 1 else f"({zeros})"


def check_range(name: str, index: str, extent: int, low: int, high: int) -> None:
    """Refuse indices out of range."""
    if low < 0 or high >= extent:
        raise ProgramError(
            f"{name}: {index} must lie in 0..{extent - 1}, got {low if low < 0 else high}"
        )


def from_tensor(name: str, names: Sequence[str], batch: int, at: Any) -> Tensor:
    """A tensor or numpy array, read by its shape."""
    width = len(names)
    try:
        given = at if isinstance(at, Tensor) else torch.as_tensor(at, device="cpu")
    except (TypeError, ValueError, RuntimeError):
        kind = getattr(at, "dtype", kind_of(at))
        raise ProgramError(f"{name}: {at_takes(names, batch)}; got {kind}") from None
    index = plain_tensor(f"{name}: at", given)
    if not is_integer(index.dtype):
        raise ProgramError(f"{name}: {at_takes(names, batch)}; got {index.dtype}")
    index = index.to(torch.int64)
    if index.dim() == 1 and width == 1 and index.shape[0]:
        if index.shape[0] != batch:
            raise ProgramError(
                f"{name}: a tensor of one {names[0]} for each image has {batch}, got"
                f" {index.shape[0]}; for seeds that are alike in all images give a list, or a"
                " tensor [K, 1]"
            )
        return index[None, :, None]
    if index.dim() == 2 and index.shape[1] == width:
        return index[:, None].expand(-1, batch, -1)
    if index.dim() == 3 and index.shape[1:] == (batch, width):
        return index
    raise ProgramError(f"{name}: {at_takes(names, batch)}; got shape {list(index.shape)}")


def from_list(
    name: str, names: Sequence[str], extents: Sequence[int], batch: int, at: Sequence[Any]
) -> Tensor:
    """A list with one entry for each seed."""
    width = len(names)

    def one(entry: Any) -> list[int] | None:
        """The indices of one seed in one image; None for what is none."""
        alone = whole_number(entry)
        if alone is not None:
            given: list[Any] = [entry]
        elif is_list(entry):
            given = list(entry)
        else:
            return None
        found = [whole_number(part) for part in given]
        if len(found) != width or None in found or (alone is not None and width != 1):
            return None
        numbers = [number for number in found if number is not None]
        for label, extent, number in zip(names, extents, numbers, strict=True):
            check_range(name, label, extent, number, number)
        return numbers

    rows: list[list[list[int]]] = []
    for entry in at:
        alike = one(entry)
        if alike is not None:
            rows.append([alike] * batch)
            continue
        each = [one(part) for part in entry] if is_list(entry) and len(entry) == batch else [None]
        own = [indices for indices in each if indices is not None]
        if len(own) != batch:
            raise ProgramError(f"{name}: {at_takes(names, batch)}; got {shown(at)}")
        rows.append(own)
    return torch.tensor(rows, dtype=torch.int64, device="cpu").reshape(len(rows), batch, width)


def is_list(value: Any) -> bool:
    """Whether it has entries in an order: a list, a tuple, or a tensor or array with an axis."""
    if isinstance(value, Tensor) or hasattr(value, "__array__"):
        return len(value.shape) > 0 and not getattr(value, "is_meta", False)
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)


def shown(value: Any) -> str:
    """The beginning of what was given."""
    text = " ".join(repr(value).split())
    return text if len(text) <= 60 else f"{text[:57]}..."

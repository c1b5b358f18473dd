"""Contrasts: relevance that starts from the difference between one class or query and others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from lrpc.config.target_kinds import CONTRASTS, TargetKind
from lrpc.errors import LrpcError
from lrpc.support.untrusted import near


class ContrastError(LrpcError):
    """A contrast that the outputs do not have."""


@dataclass(frozen=True)
class Against:
    """What a target is contrasted with: a word of `CONTRASTS`, the number of another class or
    query, or the name of a class. `place` is which number of the index it takes the place of."""

    text: str
    place: int = -1

    @property
    def number(self) -> int | None:
        """The other class or query; None for a word or name."""
        return int(self.text) if self.text.isascii() and self.text.isdigit() else None

    def slug(self, kind: TargetKind) -> str:
        """As part of a file name, such as `vs-c3` or `vs-mean`."""
        own = self.text if self.number is None else kind.index[self.place].spelt(self.number)
        return f"vs-{own}"

    def words(self, kind: TargetKind) -> str:
        """In words, such as `against class 3`."""
        if self.number is None:
            return f"against {CONTRASTS[self.text]}"
        return f"against {kind.index[self.place].name} {self.text}"

    def numbered(self, names: Sequence[str]) -> Against:
        """With the number of a class in place of its name. Raises ContrastError for a name that
        the program does not have."""
        if self.number is not None or self.text in CONTRASTS:
            return self
        if self.text in names:
            return replace(self, text=str(list(names).index(self.text)))
        known = [*CONTRASTS, *names]
        close = near(self.text, known)
        hint = f"did you mean '{close}'?" if close else f"known: {', '.join(known)}, or a number"
        raise ContrastError(f"against '{self.text}': no class or contrast of that name; {hint}")


def contrast(
    logits: Tensor, index: Sequence[int], against: str | int, *, classes: int = 0
) -> Tensor:
    """Relevance to start from, shaped like `logits` [..., C], where one class is to be told from
    others. Of one image it is given to `program.relevance` as `seeds=start[None, None]`.

    `index` is that of the class logit z_t, whose last number t is the class; `classes` how many of
    the C logits are classes (0: all; a last one more means no object). With z the logits of that
    query, `against` is

    - a number i or "next", the largest other class: z_t − z_i;
    - "mean": z_t − mean of the others;
    - "softmax": Σ (δ_ti − p_i) z_i with p = softmax(z), the gradient of log p_t times z;
    - "sigmoid": the same with p = σ(z), for classes that are independent of each other: the
      gradient of the log-likelihood of t and none of the others (binary cross-entropy);
    - "clrp": z_t at t and −z_t / (n − 1) at the others (CLRP1, Gu et al. 2018, 1812.02100);
    - "sglrp": p_t (1 − p_t) at t and −p_t p_i at the others (SGLRP, Iwana et al. 2019,
      1908.04351).

    Raises ContrastError for an unknown word, an index outside, or one class alone.
    """
    where, label = tuple(index[:-1]), index[-1]
    row = logits[where]
    count = classes or len(row)
    if count < 2:
        raise ContrastError(f"against '{against}': there is one class alone, and none to tell from")
    number = against if isinstance(against, int) else Against(against).number
    others = [label] if number is None else [label, number]
    for one in others:
        if not 0 <= one < len(row):
            raise ContrastError(f"against '{against}': '{one}' is none of {len(row)} classes")
    start = torch.zeros_like(logits)
    if number is not None:
        start[where] = _difference(row, label, number)
    elif against in CONTRASTS:
        start[where] = _WAYS[str(against)](row, label, count)
    else:
        Against(str(against)).numbered(())
    return start


def of_queries(values: Tensor, index: Sequence[int], other: int, place: int) -> Tensor:
    """Relevance of the value at `index` less that where number `place` of it is `other`."""
    start = torch.zeros_like(values)
    second = list(index)
    second[place] = other
    start[tuple(index)] = values[tuple(index)]
    start[tuple(second)] -= values[tuple(second)]
    return start


def _difference(row: Tensor, label: int, other: int) -> Tensor:
    weights = torch.zeros_like(row)
    weights[label] += 1
    weights[other] -= 1
    return weights * row


def _next(row: Tensor, label: int, count: int) -> Tensor:
    rest = row[:count].clone()
    rest[label] = -torch.inf
    return _difference(row, label, int(rest.argmax()))


def _mean(row: Tensor, label: int, count: int) -> Tensor:
    weights = torch.zeros_like(row)
    weights[:count] = -1 / (count - 1)
    weights[label] = 1
    return weights * row


def _softmax(row: Tensor, label: int, count: int) -> Tensor:
    return (_one(row, label) - row.softmax(0)) * row


def _sigmoid(row: Tensor, label: int, count: int) -> Tensor:
    inside = _inside(row, count)
    return (_one(row, label) - row.sigmoid() * inside) * row


def _clrp(row: Tensor, label: int, count: int) -> Tensor:
    others = _inside(row, count) - _one(row, label)
    return (_one(row, label) - others / (count - 1)) * row[label]


def _sglrp(row: Tensor, label: int, count: int) -> Tensor:
    shares = row.softmax(0)
    return (_one(row, label) - shares) * shares[label]


def _one(row: Tensor, label: int) -> Tensor:
    one = torch.zeros_like(row)
    one[label] = 1
    return one


def _inside(row: Tensor, count: int) -> Tensor:
    inside = torch.zeros_like(row)
    inside[:count] = 1
    return inside


_WAYS = {
    "next": _next,
    "mean": _mean,
    "softmax": _softmax,
    "sigmoid": _sigmoid,
    "clrp": _clrp,
    "sglrp": _sglrp,
}

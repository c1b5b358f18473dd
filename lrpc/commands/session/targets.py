"""`--target` expressions: where relevance starts, as text and as a parsed request."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from lrpc.commands.session.contrasts import Against, ContrastError
from lrpc.config.target_kinds import CONTRASTS, KINDS, TargetKind
from lrpc.errors import LrpcError
from lrpc.support.untrusted import near

Layer = int | str  # a whole layer, or a part of one such as "2.self_attn" or "2.ffn.pre_res"
_PART = re.compile(r"[0-9]+\.[a-z_]+(\.pre_res)?")


class TargetError(LrpcError):
    """A target expression that cannot be read, or that points outside the model."""


@dataclass(frozen=True)
class TargetSpec:
    """One parsed request; `index` None asks for each detection's own, `against` for a contrast."""

    kind: str
    layer: Layer | None = None
    index: tuple[int, ...] | None = None
    against: Against | None = None

    def __str__(self) -> str:
        layer = "" if self.layer is None else f":{self.layer}"
        numbers = [] if self.index is None else [str(number) for number in self.index]
        if self.against is not None:
            place = self.against.place if numbers else 0
            numbers = numbers or [""]
            numbers[place] += f"-{self.against.text}"
        return self.kind + layer + (":" + ",".join(numbers) if numbers else "")

    def numbered(self, names: Sequence[str]) -> TargetSpec:
        """With numbers in place of the names of classes. Raises TargetError."""
        if self.against is None:
            return self
        try:
            return replace(self, against=self.against.numbered(names))
        except ContrastError as error:
            raise TargetError(f"target '{self}': {error}") from error

    @property
    def name(self) -> str:
        """As programs name their targets."""
        return self.kind if self.layer is None else f"{self.kind}:{self.layer}"

    def check_compiled(self, targets: Sequence[str]) -> None:
        """Raise TargetError where a program's targets (`KIND` or `KIND:LAYER`; none: unknown) do
        not hold this one."""
        if not targets or (KINDS[self.kind].weighs or self.name) in targets:
            return
        listed = ", ".join(targets)
        if not any(name.partition(":")[0] in KINDS for name in targets):
            raise TargetError(
                f"target '{self}': commands do not know this program's own ({listed}); explain them"
                f" from Python, as lrpc.load(DIR).relevance(state, {targets[0]!r}, …), or compile a"
                " folder of transformers (LRPC.SOURCE transformers:PATH), or a model with outputs"
                " as docs/models.md names them, such as pixel_logits for logits [B, C, h, w]"
            )
        raise TargetError(
            f"target '{self}': the program was compiled for {listed}; add it to LRPC.TARGETS and"
            " compile again"
        )


def parse_targets(expressions: Sequence[str]) -> tuple[TargetSpec, ...]:
    """Parse every expression, in order, repeats dropped; no expression means `class_logit`.

    Raises TargetError that names the bad token and shows the form that was expected.
    """
    specs = [parse_target(text) for text in expressions] or [TargetSpec("class_logit")]
    return tuple(dict.fromkeys(specs))


def parse_target(text: str) -> TargetSpec:
    """Parse one expression, such as `class_logit`, `box:3,0` or `encoder_feature:2:17`.

    Raises TargetError that names the bad token.
    """
    kind, *rest = text.strip().split(":")
    form = KINDS.get(kind)
    if form is None:
        close = near(kind, KINDS)
        hint = f"did you mean '{close}'?" if close else f"known: {', '.join(KINDS)}"
        raise TargetError(f"target '{text}': unknown kind '{kind}'; {hint}")
    if not rest and form.of_detections:
        return TargetSpec(kind)
    own = len(rest) == 1 and rest[0].startswith("-") and "," not in rest[0]
    if own and form.of_detections:
        return TargetSpec(kind, None, None, _against(form, -1, rest[0][1:], text))
    if len(rest) != (2 if form.layered else 1):
        raise TargetError(f"target '{text}': expected '{form.form}'")
    layer = _layer(rest[0], text) if form.layered else None
    tokens, against = _contrasted(form, rest[-1].split(","), text)
    if len(tokens) != len(form.index):
        raise TargetError(
            f"target '{text}': '{rest[-1]}' holds {len(tokens)} of the {len(form.index)} numbers "
            f"in '{form.form}'"
        )
    index = tuple(_natural(token, text) for token in tokens)
    for one, i, token in zip(form.index, index, tokens, strict=True):
        if one.values and i >= len(one.values):
            known = ", ".join(map(str, range(len(one.values) - 1)))
            raise TargetError(
                f"target '{text}': {kind} {one.name} '{token}' is not {known} or"
                f" {len(one.values) - 1}"
            )
    return TargetSpec(kind, layer, index, against)


def _contrasted(form: TargetKind, tokens: list[str], text: str) -> tuple[list[str], Against | None]:
    """The numbers of an index, and what one of them is contrasted with, as in `12,5-3`."""
    against = None
    for place, token in enumerate(tokens):
        own, dash, other = token.partition("-")
        if not (dash and own.strip()):
            continue
        if against is not None:
            raise TargetError(f"target '{text}': '{token}' is a second contrast; give one")
        against = _against(form, place, other, text)
        tokens[place] = own
    return tokens, against


def _against(form: TargetKind, place: int, other: str, text: str) -> Against:
    """What a number of the index is contrasted with; TargetError where that has no meaning."""
    found = Against(other.strip(), place % len(form.index))
    last = found.place == len(form.index) - 1
    if not form.of_class:
        able = ", ".join(kind.name for kind in KINDS.values() if kind.of_class)
        raise TargetError(f"target '{text}': contrasts are of classes: {able}")
    if found.number is None and not (last and found.text):
        raise TargetError(
            f"target '{text}': '-{other}' must be a number; a class may also be contrasted with"
            f" {', '.join(CONTRASTS)}, or the name of a class"
        )
    return found


def _layer(token: str, text: str) -> Layer:
    """A layer by number, or a part of one by name; TargetError."""
    return token if _PART.fullmatch(token) else _natural(token, text)


def _natural(token: str, text: str) -> int:
    """A number without sign, or TargetError."""
    if not (token.strip().isascii() and token.strip().isdigit()):
        raise TargetError(f"target '{text}': '{token}' is not a number from 0 up")
    return int(token)

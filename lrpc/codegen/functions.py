"""Emits functions: one per distinct block, and a main function that calls them in program order."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from lrpc.codegen.body import Body, Names, last_uses, weight_in
from lrpc.codegen.keeping import Keeping
from lrpc.codegen.segments import Segment, cut
from lrpc.ir.graph import Node, Value

INDENT = "    "


@dataclass
class Library:
    """Distinct block functions by their text, in order of first use.

    A function is named after the composite that it belongs to, where there are several, unless its
    text is among `common`: those that more than one of them uses.
    """

    common: frozenset[str] = frozenset()
    functions: dict[str, str] = field(default_factory=dict)
    names: set[str] = field(default_factory=set)
    users: dict[str, set[str]] = field(default_factory=dict)

    def name_of(self, stem: str, composite: str, end: str, signature: str, body: str) -> str:
        """The name of the function with this text; adds it where it is new."""
        key = f"{signature}\n{body}"
        self.users.setdefault(key, set()).add(composite)
        if key not in self.functions:
            own = f"_{composite}" if composite and key not in self.common else ""
            wish = f"{stem}{own}{end}"
            name, count = wish, 1
            while name in self.names:
                count += 1
                name = f"{wish}_{count}"
            self.names.add(name)
            self.functions[key] = name
        return self.functions[key]

    def used_by_several(self) -> frozenset[str]:
        """The texts that more than one composite uses."""
        return frozenset(key for key, users in self.users.items() if len(users) > 1)

    def text(self) -> str:
        """The source of all functions."""
        parts = []
        for key, name in self.functions.items():
            signature, body = key.split("\n", 1)
            parts.append(f"def {name}({signature}):\n{textwrap.indent(body, INDENT)}")
        return "\n\n\n".join(parts)


@dataclass(frozen=True)
class Saved:
    """Where the forward pass keeps each value that relevance needs: segment key and local name."""

    places: Mapping[str, tuple[str, str]]
    needed: frozenset[str]
    scopes: tuple[str, ...]
    keeping: Keeping

    def inside(self, key: str) -> dict[str, str]:
        """Value name → the statement target that saves it, for values of segment `key`."""
        var = "s"
        return {
            name: f'{var}["{local}"]'
            for name, (where, local) in self.places.items()
            if where == key and name in self.needed
        }

    def scope(self, segment: Segment) -> str:
        """Which part of the saved values a function for `segment` is handed."""
        return next((k for k in (segment.key, segment.block) if k in self.scopes), "")

    def fetch(self, name: str, key: str) -> str:
        """The expression that reads a saved value from a function working on segment `key`."""
        where, local = self.places[name]
        return f's["{local}"]' if where == key and key else f'saved["{where}"]["{local}"]'


def local_places(
    segments: Sequence[Segment], inputs: Sequence[Value]
) -> dict[str, tuple[str, str]]:
    """Where the forward pass would save each of its values."""
    places = {v.name: ("", v.name) for v in inputs}
    for segment in segments:
        if not segment.key:
            places.update({v.name: ("", v.name) for v in segment.made()})
            continue
        names = Names()
        for value in segment.reads():
            names.argument(value, "x")
        places.update({v.name: (segment.key, names.local(v)) for v in segment.made()})
    return places


def function_stem(block: str) -> str:
    """`sem_seg_head.pixel_decoder.transformer.encoder.layers.3` → `encoder_layers`."""
    parts = [re.sub(r"\W", "_", part) for part in block.split(".") if not part.isdigit()]
    return "_".join(parts[-2:]) or "between"


@dataclass
class Emitter:
    """Emits one main function over `nodes` into `library`; `composite` names its block functions
    where there are several."""

    library: Library
    saved: Saved
    kind: str
    ledger: bool = False
    composite: str = ""
    names: Names = field(default_factory=Names)

    def main(self, nodes: Sequence[Node], keep: Sequence[str], free: Sequence[Value]) -> str:
        """Statements of the main function; values named in `keep` stay alive, `free` are its
        inputs."""
        segments = cut(nodes, repeats=self.kind == "forward")
        names = self.names
        made = {v.name for n in nodes for v in n.outputs} | {v.name for v in free}
        for value in free:
            names.argument(value, value.name)
        for segment in segments:
            for value in segment.reads():
                if value.name not in made:
                    names.bind(value, self.saved.fetch(value.name, ""))
        for value in (v for n in nodes for v in n.outputs):
            names.argument(value, value.name)
        parts = {key: f'saved["{key}"]' for key in self.saved.scopes}
        if self.kind == "forward":
            parts[""] = "s"
        body = Body(names, weight_in(""), ledger=self.ledger, kept=self._kept(parts))
        self._statements(body, segments, keep)
        return "\n".join(body.lines)

    def _statements(self, body: Body, segments: Sequence[Segment], keep: Sequence[str]) -> None:
        later = needed_later(segments, keep)
        for segment, needed in zip(segments, later, strict=True):
            if segment.key:
                self._call(body, segment, needed)
                body.delete(v for v in segment.reads() if v.name not in needed)
                continue
            dying = last_uses(segment.nodes, needed)
            saves = self.saved.inside("") if self.kind == "forward" else {}
            for node, dead in zip(segment.nodes, dying, strict=True):
                body.node(node, saves)
                body.delete(dead)

    def _call(self, body: Body, segment: Segment, needed: set[str]) -> None:
        results = [v for v in segment.made() if v.name in needed]
        signature, text, arguments = self._block(segment, results)
        stem, end = f"{function_stem(segment.block)}_{self.kind}", "_ledger" if self.ledger else ""
        name = self.library.name_of(stem, self.composite, end, signature, text)
        values = [body.names.local(v) for v in arguments]
        head = ["w", f'"{segment.prefix}"', f'saved["{self.saved.scope(segment)}"]']
        extra = [word for word in ("K", "B", "device", "ledger") if f" {word}," in f" {signature},"]
        call = f"{name}({', '.join([*head, *extra, *values])})"
        outputs = ", ".join(body.names.local(v) for v in results)
        body.lines.append(f"{outputs} = {call}" if outputs else call)

    def _kept(self, parts: Mapping[str, str]) -> Callable[[Node], str]:
        return lambda node: self.saved.keeping.arguments(node, parts)

    def _block(self, segment: Segment, results: Sequence[Value]) -> tuple[str, str, list[Value]]:
        names, arguments = Names(), []
        for value in segment.reads():
            where, _ = self.saved.places.get(value.name, ("?", ""))
            if self.kind != "forward" and where and where == self.saved.scope(segment):
                names.bind(value, self.saved.fetch(value.name, where))
            else:
                arguments.append(value)
                names.argument(
                    value, "x" if self.kind == "forward" or value.name in self.saved.places else "g"
                )
        saves = self.saved.inside(segment.key) if self.kind == "forward" else {}
        kept = self._kept({self.saved.scope(segment): "s"})
        body = Body(names, weight_in(segment.prefix), segment.prefix, self.ledger, kept)
        dying = last_uses(segment.nodes, {v.name for v in results})
        for node, dead in zip(segment.nodes, dying, strict=True):
            body.node(node, saves)
            body.delete(dead)
        body.lines.append(f"return {', '.join(names.local(v) for v in results)}".rstrip())
        text = "\n".join(body.lines)
        used = [word for word in ("K", "B", "device") if re.search(rf"\b{word}\b", _code(text))]
        used += ["ledger"] if self.ledger else []
        signature = ", ".join(["w", "p", "s", *used, *(names.local(v) for v in arguments)])
        return signature, text, arguments


def _code(text: str) -> str:
    return re.sub(r"#.*", "", text)


def needed_later(segments: Sequence[Segment], keep: Sequence[str]) -> list[set[str]]:
    """For each segment, the names that something after it (or the caller) still reads."""
    needed: set[str] = set(keep)
    result: list[set[str]] = []
    for segment in reversed(segments):
        result.append(set(needed))
        needed |= {v.name for v in segment.reads()}
    return result[::-1]

"""Emits functions: one per distinct block, and a main function that calls them in program order."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from lrpc.backend.body import Body, Names, last_uses, weight_in
from lrpc.backend.inplace import overwrites
from lrpc.backend.quoting import ascii_word, code_of, identifier, literal, quoted
from lrpc.backend.recompute import Windows, windows
from lrpc.backend.saved import Saved
from lrpc.backend.segments import Segment, cut
from lrpc.ir.graph import Node, Value
from lrpc.ir.types import Sym

INDENT = "    "


@dataclass
class Library:
    """Distinct block functions by their text, in order of first use.

    A function is named after the composite that it belongs to, where there are several, unless its
    text is among `common`: those that more than one of them uses. None gets a name in `taken`, or
    one that numbers make of a name there: module names, and what functions call their locals.
    """

    common: frozenset[str] = frozenset()
    taken: frozenset[str] = frozenset()
    functions: dict[str, str] = field(default_factory=dict)
    names: set[str] = field(default_factory=set)
    users: dict[str, set[str]] = field(default_factory=dict)

    def name_of(self, stem: str, composite: str, end: str, signature: str, body: str) -> str:
        """The name of the function with this text; adds it where it is new."""
        key = f"{signature}\n{body}"
        self.users.setdefault(key, set()).add(composite)
        if key not in self.functions:
            own = f"_{composite}" if composite and key not in self.common else ""
            wish = identifier(f"{stem}{own}{end}")
            while re.sub(r"(_\d+)+$", "", wish) in self.taken:
                wish += "_"
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


def function_stem(block: str) -> str:
    """`sem_seg_head.pixel_decoder.transformer.encoder.layers.3` → `encoder_layers`."""
    parts = [ascii_word(part) for part in block.split(".") if not part.isdigit()]
    return "_".join(parts[-2:]) or "between"


@dataclass(frozen=True)
class Call:
    """A call of a block function: its name, what it is handed beside weights and state."""

    name: str
    prefix: str
    words: tuple[str, ...]
    arguments: tuple[Value, ...]

    def text(self, part: str, written: Callable[[Value], str]) -> str:
        """The call with this part of the state."""
        head = ["w", quoted(self.prefix), part, *self.words]
        return f"{self.name}({', '.join([*head, *map(written, self.arguments)])})"


@dataclass
class Emitter:
    """Emits one main function over `nodes` into `library`; `composite` names its block functions
    where there are several. `calls` are those of the forward pass, by segment. With `chunked`,
    a block function takes `chunk` seeds at a time."""

    library: Library
    saved: Saved
    kind: str
    ledger: bool = False
    composite: str = ""
    calls: dict[str, Call] = field(default_factory=dict)
    chunked: bool = False
    names: Names = field(default_factory=Names)
    opened: set[str] = field(default_factory=set)
    closed_over: set[str] = field(default_factory=set)

    def main(self, nodes: Sequence[Node], keep: Sequence[str], free: Sequence[Value]) -> str:
        """Statements of the main function; values named in `keep` stay alive, `free` are its
        inputs."""
        stretches = self.saved.again.segments
        segments = cut(nodes, repeats=self.kind == "forward", stretches=stretches)
        names = self.names
        made = {v.name for n in nodes for v in n.outputs} | {v.name for v in free}
        names.taken |= {self.saved.part(key) for key in self.saved.again.segments}
        for value in free:
            names.argument(value, value.name)
        for segment in segments:
            for value in segment.reads():
                if value.name not in made:
                    names.bind(value, self.saved.fetch(value.name, ""))
        for value in (v for n in nodes for v in n.outputs):
            names.argument(value, value.name)
        parts = {key: self._part(key) for key in self.saved.scopes}
        body = Body(names, weight_in(""), ledger=self.ledger, kept=self._kept(parts))
        self._statements(body, segments, keep)
        return "\n".join(map(self._freed, body.lines))

    def _freed(self, line: str) -> str:
        """A `del` without the locals that a function closes over, which become None: torch.compile
        takes no `del` of them."""
        if not line.startswith("del "):
            return line
        names = line.removeprefix("del ").split(", ")
        plain = ", ".join(name for name in names if name not in self.closed_over)
        cells = [f"{name} = None" for name in names if name in self.closed_over]
        return "\n".join([*([f"del {plain}"] if plain else []), *cells])

    def _part(self, scope: str) -> str:
        if self.kind == "forward":
            return f"saved[{quoted(scope)}]" if scope else "s"
        return self.saved.part(scope)

    def _statements(self, body: Body, segments: Sequence[Segment], keep: Sequence[str]) -> None:
        later = needed_later(segments, keep)
        turns = Windows({}, {})
        if self.kind != "forward":
            turns = windows(segments, self.saved.wanted, list(self.saved.again.segments))
        for i, (segment, needed) in enumerate(zip(segments, later, strict=True)):
            if segment.key:
                self._open(body, turns.before.get((i, 0), ()))
                self._call(body, segment, needed)
                gone = [self.saved.part(key) for key in turns.after.get((i, 0), ())]
                body.delete((v for v in segment.reads() if v.name not in needed), gone)
                continue
            dying = last_uses(segment.nodes, needed)
            saves = self.saved.inside("") if self.kind == "forward" else {}
            over = overwrites(segment.nodes, needed | saves.keys())
            for j, (node, dead) in enumerate(zip(segment.nodes, dying, strict=True)):
                self._open(body, turns.before.get((i, j), ()))
                body.node(node, saves, over[j])
                gone = [self.saved.part(key) for key in turns.after.get((i, j), ())]
                body.delete(dead, gone)

    def _open(self, body: Body, keys: Sequence[str]) -> None:
        """Compute segments of the forward pass again."""
        for key in keys:
            part, again = self.saved.part(key), self.saved.again
            there = "{}  #" if key in again.whole else f"dict(saved[{quoted(key)}])  # the rest is"
            body.lines.append(f"{part} = {there} computed again")
            self.opened.add(key)
            if not again.segments[key].nodes:  # but for tables, which go with the dict
                continue
            call = self.calls[key] if key in again.whole else self._anew(again.segments[key])
            body.lines.append(call.text(part, lambda v: self.saved.fetch(v.name, "")))

    def _anew(self, segment: Segment) -> Call:
        """The call of a function that computes what a segment of the forward pass did not keep."""
        own = Emitter(self.library, self.saved, "again")
        return own.function(segment, [])

    def _call(self, body: Body, segment: Segment, needed: set[str]) -> None:
        results = [v for v in segment.made() if v.name in needed]
        call = self.function(segment, results)
        local, again = body.names.local, segment.key in self.saved.again.whole
        if self.kind == "forward":
            self.calls[segment.key] = call
            part = "{}" if again else f"saved[{quoted(self.saved.scope(segment))}]"
        else:
            part = self._state_of(self.saved.scope(segment))
        written = call.text(part, local)
        if self.chunked and self.kind != "forward":
            self.closed_over |= {part, *(local(v) for v in call.arguments if not of_seeds(v))}
            written = self._in_chunks(written, results, call.arguments, body)
        outputs = ", ".join(local(v) for v in results)
        body.lines.append(f"{outputs} = {written}" if outputs else written)
        if self.kind == "forward" and again:
            kept = [v for v in results if v.name in self.saved.kept]
            for value in kept:
                where, name = self.saved.places[value.name]
                body.lines.append(f"saved[{quoted(where)}][{quoted(name)}] = {local(value)}")

    def _state_of(self, scope: str) -> str:
        """What a block function of a relevance pass is handed as its part of the state."""
        reads_it = scope in self.opened or scope not in self.saved.again.segments
        return self.saved.part(scope) if reads_it else f"saved[{quoted(scope)}]"

    def _in_chunks(
        self, call: str, results: Sequence[Value], arguments: Sequence[Value], body: Body
    ) -> str:
        """The call for `chunk` seeds at a time."""
        over = [body.names.local(v) for v in arguments if of_seeds(v)]
        if not over:
            return call
        same = tuple(i for i, v in enumerate(results) if not of_seeds(v))
        given = ["K", *(["ledger"] if self.ledger else []), *over]
        end = [f"same={literal(same)}"] if same else []
        end += ["ledger=ledger"] if self.ledger else []
        inner = f"lambda {', '.join(given)}: {call}"
        return f"in_chunks({', '.join(['chunk', 'K', inner, *over, *end])})"

    def _kept(self, parts: Mapping[str, str]) -> Callable[[Node], str]:
        forward, saved = self.kind == "forward", self.saved

        def arguments(node: Node) -> str:
            place = saved.tables(node, parts, forward)
            return "" if place is None else saved.keeping.arguments(node, parts)

        return arguments

    def function(self, segment: Segment, results: Sequence[Value]) -> Call:
        """A call of the function for a segment, which the library gets where it lacks it."""
        signature, text, arguments = self._block(segment, results)
        stem, end = f"{function_stem(segment.block)}_{self.kind}", "_ledger" if self.ledger else ""
        name = self.library.name_of(stem, self.composite, end, signature, text)
        words = [word for word in ("K", "B", "device", "ledger") if f" {word}," in f" {signature},"]
        return Call(name, segment.prefix, tuple(words), tuple(arguments))

    def _block(self, segment: Segment, results: Sequence[Value]) -> tuple[str, str, list[Value]]:
        names, arguments, again = Names(), [], self.kind == "again"
        scope = segment.key if again else self.saved.scope(segment)
        for value in segment.reads():
            where, _ = self.saved.places.get(value.name, ("?", ""))
            if self.kind != "forward" and where and where == scope:
                names.bind(value, self.saved.fetch(value.name, where))
            else:
                arguments.append(value)
                names.argument(
                    value, "x" if self.kind == "forward" or value.name in self.saved.places else "g"
                )
        saves = self.saved.inside(segment.key, again) if self.kind != "relevance" else {}
        kept = self._kept({scope: "s"})
        body = Body(names, weight_in(segment.prefix), segment.prefix, self.ledger, kept)
        handed = {v.name for v in results}
        dying = last_uses(segment.nodes, handed)
        over = overwrites(segment.nodes, handed | saves.keys())
        for node, dead, operand in zip(segment.nodes, dying, over, strict=True):
            body.node(node, saves, operand)
            body.delete(dead)
        if results or not again:
            body.lines.append(f"return {', '.join(names.local(v) for v in results)}".rstrip())
        text = "\n".join(body.lines)
        code = code_of(text)
        used = [word for word in ("K", "B", "device") if re.search(rf"\b{word}\b", code)]
        used += ["ledger"] if self.ledger else []
        signature = ", ".join(["w", "p", "s", *used, *(names.local(v) for v in arguments)])
        return signature, text, arguments


def needed_later(segments: Sequence[Segment], keep: Sequence[str]) -> list[set[str]]:
    """For each segment, the names that something after it (or the caller) still reads."""
    needed: set[str] = set(keep)
    result: list[set[str]] = []
    for segment in reversed(segments):
        result.append(set(needed))
        needed |= {v.name for v in segment.reads()}
    return result[::-1]


def of_seeds(value: Value) -> bool:
    """Whether a value has an entry for each seed; those that cross segments have them in front."""
    dims = [d for d in value.type.shape if isinstance(d, Sym) and d.seeds]
    if dims and dims != [value.type.shape[0]]:
        raise AssertionError(f"%{value.name}: seeds are not the leading axis: {value.type}")
    return bool(dims)

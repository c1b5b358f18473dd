"""A YAML text as nodes that keep their lines, and the plain values of those nodes.

Time and memory are linear in the text, whatever aliases and merge keys it has: limits.py says how
many values it may stand for. Nothing in it is ever evaluated.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from lrpc.config import limits
from lrpc.support.untrusted import is_text, short

Pairs = Mapping[str, tuple[yaml.Node, yaml.Node]]

_PREFIX = "tag:yaml.org,2002:"
_PLAIN = frozenset(f"{_PREFIX}{name}" for name in ("str", "int", "float", "bool", "null"))
_NUMBERS = frozenset(f"{_PREFIX}{name}" for name in ("int", "float"))
_TIMESTAMP = f"{_PREFIX}timestamp"
_MERGE = f"{_PREFIX}merge"


@dataclass(frozen=True)
class Tag:
    """Stands for a value with a YAML tag that would have to run code; it is never evaluated."""

    name: str


class DocumentError(Exception):
    """What is wrong at a place of a text: `where` is ":line", ":line:column" or "".

    `invalid` where the text is no YAML at all.
    """

    def __init__(self, where: str, what: str, invalid: bool = False) -> None:
        super().__init__(f"{where}: {what}")
        self.what = what
        self.invalid = invalid


def _line(mark: yaml.Mark) -> str:
    return f":{mark.line + 1}"


def _beyond(mark: yaml.Mark, what: str) -> DocumentError:
    return DocumentError(f"{_line(mark)}:{mark.column + 1}", what)


class _Loader(yaml.SafeLoader):
    """Composes nodes, up to a number and a depth."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = self._count = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
        self._count += 1
        self._depth += 1
        if self._count > limits.VALUES:
            raise _beyond(mark, f"more than {limits.VALUES:,} values; shorten the file")
        if self._depth > limits.DEPTH:
            raise _beyond(mark, f"nested more than {limits.DEPTH} deep; flatten it")
        node: yaml.Node | None = super().compose_node(parent, index)
        self._depth -= 1
        return node


def first_tag(values: Iterable[Any]) -> Tag | None:
    """A list or mapping that holds a tagged value cannot be had without it."""
    return next((value for value in values if isinstance(value, Tag)), None)


class Document:
    """One YAML text. Raises DocumentError where it is not valid, or beyond the limits."""

    def __init__(self, text: str) -> None:
        self._used = self._merged = 0
        self._known: dict[int, Pairs] = {}
        try:
            self._loader = _Loader(text)
            self.root = self._loader.get_single_node()
        except yaml.YAMLError as error:
            raise _invalid(error) from None

    def pairs(
        self, node: yaml.MappingNode, inside: tuple[yaml.Node, ...] = (), prefix: str = ""
    ) -> Pairs:
        """The pairs of a mapping by their keys, each once, with "<<: *anchor" merged in first.

        Errors call a key by its full name, which begins with `prefix`.
        """
        if id(node) not in self._known:
            self.enter(node, inside)
            own: dict[str, tuple[yaml.Node, yaml.Node]] = {}
            for key, value in node.value:
                name = self._key(key)
                if name in own:
                    raise DocumentError(
                        _line(key.start_mark),
                        f"{short(prefix + name)}: given twice; remove one of the two",
                    )
                own[name] = (key, value)
            merge = own.get("<<")
            if merge is not None and merge[0].tag == _MERGE:
                del own["<<"]
                own = {**self._merge(merge[1], (*inside, node)), **own}
            self._known[id(node)] = own
        return self._known[id(node)]

    def _key(self, key: yaml.Node) -> str:
        if not isinstance(key, yaml.ScalarNode):
            raise DocumentError(_line(key.start_mark), "a key is a list or mapping; expected text")
        if len(key.value) > limits.KEY:
            raise _beyond(
                key.start_mark,
                f"a key of {len(key.value):,} characters; at most {limits.KEY}",
            )
        if not is_text(key.value):
            raise DocumentError(_line(key.start_mark), f"{short(key.value)} is no text")
        return str(key.value)

    def _merge(self, node: yaml.Node, inside: tuple[yaml.Node, ...]) -> Pairs:
        """What a merge key brings in; of several mappings the first that has a key counts."""
        several = node.value if isinstance(node, yaml.SequenceNode) else [node]
        found: dict[str, tuple[yaml.Node, yaml.Node]] = {}
        for mapping in reversed(several):
            if not isinstance(mapping, yaml.MappingNode):
                where = _line(mapping.start_mark)
                raise DocumentError(where, "<<: expected a mapping or a list of mappings")
            pairs = self.pairs(mapping, inside)
            self._merged += len(pairs) + 1
            if self._merged > limits.MERGED:
                raise _beyond(
                    node.start_mark,
                    f"merge keys (<<) bring in more than {limits.MERGED:,} pairs; write them out",
                )
            found.update(pairs)
        return found

    def value(self, node: yaml.Node, inside: tuple[yaml.Node, ...] = ()) -> Any:
        """What a node stands for: None, text, a number, a boolean, a list, a dict or a Tag."""
        self.enter(node, inside)
        if isinstance(node, yaml.MappingNode) and node.tag == f"{_PREFIX}map":
            pairs = self.pairs(node, inside)
            values = {key: self.value(value, (*inside, node)) for key, (_, value) in pairs.items()}
            return first_tag(values.values()) or values
        if isinstance(node, yaml.SequenceNode) and node.tag == f"{_PREFIX}seq":
            items = [self.value(item, (*inside, node)) for item in node.value]
            return first_tag(items) or items
        if node.tag == _TIMESTAMP or (isinstance(node, yaml.ScalarNode) and node.tag == _MERGE):
            return node.value
        if node.tag not in _PLAIN:
            return Tag(short(node.tag.replace(_PREFIX, "!!"), limits.KEY))
        return self._scalar(node)

    def _scalar(self, node: yaml.Node) -> Any:
        if node.tag in _NUMBERS and len(node.value) > limits.NUMBER:
            raise _beyond(
                node.start_mark,
                f"a number of {len(node.value):,} characters; at most {limits.NUMBER}",
            )
        try:
            value = self._loader.construct_object(node, deep=True)
        except (yaml.YAMLError, ValueError, LookupError):
            shown = short(str(node.value))
            raise DocumentError(_line(node.start_mark), f"{shown!r} is not a value") from None
        if isinstance(value, str) and not is_text(value):
            raise DocumentError(_line(node.start_mark), f"{short(value)} is no text")
        if isinstance(value, int) and abs(value) > limits.INTEGER:
            raise _beyond(node.start_mark, f"{short(node.value)} is no integer of 64 bits")
        return value

    def enter(self, node: yaml.Node, inside: tuple[yaml.Node, ...]) -> None:
        """Count a node each time that it is used, and see that it is not inside itself."""
        self._used += 1
        if self._used > limits.VALUES:
            raise _beyond(node.start_mark, f"more than {limits.VALUES:,} values; remove aliases")
        if any(node is outer for outer in inside):
            raise DocumentError(_line(node.start_mark), "a YAML alias contains itself; remove it")
        if len(inside) > limits.DEPTH:
            raise _beyond(node.start_mark, f"nested more than {limits.DEPTH} deep; flatten it")


def _invalid(error: yaml.YAMLError) -> DocumentError:
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or str(error).partition("\n")[0]
    return DocumentError(
        _line(mark) if mark is not None else "",
        f"not valid YAML ({short(str(problem), 200)}); correct the syntax there",
        invalid=True,
    )

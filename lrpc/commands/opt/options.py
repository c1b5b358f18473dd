"""Passes from their text: `mark_residual`, `lower_relevance:target=y,reads=[x]`."""

from __future__ import annotations

import dataclasses
import inspect
import re
import sys
import warnings
from collections.abc import Callable, Collection, Mapping
from typing import Any, cast, get_type_hints

from lrpc.errors import LrpcWarning, RuleError
from lrpc.rules.composite import composite
from lrpc.support.untrusted import near, short
from passes import PASSES, PIPELINES, AnyPass, RuleMap

_ITEM = re.compile(r"(?P<key>\w+)=(?P<value>\[[^\[\]]*\]|[^,\[\]]*)(?:,|$)")


RENAMED = {"mark_ends": "add_places"}  # passes by their old names, which work for one release


class OptError(RuleError):
    """A pass, or an option of one, that cannot be read."""


def _bool(text: str) -> bool:
    if text not in ("true", "false"):
        raise ValueError
    return text == "true"


def _texts(text: str) -> tuple[str, ...]:
    if not (text.startswith("[") and text.endswith("]")):
        raise ValueError
    return tuple(part.strip() for part in text[1:-1].split(",") if part.strip())


def _names(text: str) -> frozenset[str]:
    return frozenset(_texts(text))


#: How options are read, by the type of their field; and what is said to be expected.
READERS: dict[Any, tuple[Callable[[str], Any], str]] = {
    bool: (_bool, "true or false"),
    int: (int, "a whole number"),
    float: (float, "a number"),
    str: (str, "a word"),
    tuple[str, ...]: (_texts, "a list such as [a,b]"),
    frozenset[str]: (_names, "a list such as [a,b]"),
    RuleMap: (composite, "the name of a composite"),
}


def passes_of(kind: str, text: str, plugins: Collection[str] = ()) -> tuple[AnyPass, ...]:
    """The pass, or the passes of the pipeline, that `text` names; OptError in one line.

    A pass of one's own is named as in `package.module:Class:option=value`, where its module is
    among `plugins`.
    """
    name, _, given = text.partition(":")
    if "." in name:
        own, _, given = given.partition(":")
        name = f"{name}:{own}"
    if kind == "pipeline":
        return _pipeline(name, _given(text, given))
    if name in RENAMED:
        new = RENAMED[name]
        warnings.warn(f"pass {name} is called {new} now", LrpcWarning, stacklevel=2)
        name = new
    cls = PASSES.get(name) or _own(name, plugins)
    return (_made(name, cls, _given(text, given)),)


def _pipeline(name: str, given: Mapping[str, str]) -> tuple[AnyPass, ...]:
    if name not in PIPELINES:
        raise OptError(f"there is no pipeline {_like(name, PIPELINES)}: {', '.join(PIPELINES)}")
    make = PIPELINES[name]
    hints = get_type_hints(make)
    known = {key: hints[key] for key in inspect.signature(make).parameters}
    needed = [
        key
        for key, parameter in inspect.signature(make).parameters.items()
        if parameter.default is inspect.Parameter.empty
    ]
    return make(**_read(f"pipeline {name}", known, needed, given))


def _own(name: str, plugins: Collection[str]) -> type[AnyPass]:
    module, _, cls = name.partition(":")
    if not cls:
        raise OptError(f"there is no pass {_like(name, PASSES)}; `lrpc opt --list` has them")
    if module not in plugins:
        raise OptError(f"pass {short(name)} is code of its own: allow it with --plugin {module}")
    found = getattr(sys.modules[module], cls, None)
    if not (dataclasses.is_dataclass(found) and callable(getattr(found, "run", None))):
        raise OptError(f"{module} has no pass {cls}: a frozen dataclass with a method `run`")
    return cast("type[AnyPass]", found)


def _made(name: str, cls: type[AnyPass], given: Mapping[str, str]) -> AnyPass:
    hints = get_type_hints(cls)
    own = [f for f in dataclasses.fields(cast(Any, cls)) if f.init]
    absent = dataclasses.MISSING
    needed = [f.name for f in own if f.default is absent and f.default_factory is absent]
    return cls(**_read(f"pass {name}", {f.name: hints[f.name] for f in own}, needed, given))


def _given(text: str, options: str) -> dict[str, str]:
    """The options as written, by name."""
    found: dict[str, str] = {}
    place = 0
    while place < len(options):
        item = _ITEM.match(options, place)
        if item is None:
            raise OptError(f"{short(text)}: options are KEY=VALUE, with commas between")
        if item["key"] in found:
            raise OptError(f"{short(text)}: {item['key']} is given twice")
        found[item["key"]] = item["value"].strip()
        place = item.end()
    return found


def _read(
    what: str, known: Mapping[str, Any], needed: Collection[str], given: Mapping[str, str]
) -> dict[str, Any]:
    """The options in their types; OptError for one that is unknown, missing or of another type."""
    for key in given:
        if key not in known:
            listed = ", ".join(known) or "none"
            raise OptError(f"{what} has no option {_like(key, known)}; it has: {listed}")
    for key in needed:
        if key not in given:
            raise OptError(f"{what} needs {key}={READERS[known[key]][1]}")
    return {key: _value(what, key, known[key], text) for key, text in given.items()}


def _value(what: str, key: str, kind: Any, text: str) -> Any:
    if kind not in READERS:
        raise OptError(f"{what}: {key} cannot be given as text")
    read, expected = READERS[kind]
    try:
        return read(text)
    except ValueError:
        raise OptError(f"{what}: {key}={short(text)} is not {expected}") from None


def _like(name: str, known: Collection[str]) -> str:
    close = near(name, known)
    return f"{short(name)!r}" + (f"; did you mean {close!r}?" if close else "")


def summary(cls: type[AnyPass]) -> str:
    """A pass in one line: its options with their defaults, and what it does."""
    parts = []
    for one in dataclasses.fields(cast(Any, cls)):
        default = one.default
        shown = "" if default is dataclasses.MISSING else f"={_shown(default)}"
        parts.append(f"{one.name}{shown}")
    does = " ".join((inspect.getdoc(cls) or "").split("\n\n")[0].split())
    return (f"[{', '.join(parts)}] " if parts else "") + does


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple | frozenset):
        return f"[{','.join(sorted(value))}]"
    return str(value)

"""Lists, dicts and sets among a model's attributes: what they hold, to put it back."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import Any


class Containers:
    """What the lists, dicts, sets and deques in some values, and in each other, hold now."""

    def __init__(self, values: Iterable[Any]) -> None:
        self._kept: dict[int, tuple[Any, Any]] = {}  # by id: each once, however often it is met
        waiting = list(values)
        while waiting:
            value = waiting.pop()
            if isinstance(value, tuple):
                waiting.extend(value)
            elif _content(value) is not None and id(value) not in self._kept:
                content = _content(value)
                self._kept[id(value)] = value, content
                waiting.extend(content.values() if isinstance(content, dict) else content)

    def restore(self) -> None:
        """Put back what they held, in those that hold something else."""
        for value, content in self._kept.values():
            if not _unchanged(value, content):
                value.clear()
                fill: Callable[[Any], Any] = (
                    value.extend if isinstance(value, (list, deque)) else value.update
                )
                fill(content)


def _content(value: Any) -> Any:
    """A copy of what a container holds; None for anything else."""
    if isinstance(value, dict):
        return dict(value)
    if isinstance(value, set):
        return set(value)
    return list(value) if isinstance(value, (list, deque)) else None


def _unchanged(value: Any, content: Any) -> bool:
    """Whether the same objects are in it, in the same order."""
    if len(value) != len(content):
        return False
    if isinstance(value, set):
        return {id(x) for x in value} == {id(x) for x in content}
    pairs = zip(value, content, strict=True)
    same = all(a is b for a, b in pairs)
    return same and (not isinstance(value, dict) or all(value[k] is content[k] for k in content))

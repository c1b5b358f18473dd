"""Categories of a COCO file as classes of a program: by name, or by the order of ids, aloud."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from lrpc.commands.evaluate.outlines import ScenesError
from lrpc.support.untrusted import near

Id = int | str
_SHOWN = 12  # names in a message
_LENGTH = 60  # characters of a name


@dataclass(frozen=True)
class Classes:
    """Category id → class of the program, and how they were matched where not by name."""

    number: dict[Id, int]
    note: str = ""


def identifier(value: Any) -> Id:
    """An id as tools write it: a number, a whole float, or text; "7" and 7.0 are 7.

    Raises ValueError for anything else.
    """
    if isinstance(value, str) and value:
        text = value.strip()
        return int(text) if text.isdecimal() and text.isascii() and len(text) < 20 else text
    if isinstance(value, int | float) and not isinstance(value, bool) and value == value // 1:
        return int(value)
    raise ValueError("an id is neither a whole number nor text")


def match_categories(
    categories: Any, used: Collection[Id], names: Sequence[str], count: int | None
) -> Classes:
    """The classes of the categories that annotations use; those without any do not matter.

    Where the program names its classes and one of the names matches, all must; where none does,
    and where it names none, the order of ids decides if there are as many categories as classes
    (`count`, None if that is unknown). Raises ScenesError.
    """
    known = _read(categories)
    wanted = [one for one in sorted(known, key=_order) if one in used]
    if names:
        found = {one: _class_of(known[one], names) for one in known}
        missing = [one for one in wanted if found[one] is None]
        if not missing:
            return Classes({one: number for one in wanted if (number := found[one]) is not None})
        if any(number is not None for number in found.values()):
            raise ScenesError(_unmatched(known[missing[0]], names))
    return _by_order(known, wanted, names, len(names) or count)


def _read(categories: Any) -> dict[Id, str]:
    """Category id → name."""
    if not isinstance(categories, list):
        raise ScenesError("categories is not a list")
    known: dict[Id, str] = {}
    for one in categories:
        if not isinstance(one, dict) or "id" not in one:
            raise ScenesError("a category lacks its id")
        try:
            number = identifier(one["id"])
        except ValueError as error:
            raise ScenesError(f"a category's id: {error}") from None
        name = str(one.get("name", number))
        if known.setdefault(number, name) != name:
            both = f"'{shown(known[number])}' and '{shown(name)}'"
            raise ScenesError(f"categories {both} have one id, {shown(number)}")
    return known


def _order(one: Id) -> tuple[bool, int, str]:
    """Numbers by size, then texts."""
    return (True, 0, one) if isinstance(one, str) else (False, one, "")


def _class_of(name: str, names: Sequence[str]) -> int | None:
    """The class of that name, exactly or else, if it is the only one, but for case and blanks."""
    if name in names:
        return list(names).index(name)
    alike = [i for i, other in enumerate(names) if _folded(other) == _folded(name)]
    return alike[0] if len(alike) == 1 else None


def _folded(name: str) -> str:
    return name.strip().casefold()


def _unmatched(name: str, names: Sequence[str]) -> str:
    close = near(name, names)
    hint = f" '{close}' perhaps" if close else " one of them"
    return (
        f"category '{shown(name)}' is no class of the program ({_listed(names)}), though others "
        f"are; rename it in the file, to{hint}, or correct LRPC.CLASS_NAMES"
    )


def _by_order(
    known: dict[Id, str], wanted: list[Id], names: Sequence[str], count: int | None
) -> Classes:
    everyone = sorted(known, key=_order)
    order = next((some for some in (everyone, wanted) if count in (None, len(some))), None)
    why = "none of their names is a class" if names else "the program names no classes"
    if order is None:
        raise ScenesError(
            f"{why}, and {len(known)} categories ({_listed([known[one] for one in everyone])}) are "
            f"not the program's {count} classes ({_listed(names) or 'without names'}); "
            "rename them in the file, or set LRPC.CLASS_NAMES"
        )
    numbers = {one: number for number, one in enumerate(order)}
    pairs = [
        f"'{shown(known[one])}' is {number}" + (f" '{names[number]}'" if names else "")
        for one, number in numbers.items()
    ]
    return Classes(
        numbers, f"categories are classes by the order of their ids, since {why}: " + _listed(pairs)
    )


def shown(name: object) -> str:
    """A name for a message: bounded, on one line."""
    text = str(name)
    text = text if text.isprintable() else ascii(text)
    return text if len(text) <= _LENGTH else f"{text[:_LENGTH]}…"


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(map(shown, names[:_SHOWN])) + more

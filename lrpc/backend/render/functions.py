"""The text of a block function, or of a rule."""

from __future__ import annotations

from lrpc.backend.render.families import Family
from lrpc.backend.render.layout import defined
from lrpc.backend.render.statements import Lines
from lrpc.backend.render.texts import Texts
from lrpc.backend.schedule.words import called_by_shape, words_in


def block_function(family: Family, texts: Texts) -> str:
    """The source of a block function, or of a rule."""
    function = family.functions[0]
    lines = Lines(function, family, texts)
    body = lines.body()
    results = ", ".join(map(lines.name, function.results))
    if results and not lines.returned(results):
        body.append(f"return {results}")
    used = words_in(function, texts.words) if called_by_shape(function) else set[str]()
    sizes = [word for word in ("K", "B") if word in used]
    if sizes:
        first = lines.name(function.parameters[0])
        axes = ":2" if len(sizes) == 2 else 1 if sizes == ["B"] else 0
        body = [f"{', '.join(sizes)} = {first}.shape[{axes}]", *body]
    words = texts.words[function.name]
    head = [word for word in words if word != "ledger"]
    head += map(lines.name, function.parameters)
    head += [*(["ledger"] if "ledger" in words else []), *family.arguments]
    return defined(function.name, head, body or ["pass"])

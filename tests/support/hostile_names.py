"""Names that nobody should give."""

from __future__ import annotations

import random
from collections.abc import Iterator

MARK = "LRPC_WAS_RUN"  # what the code in these names leaves among the builtins
CODE = f'setattr(__import__("builtins"), "{MARK}", 1)'

#: Ways out of a literal, a comment, a template or an identifier, and names that mean something.
NAMES: tuple[str, ...] = (
    *(f"a\n{CODE}\n#", f"a\r{CODE}\r#", f"a\x0c{CODE}", f"a\x85{CODE}", f"a\u2028{CODE}\u2029"),
    *(f'"+{CODE}+"', f"'+{CODE}+'", f'"""\n{CODE}\n"""', f"'''\n{CODE}\n'''", f'a"]+{CODE}+w["a'),
    *(f'x": {CODE}, "y', f'x\\", {CODE})#', f'\\" + {CODE} + \\"', "\\", "a\\\\\\"),
    *('a"', '""', "'"),
    *(f"{{{CODE}}}", "{", "}", "{0}", "{inputs}", "{kind:bare}"),
    *("%s", "%(x)s", "%", "#", f"# {CODE}"),
    *(f"\\N{{DIGIT ONE}}{CODE}", "\\x22", "\\u0022", "\\", "\x00", "\x1b[31m", "\x7f", "\x9b31m"),
    *("\ud800", "\udfff\ud800", "\ufffe", "\uffff", "\U0010ffff"),
    *("\u202e" + CODE, "\u2066", "\ufeff"),
    *("class", "lambda", "None", "True", "await", "match"),
    *("_", "__debug__", "__import__", "__class__"),
    *("torch", "F", "w", "p", "s", "g", "x", "self"),
    *("print", "len", "dict", "float", "out", "read"),
    *("saved", "ledger", "chunk", "in_chunks", "inner", "stab_mul"),
    *("K", "B", "device", "seed", "load"),
    *("forward", "INTERFACE", "Program", "relevance_output", "layers_forward", "layers_relevance"),
    *("layers_relevance_ledger", "layers_recompute", "layers_0", "between", "same", "exec", "type"),
    *("\ufb01", "fi", "\uff4bey", "\u212a", "\u00b5", "\u03bc"),
    *("x\u0301", "\u00e9", "\u00bd", "\u2460"),
    *("9", "0x", "1e5", "9 lives", "", " ", "\t"),
    *("a" * 20_000, '"' * 500, "\n" * 50, "a.b", ".", ".."),
    *("../../x", "/etc/passwd", "a/b", "a:b", "[red]x[/]", "<script>"),
    *("]]>", "-->", "*", "**", "a,b"),
)  # fmt: skip


def drawn(count: int, seed: int) -> Iterator[str]:
    """Names put together from those above, by chance."""
    chance = random.Random(seed)
    for _ in range(count):
        parts = [chance.choice(NAMES)[:200] for _ in range(chance.randint(1, 3))]
        if chance.random() < 0.5:
            parts.append("".join(chr(chance.randrange(0x110000)) for _ in range(4)))
        chance.shuffle(parts)
        yield chance.choice(["", "\n", '"', "\\", " "]).join(parts)

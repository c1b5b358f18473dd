#!/usr/bin/env python3
"""Writes docs/rules.md and docs/config.md from the declarations of the rules and the defaults."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from lrpc.commands.rules import needed, setting  # noqa: E402
from lrpc.config import limits  # noqa: E402
from lrpc.config.schema import DEFAULTS, LIMITS, LRPC, flattened  # noqa: E402
from lrpc.models.checkpoints.entries import AVERAGED, ENTRY_KEY, OWN  # noqa: E402
from lrpc.models.checkpoints.stream import OPERATIONS  # noqa: E402
from lrpc.models.checkpoints.torch_file import DESCRIPTION, DIRECTORY  # noqa: E402
from lrpc.models.checkpoints.values import SLACK  # noqa: E402
from lrpc.rules import FAMILIES  # noqa: E402
from lrpc.rules.composite import COMPOSITES, Composite  # noqa: E402
from lrpc.rules.declaration import Declaration, Param  # noqa: E402

MADE = "<!-- Made by tools/make_docs.py: change the declarations, then run it. -->\n"

RULES_HEAD = """# Rules and composites

`x` is an operation's input, `z` its output, `R` relevance, `⊙` the elementwise product and
`stab_ε(z) = z + ε·sgn(z)` with `sgn(0) = +1`. Programs carry `G`, the relevance per unit of
activation, with `R = x ⊙ G`: no rule below divides by an activation to get there. What a rule
does not pass on is booked in the [ledger](../README.md#the-ledger). `lrpc rules` shows the same
on a terminal.

A rule is chosen by a composite, or by an entry of `LRPC.RULES` before it:

```yaml
LRPC:
  RULES:
    - {role: residual, layers: [0, 2], rule: epsilon, eps: 1.0e-3}
```

`role`, `op` and `module` are globs, `layers` bounds the first number in the module path, `first:
true` leaves only the linear maps and convolutions that an input reaches through no other; what an
entry leaves out matches everything. The first entry that matches a node decides.
"""

CONFIG_HEAD = f"""# Configuration

A config is a detectron2 YAML file of a MaskDINO (`MODEL`, `INPUT`, `_BASE_`) with one more node,
`LRPC`. Each key can be overridden at the end of the command line, `lrpc compile --config FILE KEY
VALUE ...`. An unknown key is an error that names the nearest known one. Keys of detectron2 that
concern training or other detectors are known and never read.

Configs are data: nothing in them is evaluated, a YAML tag that would construct an object is
refused, and reading takes time and memory in proportion to the file. A file is a regular one of at
most {limits.FILE:,} bytes in UTF-8 and stands for at most {limits.VALUES:,} values, an aliased one
counted as often as it is used; merge keys (`<<`) bring in at most {limits.MERGED:,} pairs. Lists
and mappings stand at most {limits.DEPTH} deep in each other. A key has at most {limits.KEY}
characters, a number {limits.NUMBER}, integers are those of 64 bits, a value on the command line has
at most {limits.VALUE:,} characters. `_BASE_` files stand at most {limits.BASES} above a file, and
one config reads at most {limits.FILES} files, each once.

## LRPC

| key | default | takes | meaning |
|---|---|---|---|
"""

CONFIG_TAIL = """
## Keys of MODEL and INPUT that the embedded model reads

They mean what they mean in MaskDINO and detectron2. `MODEL.WEIGHTS` is a checkpoint (below); a
relative path is relative to the file that sets it. While it is empty the weights are random, and
programs and pictures say so.

| key | default | takes |
|---|---|---|
"""


def _words(names: Sequence[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


CHECKPOINTS = f"""
## Checkpoints

`MODEL.WEIGHTS` names a `.safetensors` file, a `NAME.index.json` with its shards beside it, a
`.pth`, `.pt`, `.ckpt` or `.bin` of `torch.save`, or a `.pkl` of NumPy arrays as detectron2 has
them. It is taken as training code leaves it, and what was done is noted at compilation and in the
manifest:

- The model's own state dict is found below {_words(OWN[:3])} and the like; optimiser
  state and counters beside it are ignored.
- Averaged (EMA) weights beside it, below {_words(AVERAGED[:3])} and the like, are
  named, and not taken: `{ENTRY_KEY} ema_state` takes them. The key also takes keys with
  dots between (`ema.module`) and a prefix of names (`ema_model`).
- A prefix that wrappers put before the model's names (`module.`, `model.`, `_orig_mod.`) is left
  out.
- Where shapes or names differ, the error counts them by module and names the keys to set, such as
  `MODEL.SEM_SEG_HEAD.NUM_CLASSES`.

Nothing in a checkpoint is ever executed: its stream is run by a machine that calls nothing. Names
of classes other than tensors, NumPy arrays and plain values are never imported; values of them
(`argparse.Namespace`, `pathlib.PosixPath`, a whole model) are left out, and refused only where the
state dict should be or inside it. Time and memory are linear in the file. A length, shape or
storage that claims more than the file holds is refused before memory is taken; so are compressed
archives, more than {OPERATIONS:,} operations, a description of tensors above
{DESCRIPTION >> 20} MiB, a table of contents above {DIRECTORY >> 20} MiB, and tensors that take more
than twice the file and {SLACK >> 20} MiB in all (expanded ones).
"""


def rules_page() -> str:
    """The text of docs/rules.md."""
    parts = [MADE, RULES_HEAD]
    for family, rules in FAMILIES.items():
        parts.append(f"\n## {family[0].upper()}{family[1:]}\n")
        parts += [_rule(rule) for rule in rules]
    parts.append("\n## Composites\n")
    parts += [_composite(c) for c in COMPOSITES.values()]
    return "".join(parts)


def _rule(rule: Declaration) -> str:
    ops = ", ".join(f"`{op}`" for op in rule.ops)
    params = "".join(f"- `{p.name}`: {p.meaning} ({_range(p)})\n" for p in rule.params)
    return (
        f"\n### `{rule.name}`\n\nFor {ops}.\n\n"
        f"- formula: {rule.formula}\n- conserves: {rule.conserves}\n"
        f"- source: {rule.source}\n{params}"
    )


def _range(param: Param) -> str:
    default = "must be given" if param.default is None else f"by default {param.default}"
    return f"{param.takes}; {default}"


def _composite(composite: Composite) -> str:
    rows = []
    for entry in composite.entries:
        params = ", ".join(f"{k}={setting(v)}" for k, v in entry.params.items())
        first = "first " if entry.first else ""
        rows.append(f"| {first}`{entry.role}` | `{entry.op}` | `{entry.rule}` | {params} |\n")
    options = [f"- `{o.name}`: {o.meaning} ({needed(o)})\n" for o in composite.options()]
    told = f"\nOptions:\n\n{''.join(options)}" if options else ""
    head = "| role | op | rule | parameters |\n|---|---|---|---|\n"
    return f"\n### `{composite.name}`\n\n{composite.doc}\n{told}\n{head}{''.join(rows)}"


def config_page() -> str:
    """The text of docs/config.md."""
    text = (ROOT / "lrpc/config/lrpc.yaml").read_text()
    node: Any = yaml.compose(text)
    meanings = _meanings(node.value[0][1], text.splitlines())
    rows = [
        f"| `{key}` | `{json.dumps(value)}` | {_takes(f'LRPC.{key}', value)} | {meanings[key]} |\n"
        for key, value in flattened(LRPC["LRPC"])
    ]
    others = [
        f"| `{key}` | `{json.dumps(DEFAULTS[key])}` | {_takes(key, DEFAULTS[key])} |\n"
        for key in sorted(LIMITS)
        if not key.startswith("LRPC.") and key != "VERSION"
    ]
    return "".join([MADE, CONFIG_HEAD, *rows, CONFIG_TAIL, *others, CHECKPOINTS])


def _meanings(node: yaml.MappingNode, lines: Sequence[str], prefix: str = "") -> dict[str, str]:
    """The comment lines above each key of lrpc.yaml, by its name below `LRPC`."""
    found: dict[str, str] = {}
    for key, value in node.value:
        name = f"{prefix}{key.value}"
        if isinstance(value, yaml.MappingNode):
            found |= _meanings(value, lines, f"{name}.")
            continue
        above: list[str] = []
        number = key.start_mark.line - 1
        while lines[number].strip().startswith("#"):
            above.insert(0, lines[number].strip().lstrip("# "))
            number -= 1
        found[name] = " ".join(above).replace("|", "\\|")
    return found


def _takes(key: str, value: object) -> str:
    if key in LIMITS:
        return LIMITS[key].expected
    if isinstance(value, bool):
        return "true or false"
    if value is None:
        return "a number, a list of numbers, or null"
    return {int: "an integer", float: "a number", str: "text"}.get(type(value), "a list")


PAGES = {"rules.md": rules_page, "config.md": config_page}


def main() -> int:
    """Write the pages; with --check only say whether they are current."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if one is old")
    check = parser.parse_args().check
    old = 0
    for name, page in PAGES.items():
        path, text = ROOT / "docs" / name, page()
        if path.is_file() and path.read_text() == text:
            continue
        old += 1
        if not check:
            path.write_text(text)
        print(f"{path.relative_to(ROOT)}: {'is not current' if check else 'written'}")
    return 1 if check and old else 0


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python3
"""Writes docs/rules.md and docs/config.md from the declarations of the rules and the defaults, and
the code in two tutorials from a tested program and from examples/."""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from lrpc.commands.rules import needed, setting  # noqa: E402
from lrpc.config import limits  # noqa: E402
from lrpc.config.schema import DEFAULTS, LIMITS, LRPC, flatten  # noqa: E402
from lrpc.models.checkpoints.entries import AVERAGED, ENTRY_KEY, OWN  # noqa: E402
from lrpc.models.checkpoints.stream import OPERATIONS  # noqa: E402
from lrpc.models.checkpoints.torch_file import DESCRIPTION, DIRECTORY  # noqa: E402
from lrpc.models.checkpoints.values import SLACK  # noqa: E402
from lrpc.rules import FAMILIES  # noqa: E402
from lrpc.rules.composite import COMPOSITES, Composite  # noqa: E402
from lrpc.rules.declaration import Declaration, Param  # noqa: E402

MADE = "<!-- Made by tools/make_docs.py: change the declarations, then run it. -->\n"

RULES_HEAD = """# Rules

Every rule with its formula and source, and the entries of every composite. `lrpc rules` prints the
same in a terminal.

`x` is the input of an operation, `z` its output, `R` relevance, `⊙` the elementwise product, and
`stab_ε(z) = z + ε·sgn(z)` with `sgn(0) = +1`. Programs propagate `G`, the relevance per unit of
activation, with `R = x ⊙ G`; no rule divides by an activation to obtain it. What a rule does not
propagate is booked in the [ledger](ledger.md).

A composite assigns rules. Entries of `LRPC.RULES` come before it:

```yaml
LRPC:
  RULES:
    - {role: residual, layers: [0, 2], rule: epsilon, eps: 1.0e-3}
```

`role`, `op` and `module` are globs, or several that `|` separates: `"linear|convolution"`. `layers`
is a range for the first number in the module path. `first: true` matches only the first linear map
or convolution on each path from an input, `classes: true` only the linear map or convolution whose
channels, as a whole, are an axis of logits of classes: of the outputs `pred_logits`, `logits`,
`class_queries_logits`, `proposal_logits` and those of layers; `backbone: true` only those that
extract features: no attention comes before them, and an activation after, before the first
attention (without attention: all). Fields that an entry omits match
everything; without `role` and `op` it is for those operations alone that have the rule. The first
entry that matches a node decides. Compilation says which of your entries no operation follows.

**Ties.** Where n entries are equally large, `x.max(dim)`, `min`, `amax` and `amin` give each 1/n of
the relevance, as the gradient of `amax` in torch does. `torch.maximum` and `minimum` of equal
operands give all of it to the first one, where torch's gradient gives each a half. Max pooling and
top-k give all of it to the entry that they took.
"""

CONFIG_HEAD = """# Configuration

A config is a detectron2 YAML file of a MaskDINO (`MODEL`, `INPUT`, `_BASE_`) with one more node,
`LRPC`. Every key can be overridden at the end of the command line: `lrpc compile --config FILE KEY
VALUE ...`. An unknown key is an error that suggests the nearest known one. Keys of detectron2 for
training or for other detectors are accepted and ignored.

## LRPC

| key | default | takes | meaning |
|---|---|---|---|
"""

CONFIG_TAIL = """
## Keys of MODEL and INPUT that the embedded model reads

They have the meaning that they have in MaskDINO and detectron2. `MODEL.WEIGHTS` is a
[checkpoint](#checkpoints); a relative path is relative to the file that sets it. If it is empty,
the weights are random, and programs and pictures say so.

| key | default | takes |
|---|---|---|
"""


def _words(names: Sequence[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


CHECKPOINTS = f"""
## Checkpoints

`MODEL.WEIGHTS` names a `.safetensors` file, a `NAME.index.json` with its shards beside it, a
`.pth`, `.pt`, `.ckpt` or `.bin` of `torch.save`, or a `.pkl` of NumPy arrays, as in detectron2. It
is read as training code leaves it. Notes at compilation and in the manifest say what was done:

- The state dict of the model is found under {_words(OWN[:3])} and similar keys. Optimiser
  state and counters are ignored.
- Averaged (EMA) weights under {_words(AVERAGED[:3])} and similar keys are reported, but not
  used. `{ENTRY_KEY} ema_state` uses them; the key also accepts nested keys (`ema.module`) and a
  prefix of names (`ema_model`).
- Prefixes that wrappers add to names (`module.`, `model.`, `_orig_mod.`) are removed.
- If shapes or names differ, the error counts them by module and names the keys to set, such as
  `MODEL.SEM_SEG_HEAD.NUM_CLASSES`.

Nothing in a checkpoint is executed: lrpc interprets its pickle stream without calling anything.
Classes other than tensors, NumPy arrays and plain values are never imported. Their values
(`argparse.Namespace`, `pathlib.PosixPath`, a whole model) are skipped, and refused only inside the
state dict or in its place.

## Limits

Configs are data: nothing in them is evaluated, and YAML tags that construct objects are refused.
Reading configs and checkpoints takes time and memory linear in the file.

| limit of a config | value |
|---|---|
| size of a file, UTF-8 | {limits.FILE:,} bytes |
| values in it, an aliased one counted at each use | {limits.VALUES:,} |
| pairs from merge keys (`<<`) | {limits.MERGED:,} |
| nesting of lists and mappings | {limits.DEPTH} |
| characters of a key; of a number | {limits.KEY}; {limits.NUMBER} |
| integers | 64 bits |
| characters of a value on the command line | {limits.VALUE:,} |
| chain of `_BASE_` files | {limits.BASES} |
| files of one config, each read once | {limits.FILES} |

A checkpoint is refused, before memory is allocated, if a length, shape or storage claims more than
the file holds. Further limits:

| limit of a checkpoint | value |
|---|---|
| compressed archives | refused |
| pickle operations | {OPERATIONS:,} |
| description of the tensors | {DESCRIPTION >> 20} MiB |
| table of contents | {DIRECTORY >> 20} MiB |
| memory of all tensors, expanded ones included | twice the file, plus {SLACK >> 20} MiB |
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
        nodes = entry.nodes.replace("*", "\\*") or "all others"
        rows.append(f"| {nodes} | `{entry.rule}` | {params} |\n")
    options = [f"- `{o.name}`: {o.meaning} ({needed(o)})\n" for o in composite.options()]
    told = f"\nOptions:\n\n{''.join(options)}" if options else ""
    head = "| nodes | rule | parameters |\n|---|---|---|\n"
    return f"\n### `{composite.name}`\n\n{composite.doc}\n{told}\n{head}{''.join(rows)}"


def config_page() -> str:
    """The text of docs/config.md."""
    text = (ROOT / "lrpc/config/lrpc.yaml").read_text()
    node: Any = yaml.compose(text)
    meanings = _meanings(node.value[0][1], text.splitlines())
    rows = [
        f"| `{key}` | `{json.dumps(value)}` | {_takes(f'LRPC.{key}', value)} | {meanings[key]} |\n"
        for key, value in flatten(LRPC["LRPC"])
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


CODE = re.compile(r"(<!-- code: written by tools/make_docs.py -->\n).*?(<!-- end -->)", re.S)
LINES = 27  # of a block function that the tutorial shows
SHOWN = ("epsilon_linear", "encoder_layers_relevance", "relevance_class_logit")


def program_code() -> str:
    """A rule, the first lines of a block and a target, from a program that tests hold."""
    golden = (ROOT / "tests" / "golden" / "digits_functions.py").read_text()
    texts = []
    for name in SHOWN:
        (text,) = re.findall(rf"^def {name}\(.*?(?=^def |\Z)", golden, re.S | re.M)
        lines = text.rstrip().splitlines()
        texts.append("\n".join([*lines[:LINES], *["    ..."] * (len(lines) > LINES)]))
    return "\n\n\n".join(texts)


def rule_code() -> str:
    """The rule in examples/own_rule.py, without its introduction and its `main`."""
    source = (ROOT / "examples" / "own_rule.py").read_text()
    return source[source.index("from lrpc.") : source.index("def main(")].strip()


def with_code(page: str, code: str) -> str:
    """A tutorial with the code between its two marks written anew."""
    text = (ROOT / "docs" / page).read_text()
    return CODE.sub(lambda found: f"{found[1]}```python\n{code}\n```\n{found[2]}", text)


READ, WRITE = "tutorials/read-a-program.md", "tutorials/write-a-rule.md"
PAGES = {
    "rules.md": rules_page,
    "config.md": config_page,
    READ: lambda: with_code(READ, program_code()),
    WRITE: lambda: with_code(WRITE, rule_code()),
}


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

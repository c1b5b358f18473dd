"""Hostile configs: linear time, limits that say where they are, and never a traceback."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrpc.config import default_config, limits, load_config
from lrpc.config.schema import DEFAULTS, parse
from lrpc.config.show import show
from lrpc.errors import ConfigError
from tests.fuzz.configs import case
from tests.fuzz.report import Report
from tests.support.configs import error_of, write


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder, so that error texts hold relative paths."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def laughs(levels: int) -> str:
    text = "&a0 [x,x,x,x,x,x,x,x,x,x]"
    for i in range(1, levels):
        text = f"&a{i} [{text},{','.join([f'*a{i - 1}'] * 9)}]"
    return text


def merges(depth: int) -> str:
    """Each mapping merges the one inside it twice: 2^depth pairs, were they not shared."""
    text = "&m0 {k: 1}"
    for i in range(1, depth):
        text = f"&m{i} {{<<: [{text}, *m{i - 1}]}}"
    return text


WIDE = ", ".join(f"k{i}: 1" for i in range(2000))
BOMBS = {
    "nested merges": (f"LRPC:\n  RULES: {merges(40)}\n", "2:175: nested more than 32 deep; flat"),
    "wide merges": (
        f"A: &a {{{WIDE}}}\nB: [{', '.join(['{<<: *a}'] * 50)}]\n",
        "1:4: merge keys (<<) bring in more than 10,000 pairs; write them out",
    ),
    "laughs": (f"A: {laughs(9)}\n", "1:57: more than 20,000 values; remove aliases"),
    "many values": (
        f"A: [{'a,' * 30_000}]\n",
        "1:39999: more than 20,000 values; shorten the file",
    ),
    "deep lists": (f"A: {'[' * 3000}\n", "1:35: nested more than 32 deep; flatten it"),
    "deep through aliases": (
        "A: !x [&a0 [], " + ", ".join(f"&a{i} [*a{i - 1}]" for i in range(1, 900)) + "]\nB: *a899",
        "1:12788: nested more than 32 deep; flatten it",
    ),
    "a chain of merges that nothing reads": (
        "VERSION: !x [&a0 {}, "
        + ", ".join(f"&a{i} {{<<: *a{i - 1}}}" for i in range(1, 900))
        + "]\nLRPC:\n  RULES: *a899",
        "1:16277: nested more than 32 deep; flatten it",
    ),
    "a long key": (f"{'k' * 900}: 1\n", "1:1: a key of 900 characters; at most 200"),
    "a long number": (f"A: {'1' * 5000}\n", "1:4: a number of 5,000 characters; at most 40"),
    "base 60": (f"A: {'1:' * 20_000}1\n", "1:4: a number of 40,001 characters; at most 40"),
    "beyond 64 bits": (f"A: {2**63}\n", "1:4: 9223372036854775808 is no integer of 64 bits"),
    "a list as key": ("? [a, b]\n: 1\n", "1: a key is a list or mapping; expected text"),
    "a merge of a number": ("A: {<<: 3}\n", "1: <<: expected a mapping or a list of mappings"),
    "a mapping in itself": ("A: &a {<<: *a}\n", "1: a YAML alias contains itself; remove it"),
    "half a surrogate pair": ('A: "\\ud800"\n', "1: \\ud800 is no text"),
    "an impossible date": ("LRPC: {SEEDS: 2001-99-99}\n", "1: LRPC.SEEDS: expected an integer of"),
    "bytes": ("LRPC: {SEEDS: !!binary aGk=}\n", "1: LRPC.SEEDS: the YAML tag !!binary is never e"),
    "not a number": ("LRPC: {EPSILON: .nan}\n", "1: LRPC.EPSILON: expected a finite number of at"),
    "two documents": ("A: 1\n---\nB: 2\n", "2: not valid YAML (but found another document); "),
    "an undefined alias": ("A: *b\n", "1: not valid YAML (found undefined alias 'b'); correct th"),
    "given twice": ("LRPC: {SEEDS: 1, SEEDS: 2}\n", "1: LRPC.SEEDS: given twice; remove one of th"),
}


@pytest.mark.parametrize(("text", "said"), BOMBS.values(), ids=BOMBS)
def test_a_bomb_is_refused_at_its_place_and_at_once(folder: Path, text: str, said: str) -> None:
    begin = time.process_time()
    message = error_of(text)
    assert time.process_time() - begin < 5  # what is exponential takes years
    assert message.startswith(f"c.yaml:{said}")
    assert "\n" not in message
    assert len(message) < 400


def test_shared_merges_are_merged_once(folder: Path) -> None:
    text = "LRPC:\n  COMPOSITE:\n    a: &a {composite: epsilon}\n    b: &b {<<: [*a, *a]}\n"
    text += "    c: {<<: [*b, *b, *a], epsilon: 0.5}\n"
    given = load_config(write("c.yaml", text)).LRPC.COMPOSITE.to_dict()
    assert given["c"] == {"composite": "epsilon", "epsilon": 0.5}
    assert given["b"] == given["a"] == {"composite": "epsilon"}


# `_BASE_`


def test_a_base_that_is_named_again_and_again_is_read_once(folder: Path) -> None:
    for i in range(25):
        write(f"b{i}.yaml", f"_BASE_: [b{i + 1}.yaml, ./b{i + 1}.yaml]\nLRPC: {{SEEDS: {i + 1}}}\n")
    write("b25.yaml", "VERSION: 2\nLRPC: {EPSILON: 0.5}\n")
    config = load_config("b0.yaml")
    assert (config.LRPC.SEEDS, config.LRPC.EPSILON) == (1, 0.5)


def test_bases_end(folder: Path) -> None:
    for i in range(40):
        write(f"c{i}.yaml", f"_BASE_: c{i + 1}.yaml\n")
    with pytest.raises(ConfigError) as caught:
        load_config("c0.yaml")
    assert str(caught.value) == (
        "c32.yaml:1: _BASE_: c33.yaml is more than 32 files away from the first; merge some"
    )
    for i in range(120):
        write(f"d{i}.yaml", "VERSION: 2\n")
    names = ", ".join(f"d{i}.yaml" for i in range(120))
    assert error_of(f"_BASE_: [{names}]\n") == (
        "c.yaml:1: _BASE_: d99.yaml: more than 100 files; merge some"
    )


def test_what_no_base_can_be(folder: Path) -> None:
    Path("self.yaml").symlink_to("c.yaml")
    Path("loop.yaml").symlink_to("loop.yaml")
    Path("folder").mkdir()
    os.mkfifo("pipe")
    Path("large.yaml").write_bytes(b"#" * (limits.FILE + 1))
    Path("wide.yaml").write_bytes("VERSION: 2\n".encode("utf-16"))
    for name, said in {
        "self.yaml": "self.yaml leads back to itself; remove one of the two",
        "loop.yaml": "loop.yaml: too many levels of symbolic links; check the path",
        "folder": "folder: is a directory; check the path",
        "pipe": "pipe: not a regular file; give a YAML file",
        "/dev/zero": "/dev/zero: not a regular file; give a YAML file",
        "large.yaml": "large.yaml: larger than 262,144 bytes; give a YAML file",
        "wide.yaml": "wide.yaml: not UTF-8 text; give a YAML file",
        '"a\\0b"': "a\\x00b: not a name of a file; check the path",
        "~nobody-here/x": "~nobody-here/x: no such user; check the path",
    }.items():
        assert error_of(f"_BASE_: {name}\n") == f"c.yaml:1: _BASE_: {said}"


def test_a_byte_order_mark_and_other_line_ends(folder: Path) -> None:
    Path("c.yaml").write_bytes("\ufeffLRPC:\r\n  SEEDS: 3\r\n".encode())
    config = load_config("c.yaml")
    assert (config.LRPC.SEEDS, config.where("LRPC.SEEDS")) == (3, "c.yaml:2")


# Overrides


@pytest.mark.parametrize(
    ("key", "text", "said"),
    [
        ("LRPC.TARGETS", f"[{laughs(9)}]", "LRPC.TARGETS: more than 20,000 values; remove aliases"),
        ("LRPC.SEEDS", "9**9**9", 'LRPC.SEEDS: expected an integer of at least 1, got "9**9**9"'),
        ("LRPC.SEEDS", "9" * 5000, 'LRPC.SEEDS: expected an integer of at least 1, got "9999'),
        ("LRPC.SEEDS", "0x" + "f" * 5000, "LRPC.SEEDS: expected an integer of at least 1, got"),
        ("LRPC.SEEDS", "-" * 9000 + "1", "LRPC.SEEDS: expected an integer of at least 1, got"),
        ("LRPC.SEEDS", "1" * 20_000, "LRPC.SEEDS: a value of 20,000 characters; at most 16,384"),
        ("LRPC.SEEDS", "{[1]: 2}", 'LRPC.SEEDS: a key is a list or mapping; expected text'),
        ("LRPC.SEEDS", "[!!python/name:os.system x]", "LRPC.SEEDS: the YAML tag !!python/name:os"),
        ("LRPC.SEEDS", "\udcff", "LRPC.SEEDS \\udcff: is no text in UTF-8"),
        ("LRPC.RULES", "{1, 2}", 'LRPC.RULES: expected a list of mappings, got "{1, 2}"; '),
        ("K" * 100_000, "1", "K" * 200 + "…: unknown key; remove it"),
        ("LRPC.SEEDZ\n", "1", "LRPC.SEEDZ\\n: unknown key; did you mean LRPC.SEEDS? Correct it"),
    ],
)  # fmt: skip
def test_hostile_overrides(key: str, text: str, said: str) -> None:
    begin = time.process_time()
    with pytest.raises(ConfigError) as caught:
        default_config([key, text])
    assert time.process_time() - begin < 5
    assert str(caught.value).startswith(f"command line: {said}")
    assert "\n" not in str(caught.value)


# Every key and every kind of value

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63) + 1, 2**63 - 1),
    st.floats(),
    st.text(max_size=8).filter(lambda text: text.isprintable()),
)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=6,
)


def said_of(parse: Callable[[], object]) -> str:
    """What is wrong, or "" where a value was taken."""
    try:
        parse()
    except (ConfigError, ValueError) as error:
        return f"{type(error).__name__}: {error}"
    return ""


@given(st.sampled_from(sorted(DEFAULTS)), values)
def test_every_key_takes_a_value_or_says_what_it_takes(key: str, value: Any) -> None:
    said = said_of(lambda: parse(key, value))
    assert "\n" not in said
    assert not said or said.startswith("ValueError: ")
    if not said:
        taken = parse(key, value)
        assert parse(key, taken) == taken


WRONG: list[Any] = [[[]], {"a": 1}, [1, {"b": []}], "\0", -1.5]


@pytest.mark.parametrize("key", sorted(k for k in DEFAULTS if k.startswith(("LRPC.", "MODEL.M"))))
def test_no_key_takes_everything_and_errors_name_the_key(key: str) -> None:
    refused = [
        said for value in WRONG if (said := said_of(lambda v=value: default_config([key, show(v)])))
    ]
    assert refused or isinstance(DEFAULTS[key], str)
    for said in refused:
        assert said.startswith(f"ConfigError: command line: {key}: ")
        assert "the default is" in said


def test_mutated_configs_are_refused_in_a_line_or_taken() -> None:
    report = Report()
    report.run(case, 600, seed=20)
    assert not report.failures, report.failures
    assert report.outcomes["refused"] > 200
    assert report.outcomes["taken"] > 10

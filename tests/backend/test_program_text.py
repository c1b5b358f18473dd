"""The text of programs: equal blocks are one function, dead ends are not computed, values die."""

from __future__ import annotations

import re
from pathlib import Path

from lrpc.compiler import compile_config
from lrpc.config import load_config
from tests.support.programs import ANY_SIZE, DIGITS, Programs


def text_of(programs: Programs, **options: object) -> str:
    return Path(programs.directory(DIGITS, **options) / "program.py").read_text()


def functions(text: str, pattern: str) -> list[str]:
    return re.findall(rf"^def ({pattern}[a-z_]*(?:_\d+)?)\(", text, re.MULTILINE)


def calls(text: str, name: str) -> int:
    return len(re.findall(rf"^ .*\b{name}\(", text, re.MULTILINE))


def test_equal_blocks_are_one_function(programs: Programs) -> None:
    text = text_of(programs, **ANY_SIZE)
    assert functions(text, "encoder_layers_forward") == ["encoder_layers_forward"]
    assert functions(text, "decoder_layers_forward") == ["decoder_layers_forward"]
    assert functions(text, "encoder_layers_relevance") == ["encoder_layers_relevance"]
    assert calls(text, "encoder_layers_forward") == 3
    assert calls(text, "decoder_layers_forward") == 3


def test_what_repeats_between_blocks_is_one_function(programs: Programs) -> None:
    text = text_of(programs, **ANY_SIZE)
    assert functions(text, "between") == ["between_forward"]
    assert calls(text, "between_forward") == 2


def test_a_composite_leaves_no_trace_of_what_it_detaches(programs: Programs) -> None:
    lrp = text_of(programs, COMPOSITE="cp_lrp", EPSILON=0.0, TARGETS=["class_logit"], DYNAMIC=False)
    assert "softmax_transpose" not in lrp
    assert "deform_weight_transpose" not in lrp
    assert "stab_ratio" not in lrp
    assert "softmax_transpose" in text_of(programs, **ANY_SIZE)


def test_every_assignment_states_its_shape_and_values_are_deleted(programs: Programs) -> None:
    """In the rule for a linear layer: each value is deleted, handed on under its name, or returned
    at the end."""
    text = text_of(programs, **ANY_SIZE)
    body = re.search(r"^def gamma_linear\(.*?(?=^def )", text, re.MULTILINE | re.DOTALL)
    assert body is not None
    lines = re.findall(r"^ +(\w+) = (.*?)(?:  # (.*))?$", body.group(), re.MULTILINE)
    assert len(lines) > 8
    assert all(re.fullmatch(r"f32\[[KBCN\d,*HW/]+\]", shape) for *_, shape in lines)
    deleted = {
        n
        for line in re.findall(r"^ +del (.*)$", body.group(), re.MULTILINE)
        for n in line.split(", ")
    }
    (result,) = re.findall(r"^    return (.*?)(?:  #|$)", body.group(), re.MULTILINE)
    left = {name for name, *_ in lines} - deleted
    assert all(re.search(rf"\b{name}\b", result) for name in left)


def test_files_name_no_folder_of_the_machine(tmp_path: Path) -> None:
    config = tmp_path / "mine.yaml"
    tag = "!!python/object/apply:eval ['[1]']"
    config.write_text(f"_BASE_: {DIGITS}\nINPUT:\n  MIN_SIZE_TRAIN: {tag}\n")
    overrides = ("LRPC.TARGETS", "[class_logit]", "LRPC.DYNAMIC", "false")
    report = compile_config(load_config(config, overrides), tmp_path / "program", check=False)
    assert any(str(tmp_path) in note for note in report.notes)
    for name in ("program.py", "manifest.json", "graph.lrp"):
        text = (tmp_path / "program" / name).read_text()
        assert str(tmp_path) not in text
        assert str(DIGITS.parent) not in text

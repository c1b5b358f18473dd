"""Programs of several composites: one forward pass, each composite's own relevance."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import lrpc
from lrpc.cli import main
from lrpc.compiler import compile_graph
from lrpc.errors import LrpcError, ProgramError, RuleError
from lrpc.program.loading import load_program
from lrpc.program.verify import checks
from lrpc.rules.composite import COMPOSITES, Composite, Entry
from lrpc.rules.composite_set import SharedOptions, composites
from tests.support.programs import DIGITS, SEVERAL, Programs
from tests.support.tiny import tiny

NAMES = ["attnlrp", "cp_lrp", "epsilon"]


@pytest.fixture(scope="module")
def several() -> Any:
    model, example = tiny()
    return lrpc.compile(model, (example,), composite=NAMES, read={"block": "norm2"})


def text_of(program: Any) -> str:
    return str((program.directory / "program.py").read_text())


def line_of(call: Callable[[], object]) -> str:
    with pytest.raises(LrpcError) as caught:
        call()
    return str(caught.value)


@pytest.mark.parametrize("name", NAMES)
def test_each_composite_is_what_it_is_alone(several: Any, name: str) -> None:
    model, example = tiny()
    alone: Any = lrpc.compile(model, (example,), composite=name, read={"block": "norm2"})
    state = several.forward(example)
    torch.testing.assert_close(state.outputs, model(example))
    seeds = torch.randn(3, *state.outputs.shape, dtype=torch.float64)
    mine = several.relevance(state, "output", seeds=seeds, composite=name, ledger=True)
    theirs = alone.relevance(alone.forward(example), "output", seeds=seeds, ledger=True)
    assert bool(mine.input.any())
    assert torch.equal(mine.input, theirs.input)
    assert torch.equal(mine.layers["block"], theirs.layers["block"])
    assert {k: v.tolist() for k, v in mine.ledger.sinks.items()} == {
        k: v.tolist() for k, v in theirs.ledger.sinks.items()
    }
    again = alone.relevance(alone.forward(example), "output", seeds=seeds, composite=name)
    assert torch.equal(again.input, theirs.input)


def test_the_first_is_the_default_and_they_differ(several: Any) -> None:
    state = several.forward(tiny()[1])
    found = {n: several.relevance(state, "output", at=[(1,)], composite=n).input for n in NAMES}
    plain = several.relevance(state, "output", at=[(1,)]).input
    assert torch.equal(plain, found["attnlrp"])
    assert not torch.allclose(plain, found["cp_lrp"])


def test_an_unknown_composite_is_one_line(several: Any) -> None:
    state = several.forward(tiny()[1])
    with pytest.raises(Exception, match="no composite 'gamma'") as caught:
        several.relevance(state, "output", at=[(1,)], composite="gamma")
    assert str(caught.value) == (
        "this program has no composite 'gamma'; it has: attnlrp, cp_lrp, epsilon"
        " (compile with LRPC.COMPOSITE for others)"
    )


def test_the_text_names_composites_and_shares_what_is_equal(several: Any) -> None:
    text = text_of(several)
    mains = re.findall(r"^def (relevance_\w+)\(", text, re.M)
    both = ["relevance_output", "relevance_output_cp_lrp"]  # attnlrp and epsilon do the same here
    assert [name for name in mains if not name.startswith("relevance_from_")] == both
    assert "Composites: attnlrp, cp_lrp, epsilon." in text
    assert len(re.findall(r"^def forward\(", text, re.M)) == 1
    forward = text.split("def forward(")[1].split("\ndef ")[0]
    assert "epsilon(" not in forward  # whose rules would that be


def test_one_in_a_list_is_the_same_program_as_its_name() -> None:
    model, example = tiny()
    one: Any = lrpc.compile(model, (example,), composite="cp_lrp")
    listed: Any = lrpc.compile(model, (example,), composite=["cp_lrp"])
    for name in ("program.py", "manifest.json", "graph.lrp", "weights.safetensors"):
        assert (one.directory / name).read_bytes() == (listed.directory / name).read_bytes()


def test_the_manifest_lists_each_composite_s_rules(several: Any) -> None:
    manifest = json.loads((several.directory / "manifest.json").read_text())
    assert manifest["composite"] == "attnlrp"
    assert list(manifest["composites"]) == NAMES
    assert manifest["composites"]["attnlrp"].keys() == {"composite", "epsilon", "graph"}
    softmax = "attention_probabilities"
    assert manifest["rules"][softmax] == "taylor"
    assert manifest["composites"]["cp_lrp"]["rules"][softmax] == "detach"
    graphs = {"graph.lrp", "graph.cp_lrp.lrp", "graph.epsilon.lrp"}
    assert graphs < manifest["sha256"].keys()


def test_verify_covers_all_of_them(several: Any) -> None:
    found = list(checks(several.directory, every=True))
    assert [c for c in found if not c.passed] == []
    for name in NAMES:
        assert f"{name}: output → input.images" in {c.what for c in found}


def test_a_changed_graph_file_is_refused(several: Any, tmp_path: Path) -> None:
    folder = several.save(tmp_path / "program")
    (folder / "graph.cp_lrp.lrp").write_text("graph @other")
    with pytest.raises(ProgramError, match=r"graph\.cp_lrp\.lrp was changed"):
        load_program(folder, "cpu")


def test_a_graph_file_compiles_to_all_composites_again(several: Any, tmp_path: Path) -> None:
    report = compile_graph(several.directory / "graph.lrp", tmp_path / "again")
    assert report.composites == tuple(NAMES)
    for name in ("program.py", "manifest.json", "graph.cp_lrp.lrp", "weights.safetensors"):
        assert (tmp_path / "again" / name).read_bytes() == (several.directory / name).read_bytes()


def test_an_edited_graph_changes_its_own_composite(several: Any, tmp_path: Path) -> None:
    folder = several.save(tmp_path / "program")
    graph = folder / "graph.cp_lrp.lrp"
    graph.write_text(graph.read_text().replace("epsilon(eps=1e-06)", "epsilon(eps=0.5)"))
    compile_graph(graph, tmp_path / "edited")
    edited: Any = load_program(tmp_path / "edited", "cpu")
    assert edited.composites == tuple(NAMES)
    example = tiny()[1]
    for name in NAMES:
        old, new = (p(example, "output", at=[(2,)], composite=name) for p in (several, edited))
        assert torch.equal(old.input, new.input) == (name != "cp_lrp")


def test_composites_do_not_compute_different_outputs(several: Any, tmp_path: Path) -> None:
    folder = several.save(tmp_path / "program")
    graph = folder / "graph.epsilon.lrp"
    graph.write_text(graph.read_text().replace("by=0.5", "by=0.25"))
    assert line_of(lambda: compile_graph(folder / "graph.lrp", tmp_path / "edited")) == (
        f"{graph}: %attention_scaled differs in more than its rule from the graph of attnlrp;"
        " edit the graphs of all composites alike"
    )


def test_own_names_with_own_rules() -> None:
    model, example = tiny()
    rough = {"composite": "cp_lrp", "epsilon": 0.5}
    rules = [{"op": "linear", "rule": "epsilon", "eps": 2.0}]
    given = {"rough": rough, "plain": "cp_lrp", "own": {"composite": "cp_lrp", "rules": rules}}
    program: Any = lrpc.compile(model, (example,), composite=given, epsilon=0.0)
    state = program.forward(example)
    for name, options in (
        ("rough", {"epsilon": 0.5}),
        ("plain", {"epsilon": 0.0}),
        ("own", {"epsilon": 0.0, "rules": rules}),
    ):
        alone: Any = lrpc.compile(model, (example,), composite="cp_lrp", **options)  # type: ignore[arg-type]
        expected = alone(example, "output", at=[(0,)]).input
        found = program.relevance(state, "output", at=[(0,)], composite=name).input
        assert torch.equal(found, expected), name


def test_common_rules_stand_before_an_own_composite_s_entries() -> None:
    mine = Composite("mine", (Entry("epsilon", op="linear"), *COMPOSITES["cp_lrp"].entries))
    rules = ({"op": "linear", "rule": "epsilon", "eps": 2.0},)
    (made,) = composites(mine, SharedOptions(rules=rules))
    assert (made.name, made.entries[0].params) == ("mine", {"eps": 2.0})


def test_common_options_go_to_those_that_have_them() -> None:
    given = {"a": "cp_lrp", "b": "gamma", "c": {"composite": "gamma", "conv_gamma": 3.0}}
    made = composites(given, SharedOptions(options={"conv_gamma": 0.25}))
    assert [c.settings for c in made] == [{}, {"conv_gamma": 0.25}, {"conv_gamma": 3.0}]
    with pytest.raises(RuleError, match="none of the composites has the option 'conv_gamma'"):
        composites(["cp_lrp"], SharedOptions(options={"conv_gamma": 0.25}))


def test_names_that_would_collide_in_python_are_kept_apart() -> None:
    model, example = tiny()
    given = {"a-b": "cp_lrp", "a_b": "attnlrp", "a.b": "gradient_input"}
    program: Any = lrpc.compile(model, (example,), composite=given)
    state = program.forward(example)
    found = [program.relevance(state, "output", at=[(0,)], composite=n).input for n in given]
    assert len({round(float(r.sum()), 9) for r in found}) == 3


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ([], "no composite is given; name one, such as attnlrp"),
        (["epsilon", "epsilon"], "two composites are called 'epsilon'; give one of them another"),
        ({"A": "epsilon", "a": "cp_lrp"}, "two composites are called 'a'"),
        ({"a/b": "epsilon"}, "composite name 'a/b': letters, digits and _ . + - only"),
        (["epsilom"], "unknown composite 'epsilom'; did you mean epsilon?"),
        ({"a": {"rules": []}}, "composite 'a' needs `composite: NAME`"),
        (
            {"a": {"composite": "epsilon", "eps": 1}},
            "composite epsilon has no option eps; it has: none",
        ),
        (
            {"a": {"composite": "epsilon", "epsilon": "x"}},
            "epsilon must be a finite number from 0 up, got 'x'",
        ),
        ({"a": 3}, "a composite is a name or a mapping with composite, epsilon, rules, got 3"),
    ],
)
def test_bad_composites_are_one_line(given: Any, text: str) -> None:
    with pytest.raises(RuleError) as caught:
        composites(given, SharedOptions())
    assert text in str(caught.value)
    assert "\n" not in str(caught.value)


def test_of_a_config(programs: Programs, tmp_path: Path, capsys: Any) -> None:
    """A mapping in YAML; the command line runs, verifies and shows each of them."""
    folder = programs.directory(DIGITS, **SEVERAL)
    assert main(["verify", str(folder)]) == 0
    said = capsys.readouterr().out
    assert "weak: ledger class_logit" in said
    scene = DIGITS.parent / "digits" / "scenes" / "02.png"
    out = tmp_path / "out"
    run = ["run", str(folder), "--images", str(scene), "-o", str(out), "--device", "cpu"]
    assert main([*run, "--composite", "weak", "--top", "1"]) == 0
    program = json.loads((out / "02.json").read_text())["program"]
    assert (program["composite"], program["epsilon"]) == ("weak", 0.1)
    capsys.readouterr()
    assert main([*run, "--composite", "smooth"]) == 2
    assert "this program has no composite 'smooth'; it has: cp_lrp, weak" in capsys.readouterr().err


def test_blocks_with_equal_rules_are_shared(programs: Programs) -> None:
    """ε differs in the decoder alone: the encoder's functions serve both composites."""
    rule = {"module": "*predictor*", "op": "linear", "rule": "epsilon", "eps": 0.5}
    own = json.dumps({"cp": "cp_lrp", "other": {"composite": "cp_lrp", "rules": [rule]}})
    text = (
        programs.directory(DIGITS, COMPOSITE=own, TARGETS=["class_logit"], DYNAMIC=False)
        / "program.py"
    ).read_text()
    names = set(re.findall(r"^def ((?:en|de)coder_layers_relevance\w*)\(", text, re.M))
    assert "encoder_layers_relevance" in names
    assert not {n for n in names if n.startswith("encoder") and ("_cp" in n or "_other" in n)}
    assert {"decoder_layers_relevance_cp", "decoder_layers_relevance_other"} <= names

"""bf16 and tf32 programs: what computes in which type, and what the report says of the result."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import lrpc
from lrpc.cli import main
from lrpc.errors import ConfigError, PrecisionError
from lrpc.ir.graph import Graph, Module
from lrpc.ir.interpreter import interpret
from lrpc.ir.ops import TABLE
from lrpc.ir.parser import parse_graph
from lrpc.models.weights import load_weights
from lrpc.program.precision import _refuse
from lrpc.program.precision_table import precision_table
from lrpc.program.tf32 import Tf32, rounded
from lrpc.program.verify import checks
from lrpc.runtime.kernels.deformable import deform_sample, deform_splat, deform_weight_transpose
from passes.mixed_precision import MixedPrecision
from tests.runtime.test_load_compile import again, counting
from tests.support.maskdino_cases import digits_image
from tests.support.models import MSDeformAttn, Stack
from tests.support.programs import Programs, strongest


class Wide(nn.Module):
    """Images [B, 3, 16, 16] → scores [B, 5]: convolution, attention, sampling, two linear maps."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Conv2d(3, 32, 4, stride=4)
        self.attention = nn.MultiheadAttention(32, 2, batch_first=True)
        self.sampling = MSDeformAttn(32, 1, 2, 4)
        self.norm1, self.norm2 = nn.LayerNorm(32), nn.LayerNorm(32)
        self.linear1, self.linear2 = nn.Linear(32, 64), nn.Linear(64, 32)
        self.head = nn.Linear(32, 5)

    def forward(self, images: Tensor) -> Tensor:
        x = self.stem(images).relu().flatten(2).transpose(1, 2)  # [B, 16, 32]
        x = self.norm1(x + self.attention(x, x, x, need_weights=False)[0])
        x = x + self.sampling(x, x[:, :, None, :2].sigmoid(), x, ((4, 4),), None, None)
        x = self.norm2(x + self.linear2(self.linear1(x).relu()))
        scores: Tensor = self.head(x.mean(1))
        return scores


X = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
OPTIONS: dict[str, Any] = {"composite": "attnlrp", "read": {"block": "norm1"}}


@pytest.fixture(scope="module")
def exact() -> Any:
    return lrpc.compile(Wide().double().eval(), (X.double(),), precision="fp64", **OPTIONS)


@pytest.fixture(scope="module")
def bf16() -> Any:
    return lrpc.compile(Wide().eval(), (X,), precision="bf16", **OPTIONS)


@pytest.fixture(scope="module")
def tf32() -> Any:
    return lrpc.compile(Wide().eval(), (X,), precision="tf32", **OPTIONS)


def annotated(program: Any) -> Graph:
    return parse_graph((Path(program.directory) / "graph.lrp").read_text(), "graph.lrp")


def weights(program: Any) -> dict[str, Tensor]:
    return load_weights(Path(program.directory) / "weights.safetensors")


def test_large_maps_are_narrow_and_all_else_is_not(bf16: Any) -> None:
    mixed = MixedPrecision().run(Module(annotated(bf16), weights(bf16))).graph
    narrow = {
        n.loc.module or n.role
        for n in mixed.nodes
        if n.op in ("linear", "matmul", "conv2d", "deform_sample") and n.out.type.dtype == "bf16"
    }
    wide = {
        (n.op, n.loc.module, n.role)
        for n in mixed.nodes
        if n.op in ("linear", "matmul", "conv2d") and n.out.type.dtype == "f32"
    }
    assert narrow == {"attention", "sampling", "linear1", "linear2"}
    assert wide == {
        ("conv2d", "stem", "convolution"),
        ("matmul", "attention", "attention_scores"),
        ("linear", "sampling", "linear"),  # the offsets: coordinates, and the 8 sampling weights
        ("linear", "head", "linear"),  # 5 scores
    }
    for node in mixed.nodes:
        if node.op in ("softmax", "layer_norm", "add", "mean"):
            assert {v.type.dtype for v in (*node.inputs, *node.outputs)} == {"f32"}
        if node.op == "deform_sample":
            assert [v.type.dtype for v in node.inputs] == ["bf16", "f32", "f32"]


def test_what_goes_in_and_comes_out_is_float32(bf16: Any) -> None:
    state = bf16.forward(X)
    assert state.outputs.dtype == torch.float32
    found = bf16.relevance(state, at=[(1,)], ledger=True)
    assert found.input.dtype == found.layers["block"].dtype == torch.float32
    assert found.ledger.start.dtype == torch.float64


def test_no_value_is_saved_twice(bf16: Any) -> None:
    """What has an exact copy in bfloat16 is kept as that alone, but for the target itself."""
    saved = json.loads((Path(bf16.directory) / "manifest.json").read_text())["saved"]
    copies = {name for name in saved if name.endswith("_bf16")}
    assert copies
    state, twice = bf16.forward(X), []
    for name in copies:
        plain = name.removesuffix("_bf16")
        if plain in saved:
            a, b = (state.saved[saved[n][0]][saved[n][1]] for n in (plain, name))
            twice += [plain] if torch.equal(a, b.float()) else []
    assert not twice


def test_sixty_four_bits_are_left_alone(exact: Any) -> None:
    module = Module(annotated(exact), weights(exact))
    assert MixedPrecision().run(module).graph.nodes == module.graph.nodes


def test_the_mixed_graph_means_what_the_program_computes(bf16: Any) -> None:
    module = MixedPrecision().run(Module(annotated(bf16), weights(bf16)))
    expected = interpret(module.graph, module.tensors, {"images": X})["output"]
    torch.testing.assert_close(bf16.forward(X).outputs, expected, rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("precision", ["bf16", "tf32"])
def test_the_report_is_what_one_measures(
    precision: str, exact: Any, request: pytest.FixtureRequest
) -> None:
    program = request.getfixturevalue(precision)
    report = program.manifest["precision_report"]
    assert (report["precision"], report["input"]) == (precision, "the example")
    with Tf32():
        state = program.forward(X)
    reference = exact.forward(X.double())
    apart = (state.outputs.double() - reference.outputs).abs() / reference.outputs.abs().max()
    (row,) = report["outputs"]
    assert row["moved"] == 0
    assert row["of"] == 10
    assert row["median"] == pytest.approx(float(apart.median()), rel=0.01)
    assert row["largest"] == pytest.approx(float(apart.max()), rel=0.01)
    (row,) = report["targets"]
    at = torch.tensor(row["at"])[None]
    assert torch.equal(at[0, :, 0], reference.outputs.argmax(1))
    with Tf32():
        found = program.relevance(state, at=at, ledger=True)
    expected = exact.relevance(reference, at=at).input
    error = (found.input.double() - expected).abs().sum() / expected.abs().sum()
    assert row["relative_l1"] == pytest.approx(float(error), rel=0.01)
    assert row["closure"] == pytest.approx(float(found.ledger.closure.max()), rel=0.01)
    assert 0.99 < row["correlation"] <= 1


def test_bfloat16_costs_more_than_tf32_and_both_cost_something(bf16: Any, tf32: Any) -> None:
    errors = [p.manifest["precision_report"]["targets"][0]["relative_l1"] for p in (tf32, bf16)]
    assert 1e-5 < errors[0] < errors[1] < 0.1


def test_verify(bf16: Any, tf32: Any) -> None:
    for program in (bf16, tf32):
        assert not [c for c in checks(Path(program.directory), every=True) if not c.passed]


def test_verify_fails_a_wrong_program(bf16: Any, tmp_path: Path) -> None:
    folder = tmp_path / "program"
    shutil.copytree(bf16.directory, folder)
    right, wrong = "t.sum(dim, keepdim=True).neg_()", "-0.5 * t.sum(dim, keepdim=True)"
    text = (folder / "program.py").read_text()
    assert right in text
    (folder / "program.py").write_text(text.replace(right, wrong))
    manifest = json.loads((folder / "manifest.json").read_text())
    data = (folder / "program.py").read_bytes()
    manifest["sha256"]["program.py"] = hashlib.sha256(data).hexdigest()
    (folder / "manifest.json").write_text(json.dumps(manifest))
    assert main(["verify", str(folder)]) == 1


def test_weights_for_reference_are_not_loaded(bf16: Any) -> None:
    left = set(bf16.manifest["reference_weights"])
    assert {"linear1.weight", "linear2.weight"} <= left
    assert not left & set(bf16.weights)
    assert left < set(weights(bf16))
    assert bf16.weights["linear1.weight@bf16"].dtype == torch.bfloat16
    assert bf16.weights["head.weight"].dtype == torch.float32


def test_its_graph_compiles_to_the_same_program(bf16: Any, tmp_path: Path) -> None:
    folder = Path(bf16.directory)
    assert main(["compile", "--graph", str(folder / "graph.lrp"), "-o", str(tmp_path / "p")]) == 0
    for name in ("program.py", "weights.safetensors"):
        assert (tmp_path / "p" / name).read_bytes() == (folder / name).read_bytes()


def test_several_composites() -> None:
    program: Any = lrpc.compile(
        Wide().eval(), (X,), composite=["attnlrp", "epsilon"], precision="bf16"
    )
    rows = program.manifest["precision_report"]["targets"]
    assert [row["composite"] for row in rows] == ["attnlrp", "epsilon"]
    assert rows[0]["relative_l1"] != rows[1]["relative_l1"]
    assert not [c for c in checks(Path(program.directory)) if not c.passed]


def test_without_a_graph_break(bf16: Any) -> None:
    program = again(bf16)
    backend = counting(program)
    found = program.relevance(program.forward(X), at=[(1,), (2,)])
    expected = bf16.relevance(bf16.forward(X), at=[(1,), (2,)])
    assert torch.equal(found.input, expected.input)
    assert len(backend.graphs) == 2
    torch._dynamo.reset()


def test_a_large_model_is_checked_from_its_first_targets(monkeypatch: pytest.MonkeyPatch) -> None:
    def checked() -> tuple[list[str], list[str]]:
        program: Any = lrpc.compile(
            Stack().eval(), (torch.randn(2, 6),), composite="epsilon", precision="tf32"
        )
        report = program.manifest["precision_report"]
        return [row["target"] for row in report["targets"]], report["unchecked"]

    every, none = checked()
    assert len(every) > 1
    assert not none
    monkeypatch.setattr("lrpc.program.precision.ENTRIES", 1)
    assert checked() == (every[:1], every[1:])


def test_too_far_from_float64_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["compile", "--config", str(tmp_path / "c.yaml"), "-o", str(tmp_path / "p")]
    keys = "LRPC:\n  SOURCE: tests.support.small:network\n  SHAPES: [[32, 32]]\n"
    (tmp_path / "c.yaml").write_text(f"{keys}  PRECISION: tf32\n")
    assert main([*words, "LRPC.PRECISION_TOLERANCE", "1e-9"]) == 2
    said = capsys.readouterr().err
    assert "tf32: relevance of output is " in said
    assert "more than 1e-09; compile in fp32, or raise LRPC.PRECISION_TOLERANCE" in said
    assert not (tmp_path / "p").exists()
    assert main(words) == 0
    assert "tf32 against fp64, random, seeded input; TF32 emulated" in capsys.readouterr().out


def test_the_table_has_a_line_for_each_output_and_target(bf16: Any) -> None:
    table = precision_table(bf16.manifest["precision_report"])
    assert list(table.columns[0].cells) == ["output", "relevance of output"]
    assert table.row_count == 2


@pytest.mark.parametrize(
    ("dtype", "precision", "said"),
    [
        (torch.float64, "bf16", "is for models in float32, this one is in fp64"),
        (torch.float32, "fp64", "is for models in float64, this one is in fp32"),
        (torch.float32, "fp8", "choose among fp64, fp32, tf32, bf16"),
    ],
)
def test_another_model_than_the_precision_is_for(
    dtype: torch.dtype, precision: str, said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        lrpc.compile(Wide().to(dtype).eval(), (X.to(dtype),), precision=precision)


def test_rounding_to_ten_bits() -> None:
    one = 2.0**-10
    given = torch.tensor([1 + one, 1 + 0.5 * one, 1 + 1.5 * one, -1 - 0.51 * one, 0.0, 3e38])
    wanted = torch.tensor([1 + one, 1.0, 1 + 2 * one, -1 - one, 0.0, 3e38])
    assert torch.equal(rounded(given)[:5], wanted[:5])
    drawn = torch.randn(1000, generator=torch.Generator().manual_seed(0)).exp()
    mantissa, exponent = torch.frexp(drawn.double())
    assert torch.equal(
        rounded(drawn).double(), torch.ldexp((mantissa * 2**11).round(), exponent - 11)
    )


def test_products_under_emulation() -> None:
    a, b = torch.randn(2, 8, 8, generator=torch.Generator().manual_seed(0)).unbind()
    with Tf32():
        found, added, wide = a @ b, a + b, a.double() @ b.double()
    assert torch.equal(found, rounded(a) @ rounded(b))
    assert torch.equal(added, a + b)
    assert torch.equal(wide, a.double() @ b.double())


def test_sampling_a_narrow_value_at_wide_places() -> None:
    torch.manual_seed(0)
    levels = ((3, 5), (2, 2))
    value, loc = torch.randn(2, 19, 2, 4).bfloat16(), torch.rand(2, 4, 2, 2, 3, 2)
    weight, g = torch.rand(2, 4, 2, 2, 3), torch.randn(3, 2, 4, 8).bfloat16()
    found = deform_sample(value, loc, weight, levels)
    expected = TABLE["deform_sample"].reference(value, loc, weight, levels=levels)
    assert found.dtype == expected.dtype == torch.bfloat16
    torch.testing.assert_close(found, expected, rtol=1e-2, atol=1e-2)
    wide = deform_sample(value.float(), loc, weight, levels)
    assert torch.equal(found, wide.bfloat16())  # sums are float32
    back = deform_weight_transpose(g, value, loc, levels)
    expected = TABLE["deform_weight_transpose"].reference(g, value, loc, levels=levels)
    assert back.dtype == torch.bfloat16
    torch.testing.assert_close(back, expected, rtol=1e-2, atol=1e-2)
    splat = deform_splat(g, loc, weight, levels)
    assert splat.dtype == torch.bfloat16
    assert torch.equal(splat, deform_splat(g.float(), loc, weight, levels).bfloat16())


@pytest.mark.slow
def test_the_example_model_in_bfloat16(programs: Programs) -> None:
    """Relevance of a detected digit; queries of low score may fall otherwise."""
    program, exact = programs.digits(PRECISION="bf16"), programs.digits(PRECISION="fp64")
    image = digits_image("02")
    state, reference = program.forward(image.float()), exact.forward(image.double())
    logits = reference.outputs["pred_logits"]
    at = strongest(logits[0])
    apart = (state.outputs["pred_logits"].double() - logits).abs() / logits.abs().max()
    assert float(apart[0, at[0]].max()) < 0.01
    assert float(apart.median()) < 0.01
    for target, start in (("class_logit", at), ("decoder_query:2", at[:1])):
        found = program.relevance(state, target, at=[start], read=["input"], ledger=True)
        expected = exact.relevance(reference, target, at=[start], read=["input"]).input
        error = (found.input.double() - expected).abs().sum() / expected.abs().sum()
        assert 1e-4 < float(error) < 0.05
        assert float(found.ledger.closure.max()) < 0.02


def test_relevance_that_is_not_finite_is_said_in_one_line() -> None:
    row = {"target": "output", "relative_l1": None}
    with pytest.raises(PrecisionError, match="relevance of output is not finite; compile in fp32"):
        _refuse({"precision": "bf16", "bound": 0.25, "targets": [row]})

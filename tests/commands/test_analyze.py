"""`lrpc analyze` against gradients of the embedded model itself and against the detached oracle."""

from __future__ import annotations

import csv
import json
import math
import signal
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from lrpc.cli import main
from lrpc.commands.analyze.collect import Collected
from lrpc.commands.analyze.request import LocalRequest, route
from lrpc.commands.session.facts import read_facts
from lrpc.commands.session.images import load_image
from lrpc.config import load_config
from lrpc.results.schema import IMAGES
from tests.oracle.detached import Detached
from tests.oracle.targets import DecoderQuery, EncoderFeature
from tests.support.maskdino_cases import EXAMPLE
from tests.support.programs import DIGITS, Programs

EXACT = ("LRPC.PRECISION", "fp64", "LRPC.SHAPES", "[[96, 96]]", "LRPC.DYNAMIC", "false")
HEAD = "sem_seg_head"
ENCODER = f"{HEAD}.pixel_decoder.transformer.encoder.layers"
DECODER = f"{HEAD}.predictor.decoder.layers"


@dataclass(frozen=True)
class Result:
    """What one run wrote: contributions [K, n] and further columns, and the sidecar."""

    columns: Mapping[str, Tensor]
    about: Mapping[str, Any]

    @property
    def contribution(self) -> Tensor:
        return self.columns["contribution"]

    def account(self, feature: int) -> Mapping[str, Any]:
        found: Mapping[str, Any]
        (found,) = (a for a in self.about["accounts"] if a["feature"] == feature)
        return found


Analyze = Callable[..., Result]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three images of three sizes: all are resized, two of them padded."""
    found = tmp_path_factory.mktemp("images")
    scenes = EXAMPLE / "scenes"
    Image.open(scenes / "02.png").save(found / "a.png")
    Image.open(scenes / "03.png").resize((200, 120)).save(found / "b.png")
    Image.open(scenes / "05.png").crop((20, 20, 100, 116)).save(found / "c.png")
    return found


@pytest.fixture
def analyze(programs: Programs, folder: Path, tmp_path: Path) -> Analyze:
    """Runs the command on the digits model in float64; it compiles each program once, and all from
    one trace."""

    def run(
        module: str, layer: int, features: str, *words: str, keys: Sequence[str] = ()
    ) -> Result:
        path = tmp_path / "t.csv"
        asked = ["--which-module", module, "--layer-index", str(layer), "--feature-index", features]
        given = [] if "--program" in words else ["--config", str(DIGITS), *EXACT, *keys]
        first = ["analyze", "--images-dir", str(folder), "--output-csv", str(path), "--pad", *asked]
        if not {"--thesis", "--target-norm"} & set(words):
            first += ["--target-norm", "sum1"]
        if not {"--thesis", "--composite", "--program", "--method"} & set(words):
            first += ["--composite", "thesis"]
        with (
            programs.trace_of(DIGITS, PRECISION="fp64", SHAPES=[[96, 96]], DYNAMIC=False),
            programs.each_once(),
        ):
            assert main([*first, *words, "--device", "cpu", *given]) == 0
        return result(path)

    return run


def result(path: Path) -> Result:
    about = json.loads(Path(f"{path}.json").read_text())
    shape = (len(about["request"]["features"]), about["request"]["size"])
    with path.open() as file:
        rows = list(csv.DictReader(file))
    columns = {
        name: torch.tensor([float(row[name]) for row in rows], dtype=torch.float64).reshape(shape)
        for name in rows[0]
    }
    return Result(columns, about)


def images(folder: Path) -> Tensor:
    """The images as the program takes them, [B, 3, H, W] in double."""
    config = load_config(DIGITS, [])
    facts = read_facts(
        {"config": config.to_dict(), "inputs": {"images": "f64[B,3,96,96]"}, "targets": []}
    )
    sizing = replace(facts.sizing, pad=True)
    found = [load_image(path, sizing).pixels for path in sorted(folder.iterdir())]
    return torch.stack(found).double()


def local_gradient(
    model: nn.Module,
    images: Tensor,
    start: str,
    cuts: list[str],
    picks: list[Callable[[Tensor], Tensor]],
) -> list[tuple[Tensor, list[Tensor]]]:
    """For each pick: what starts in each image [B], and x ⊙ ∂/∂x at the module outputs `cuts`,
    behind which nothing flows."""
    named = dict(model.named_modules())
    seen: dict[str, Tensor] = {}

    def cut(name: str) -> Callable[..., Any]:
        def hook(_: nn.Module, __: Any, output: Any) -> Any:
            inner = output[0] if isinstance(output, tuple) else output
            seen[name] = inner.detach().requires_grad_()
            return (seen[name], *output[1:]) if isinstance(output, tuple) else seen[name]

        return hook

    def entry(name: str) -> Callable[..., Any]:
        def hook(_: nn.Module, arguments: Any) -> Any:
            seen[name] = arguments[0].detach().requires_grad_()
            return (seen[name], *arguments[1:])

        return hook

    def keep(_: nn.Module, __: Any, output: Any) -> None:
        seen["start"] = output[0] if isinstance(output, tuple) else output

    handles = [
        named[name.removesuffix(":in")].register_forward_pre_hook(entry(name))
        if name.endswith(":in")
        else named[name].register_forward_hook(cut(name))
        for name in cuts
    ]
    handles.append(named[start].register_forward_hook(keep))
    try:
        model(images)
    finally:
        for handle in handles:
            handle.remove()
    points = [seen[name] for name in cuts]
    found = []
    for pick in picks:
        score = pick(seen["start"])  # [B]
        options = {"allow_unused": True, "materialize_grads": True, "retain_graph": True}
        gradients = torch.autograd.grad(score.sum(), points, **options)
        parts = [(x * g).detach() for x, g in zip(points, gradients, strict=True)]
        found.append((score.detach(), parts))
    return found


@dataclass(frozen=True)
class Case:
    """A request, and the same in module paths: where it starts, and what cuts the way back."""

    module: str
    layer: int
    words: tuple[str, ...]
    start: str
    cuts: tuple[str, ...]  # where it is read first, then what leaves


M = f"{ENCODER}.2"  # the memory
PRE = ("--measure", "pre_res")
CASES = {
    "encoder": Case("encoder", 2, (), f"{ENCODER}.2", (f"{ENCODER}.1",)),
    "encoder token": Case("encoder", 1, ("--target-token", "7"), f"{ENCODER}.1", (f"{ENCODER}.0",)),
    "encoder input": Case("encoder", 0, (), f"{ENCODER}.0", (f"{ENCODER}.0:in",)),
    "encoder attention": Case(
        "encoder", 2, ("--sublayer", "self_attn"), f"{ENCODER}.2.norm1", (f"{ENCODER}.1.norm1",)
    ),
    "encoder before the sum": Case(
        "encoder", 2, PRE, f"{ENCODER}.2.linear2", (f"{ENCODER}.1.linear2", f"{ENCODER}.1.norm1")
    ),
    "encoder attention before the sum": Case(
        "encoder",
        1,
        ("--sublayer", "self_attn", *PRE),
        f"{ENCODER}.1.self_attn",
        (f"{ENCODER}.0.self_attn", f"{ENCODER}.0:in"),
    ),
    "decoder": Case("decoder", 2, (), f"{DECODER}.2", (f"{DECODER}.1", M)),
    "decoder input": Case("decoder", 0, (), f"{DECODER}.0", (f"{DECODER}.0:in", M)),
    "decoder cross-attention": Case(
        "decoder", 1, ("--sublayer", "cross_attn"), f"{DECODER}.1.norm1", (f"{DECODER}.0.norm1", M)
    ),
    "decoder cross-attention before the sum": Case(
        "decoder",
        2,
        ("--sublayer", "cross_attn", *PRE),
        f"{DECODER}.2.cross_attn",
        (f"{DECODER}.1.cross_attn", f"{DECODER}.1.norm2", M),
    ),
    "decoder attention before the sum": Case(
        "decoder",
        2,
        ("--sublayer", "self_attn", *PRE),
        f"{DECODER}.2.self_attn",
        (f"{DECODER}.1.self_attn", f"{DECODER}.0", M),
    ),
}


#: One of each kind: from a sum and before it, to the input of the layers, with and without memory.
QUICK = ("encoder", "encoder attention before the sum", "decoder input", "decoder cross-attention")


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(case, id=name, marks=[] if name in QUICK else pytest.mark.slow)
        for name, case in CASES.items()
    ],
)
def test_gradinput_is_the_model_s_own_gradient(
    analyze: Analyze, programs: Programs, folder: Path, case: Case
) -> None:
    features = (17, 3) if case.module == "encoder" else (2, 40)
    model = programs.model(DIGITS, torch.float64)
    found = analyze(
        case.module, case.layer, "{},{}".format(*features), "--method", "gradinput", *case.words
    )
    counted = 1 if case.module == "encoder" else 2  # tokens, or channels, are summed

    def pick(feature: int) -> Callable[[Tensor], Tensor]:
        if case.module == "decoder":
            return lambda y: y[:, feature].sum(1)
        if "--target-token" in case.words:
            return lambda y: y[:, 7, feature]
        return lambda y: y[:, :, feature].mean(1)

    picks = [pick(feature) for feature in features]
    expected = local_gradient(model, images(folder), case.start, [*case.cuts], picks)
    for k, feature in enumerate(features):
        score, parts = expected[k]
        read, *others = (part / score[:, None, None] for part in parts)  # [B, N or Q, C]
        each = read.sum(counted)
        assert each.any()
        columns = found.columns
        close(columns["contribution"][k], each.mean(0))
        close(columns["std"][k], each.std(0, correction=0))
        close(columns["mean_abs"][k], each.abs().mean(0))
        close(columns["gross"][k], read.abs().sum(counted).mean(0))
        close(columns["share"][k].sum(), torch.ones((), dtype=torch.float64))
        beside = torch.stack([other.sum((1, 2)).mean() for other in others]) if others else None
        account = found.account(feature)
        assert (beside is None) == (not account["elsewhere"])
        if beside is not None:
            leaving = torch.tensor(list(account["elsewhere"].values()), dtype=torch.float64)
            close(leaving, beside)
        assert account["start"] == pytest.approx(1, abs=1e-12)


def close(found: Tensor, expected: Tensor, limit: float = 1e-10) -> None:
    scale = expected.abs().max().clamp_min(1e-300) if expected.numel() else 1.0
    assert found.shape == expected.shape
    assert bool(((found - expected).abs() / scale <= limit).all())


@pytest.mark.parametrize("module", ["encoder", "decoder"])
def test_cp_lrp_without_stabiliser_is_the_gradient_of_the_detached_model(
    analyze: Analyze, programs: Programs, folder: Path, module: str
) -> None:
    rules = ("--composite", "cp_lrp", "--lrp-epsilon", "0", "--target-norm", "none")
    found = analyze(module, 2, "5", *rules)
    target: Any = EncoderFeature(2, 5) if module == "encoder" else DecoderQuery(2, 5)
    place = f"{module}.layers.1"
    oracle = Detached(programs.model(DIGITS, torch.float64), images(folder), "cp_lrp")
    read = oracle.relevance(target, [place])[place]
    close(found.contribution[0], read.sum(1 if module == "encoder" else 2).mean(0))


# -- what may not matter, and what must ------------------------------------------------------------


def test_batches_do_not_change_the_numbers(analyze: Analyze) -> None:
    one = analyze("encoder", 2, "0,9", "--batch-size", "1")
    two = analyze("encoder", 2, "0,9", "--batch-size", "2")
    for name, column in one.columns.items():
        close(two.columns[name], column, 1e-11)


def test_all_queries_go_in_one_pass_and_equal_those_asked_alone(
    analyze: Analyze, tmp_path: Path
) -> None:
    kept = tmp_path / "program"
    every = analyze("decoder", 1, "all", "--keep-program", str(kept))
    assert json.loads((kept / "manifest.json").read_text())["settings"]["chunk"] == 50
    assert every.contribution.shape == (50, 50)
    few = analyze("decoder", 1, "3,30-31")
    assert few.about["request"]["features"] == [3, 30, 31]
    close(few.contribution, every.contribution[[3, 30, 31]])
    again = analyze("decoder", 1, "3,30-31", "--program", str(kept))
    close(again.contribution, few.contribution)
    assert again.about["program"]["sha256"] == every.about["program"]["sha256"]


def test_more_channels_than_a_pass_carries(analyze: Analyze) -> None:
    many = analyze("encoder", 1, "0-4", keys=("LRPC.SEEDS", "2"))
    alone = analyze("encoder", 1, "4", keys=("LRPC.SEEDS", "2"))
    close(many.contribution[4:], alone.contribution)


def test_the_target_norm_scales_the_start(analyze: Analyze, folder: Path) -> None:
    words = ("--images-glob", "a.*")
    plain, one, tokens = (
        analyze("encoder", 2, "17", "--target-norm", norm, *words)
        for norm in ("none", "sum1", "sumT")
    )
    assert [len(r.about["images"]) for r in (plain, one, tokens)] == [1, 1, 1]
    account = plain.account(17)
    assert account["start"] == account["activation"] != 0
    close(one.contribution * account["activation"], plain.contribution)
    assert tokens.about["request"]["starts_with"] == 189
    close(tokens.contribution, one.contribution * 189)
    assert float(one.columns["std"].max()) == 0


def test_the_account_adds_up(analyze: Analyze) -> None:
    found = analyze("decoder", 1, "3,30-31")
    for k, feature in enumerate((3, 30, 31)):
        account = found.account(feature)
        amounts = [*account["elsewhere"].values(), *account["sinks"].values()]
        total = math.fsum([*found.contribution[k].tolist(), *amounts])
        assert total == pytest.approx(1, abs=1e-9 * max(map(abs, amounts)))
        assert account["elsewhere"]["encoder.layers.2"] != 0
        assert account["closure"] < 1e-9


def test_switches_become_rules_before_all_others(analyze: Analyze) -> None:
    switches = ("--residual-split", "epsilon", "--ln-rule", "detach_sigma", "--qk-share", "0")
    mixed = analyze(
        "decoder", 2, "5", "--composite", "attnlrp", *switches, "--softmax-rule", "detach"
    )
    plain = analyze("decoder", 2, "5", "--composite", "cp_lrp")
    close(mixed.contribution, plain.contribution, 1e-14)
    assert [e["rule"] for e in mixed.about["rules"]["entries"]] == [
        *("epsilon", "detach_sigma", "detach", "detach", "share", "value_and_weights")
    ]
    on_the_way = mixed.about["rules"]["on_the_way"]
    assert not any(part in place for place in on_the_way for part in (".layers.0", ".layers.1"))
    assert not any("backbone" in place for place in on_the_way)
    assert any("self_attn" in place and "share(" in rule for place, rule in on_the_way.items())


def test_rules_of_the_config_come_after_the_switches(analyze: Analyze) -> None:
    own = "[{role: residual, rule: epsilon, eps: 0.5}, {role: linear, rule: epsilon, eps: 0.25}]"
    found = analyze("encoder", 1, "5", "--residual-split", "epsilon", keys=("LRPC.RULES", own))
    rules = set(found.about["rules"]["on_the_way"].values())
    assert "epsilon(eps=0.25)" in rules
    assert "epsilon(eps=0.5)" not in rules


def test_the_same_input_gives_the_same_bytes(
    analyze: Analyze, programs: Programs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    analyze("encoder", 2, "5")
    first = [(tmp_path / name).read_bytes() for name in ("t.csv", "t.csv.json")]
    monkeypatch.setattr(programs, "each_once", nullcontext)  # compiled anew
    analyze("encoder", 2, "5")
    assert [(tmp_path / name).read_bytes() for name in ("t.csv", "t.csv.json")] == first
    assert str(tmp_path) not in first[1].decode()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["t.csv", "t.csv.json"]


def test_a_folder_has_the_tables_as_those_of_a_data_set(
    analyze: Analyze, folder: Path, tmp_path: Path
) -> None:
    pandas = pytest.importorskip("pandas")
    (folder / "broken.png").write_text("no image")
    out = tmp_path / "tables"
    try:
        with pytest.raises(AssertionError):  # the exit code is 1
            analyze("encoder", 2, "5", "-o", str(out))
    finally:
        (folder / "broken.png").unlink()
    table = pandas.read_parquet(out / "contributions.parquet")
    rows = list(csv.DictReader((tmp_path / "t.csv").read_text().splitlines()))
    assert list(table.columns) == list(rows[0])
    assert table["contribution"].tolist() == [float(row["contribution"]) for row in rows]
    images = pandas.read_parquet(out / "images.parquet")
    assert list(images.columns) == list(IMAGES)
    assert images["name"].tolist() == ["a.png", "b.png", "broken.png", "c.png"]
    assert images["targets"].tolist() == [1, 1, 0, 1]
    assert images["width"].iloc[1] == 200
    assert "not an image" in images["error"].iloc[2]
    assert images["error"].isna().tolist() == [True, True, False, True]
    about = json.loads((out / "contributions.parquet.json").read_text())
    assert about["failed"][0]["file"] == "broken.png"
    hashes = {one["file"]: one["sha256"] for one in about["images"]}
    known = images[images["error"].isna()]
    assert dict(zip(known["name"], known["sha256"], strict=True)) == hashes
    assert main(["validate", str(out / "contributions.parquet")]) == 0


def test_parquet_holds_the_same_table(
    analyze: Analyze, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    found = analyze("encoder", 2, "5", "--output-parquet", str(tmp_path / "t.parquet"))
    table = parquet.read_table(tmp_path / "t.parquet").to_pydict()
    assert list(table) == list(found.columns)
    assert table["contribution"] == found.contribution[0].tolist()
    assert main(["validate", str(tmp_path / "t.parquet")]) == 0


# -- places ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "target", "read", "leaving"),
    [
        (("encoder", 3), "encoder_feature:3", "encoder.layers.2", ()),
        (("encoder", 0), "encoder_feature:0", "encoder.input", ()),
        (("encoder", 0, "self_attn"), "encoder_feature:0.self_attn", "encoder.input", ()),
        (("decoder", 4), "decoder_query:4", "decoder.layers.3", ("encoder.layers.5",)),
        (
            ("decoder", 1, "ffn", "pre_res"),
            "decoder_query:1.ffn.pre_res",
            "decoder.layers.0.ffn.pre_res",
            ("decoder.layers.0.cross_attn", "encoder.layers.5"),
        ),
        (
            ("decoder", 1, "self_attn", "pre_res"),
            "decoder_query:1.self_attn.pre_res",
            "decoder.layers.0.self_attn.pre_res",
            ("decoder.input", "encoder.layers.5"),
        ),
    ],
)
def test_routes(asked: tuple[Any, ...], target: str, read: str, leaving: tuple[str, ...]) -> None:
    module, layer, *rest = asked
    found = route(LocalRequest(module, layer, None, *rest), 6)
    assert (found.target, found.read, found.leaving) == (target, read, leaving)


# -- what is refused -------------------------------------------------------------------------------

ASKED = {
    "--images-dir": str(EXAMPLE / "scenes"),
    "--which-module": "encoder",
    "--layer-index": "2",
    "--feature-index": "17",
    "--config": str(DIGITS),
}


def refused(
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    changes: Mapping[str, str | None],
    keys: Sequence[str] = (),
) -> str:
    """The one line on stderr; nothing is written."""
    out = folder / "out" / "t.csv"
    words = {**ASKED, "--output-csv": str(out), **changes}
    given = [w for key, value in words.items() if value is not None for w in (key, value)]
    assert main(["analyze", *given, *keys]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert not out.exists()
    assert said.err.startswith("error: ")
    assert said.err.count("\n") == 1
    return said.err.removeprefix("error: ").rstrip("\n")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"--layer-index": "3"}, "--layer-index 3: the encoder has layers 0 to 2"),
        ({"--feature-index": "256"}, "--feature-index 256: the encoder has channel 0 to 255"),
        (
            {"--which-module": "decoder", "--feature-index": "0-50"},
            "--feature-index 50: the decoder has query 0 to 49",
        ),
        (
            {"--feature-index": "5-2"},
            "--feature-index 5-2: '5-2' is no index or range; give 17, 0,4,8-15 or all",
        ),
        (
            {"--sublayer": "cross_attn"},
            "--sublayer cross_attn: layers of the encoder have self_attn, ffn",
        ),
        (
            {"--which-module": "decoder", "--target-token": "3"},
            "--target-token goes with --which-module encoder; queries have none",
        ),
        (
            {"--method": "gradinput", "--ln-rule": "xmu"},
            "--ln-rule goes with --method lrp; gradinput has no rules to choose",
        ),
        ({"--config": None}, "give --config C, or --program DIR, and not both"),
        ({"--output-csv": None}, "give -o OUT, --output-csv OUT, or --output-parquet OUT"),
        ({"--output-csv": "t.txt"}, "t.txt: name it .csv or .parquet"),
        ({"--composite": "thesys"}, None),
        (
            {"--method": "gradinput", "--deform-rule": "splat"},
            "--deform-rule goes with --method lrp; gradinput has no rules to choose",
        ),
        ({"--images-glob": "*.jpg"}, f"{EXAMPLE}/scenes: no image of this folder is named *.jpg"),
    ],
)
def test_questions_that_cannot_be_asked(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    changes: dict[str, str | None],
    said: str | None,
) -> None:
    found = refused(tmp_path, capsys, changes)
    assert found == said if said is not None else "LRPC.COMPOSITE" in found


def test_folders_and_images_that_are_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    assert refused(tmp_path, capsys, {"--images-dir": str(empty)}).startswith(
        f"{empty}: no image in this folder"
    )
    nowhere = str(tmp_path / "nowhere")
    found = refused(tmp_path, capsys, {"--images-dir": nowhere})
    assert found == f"{nowhere}: no such file or folder"


def test_an_unreadable_image_is_left_out_and_told(
    programs: Programs, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole, torn = tmp_path / "whole", tmp_path / "torn"
    for images_ in (whole, torn):
        images_.mkdir()
        (images_ / "a.png").write_bytes((folder / "a.png").read_bytes())
    (torn / "b.png").write_bytes((folder / "a.png").read_bytes()[:9000])
    words = ["--which-module", "encoder", "--layer-index", "1", "--feature-index", "1"]
    words += ["--program", str(encoder_program(programs)), "--device", "cpu"]
    codes = {}
    for images_ in (whole, torn):
        given = ["--images-dir", str(images_), "--output-csv", f"{images_}.csv"]
        codes[images_.name] = main(["analyze", *given, *words])
    reason = f"{torn}/b.png: corrupt or cut short (image file is truncated)"
    assert codes == {"whole": 0, "torn": 1}
    assert reason in capsys.readouterr().err.splitlines()
    about = json.loads((tmp_path / "torn.csv.json").read_text())
    assert about["failed"] == [{"file": "b.png", "error": reason}]
    assert (tmp_path / "torn.csv").read_bytes() == (tmp_path / "whole.csv").read_bytes()
    assert main(["validate", f"{torn}.csv", "--images-dir", str(torn)]) == 0
    (torn / "a.png").write_text("no image")
    capsys.readouterr()
    changes = {"--images-dir": str(torn), "--config": None, "--program": words[7]}
    assert refused(tmp_path, capsys, changes).startswith("no image could be analysed; the first: ")


@pytest.mark.parametrize("done", [0, 2])
def test_a_signal_ends_it_with_the_images_until_then(
    programs: Programs,
    folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    done: int,
) -> None:
    explain = Collected.explain

    def stopping(self: Collected, *words: Any) -> Any:
        if len(self.images) == done:
            signal.raise_signal(signal.SIGTERM)
        return explain(self, *words)

    monkeypatch.setattr(Collected, "explain", stopping)
    words = ["--which-module", "encoder", "--layer-index", "1", "--feature-index", "1"]
    words += [
        "--program",
        str(encoder_program(programs)),
        "--device",
        "cpu",
        "--batch-size",
        "1",
        "--pad",
    ]
    out = tmp_path / "t.csv"
    assert main(["analyze", "--images-dir", str(folder), "--output-csv", str(out), *words]) == 143
    said = capsys.readouterr().err.splitlines()[-1]
    if not done:
        assert said == "stopped by SIGTERM"
        assert list(tmp_path.iterdir()) == []
        return
    assert said.startswith("stopped by SIGTERM: the table is of 2 of 3 images; run it again")
    about = json.loads((tmp_path / "t.csv.json").read_text())
    assert ([one["file"] for one in about["images"]], about["images_left"]) == (
        ["a.png", "b.png"], 1,
    )  # fmt: skip
    monkeypatch.undo()
    whole = tmp_path / "whole.csv"
    given = ["--images-dir", str(folder), "--images-glob", "[ab].png", "--output-csv", str(whole)]
    assert main(["analyze", *given, *words]) == 0
    assert out.read_bytes() == whole.read_bytes()


def encoder_program(programs: Programs) -> Path:
    """Local mode of two encoder layers at once."""
    targets = ["encoder_feature:1", "encoder_feature:2"]
    return programs.directory(
        DIGITS, TARGETS=targets, BOUNDARIES=["encoder.layers.*", "encoder.input"], DYNAMIC=False
    )


def test_a_program_that_does_not_fit_is_refused(
    programs: Programs, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    program = str(encoder_program(programs))
    fits: dict[str, str | None] = {"--config": None, "--program": program}
    assert refused(tmp_path, capsys, {**fits, "--layer-index": "0"}) == (
        f"{program}: compiled without target encoder_feature:0; compile it with LRPC.TARGETS"
        " '[encoder_feature:0]' LRPC.BOUNDARIES '[encoder.input]', or give --config and no"
        " --program"
    )
    whole = str(programs.directory(DIGITS, TARGETS=["encoder_feature:2"], DYNAMIC=False))
    assert refused(tmp_path, capsys, {**fits, "--program": whole}) == (
        f"{whole}: compiled without a stop at encoder.layers.1; compile it with LRPC.TARGETS"
        " '[encoder_feature:2]' LRPC.BOUNDARIES '[encoder.layers.1]', or give --config and no"
        " --program"
    )
    assert refused(tmp_path, capsys, {**fits, "--qk-share": "0.5"}).startswith(
        "--program DIR has its rules already"
    )


def test_relevance_that_cannot_get_to_the_queries_is_refused(
    programs: Programs, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    changes = {"--which-module": "decoder", "--sublayer": "cross_attn", "--measure": "pre_res"}
    with programs.trace_of(DIGITS, DYNAMIC=False):
        words = {**changes, "--composite": "cp_lrp"}
        assert refused(tmp_path, capsys, words, ("LRPC.DYNAMIC", "false")) == (
            "with these rules no relevance of decoder.layers.2.cross_attn.pre_res reaches"
            " decoder.layers.1.cross_attn.pre_res; follow attention weights to the queries"
            " (--deform-rule value_and_weights)"
        )


def test_one_program_of_all_layers_serves_each(
    programs: Programs, folder: Path, tmp_path: Path
) -> None:
    program, out = encoder_program(programs), tmp_path / "t.csv"
    for layer in (1, 2):
        words = ["--which-module", "encoder", "--layer-index", str(layer), "--feature-index", "4"]
        given = ["--images-dir", str(folder), "--output-csv", str(out), "--program", str(program)]
        assert main(["analyze", *given, *words, "--pad"]) == 0
        assert result(out).about["request"]["read"] == f"encoder.layers.{layer - 1}"
        assert main(["validate", str(out), "--program", str(program)]) == 0


def test_images_are_padded_only_where_that_is_asked_for(
    programs: Programs, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, words = tmp_path / "t.csv", ["--program", str(encoder_program(programs))]
    words += ["--which-module", "encoder", "--layer-index", "1", "--feature-index", "4"]
    assert main(["analyze", "--images-dir", str(folder), "--output-csv", str(out), *words]) == 1
    about = result(out).about
    assert [one["file"] for one in about["images"]] == [
        "a.png",
        "c.png",
    ]  # c as by the model itself
    assert [one["file"] for one in about["failed"]] == ["b.png"]
    assert (
        "b.png: the program takes 160×160, the model's own inference makes this image 96×160"
        in (capsys.readouterr().err)
    )


def test_run_says_that_a_local_program_does_not_reach_the_image(
    programs: Programs, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["run", str(encoder_program(programs)), "--images", str(EXAMPLE / "scenes" / "02.png")]
    target = ["--target", "encoder_feature:2:4", "-o", str(tmp_path / "out")]
    assert main([*words, *target, "--device", "cpu"]) == 2
    assert capsys.readouterr().err == (
        "error: relevance of 'encoder_feature:2' ends at encoder.layers.2, encoder.layers.1 in this"
        " program (LRPC.BOUNDARIES), not at the image; `lrpc analyze` reads it there\n"
    )


def test_the_thesis_counts_from_one_and_has_its_own_settings(analyze: Analyze) -> None:
    own = analyze("decoder", 3, "1", "--thesis")
    same = analyze("decoder", 2, "1", "--composite", "thesis", "--target-norm", "sum1")
    assert torch.equal(own.columns["contribution"], same.columns["contribution"])
    assert own.about["request"] == same.about["request"]


def test_the_default_starts_with_the_activation_and_does_not_explode(
    analyze: Analyze, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["analyze", "--images-dir", str(folder), "--output-csv", str(tmp_path / "d.csv")]
    words += ["--which-module", "encoder", "--layer-index", "2", "--feature-index", "17", "--pad"]
    keys = ["--config", str(DIGITS), *EXACT]
    assert main([*words, "--device", "cpu", *keys]) == 0
    found = result(tmp_path / "d.csv")
    (account,) = found.about["accounts"]
    assert account["start"] == account["activation"]
    assert found.columns["contribution"].abs().max() < 2
    capsys.readouterr()
    assert main(["validate", str(tmp_path / "d.csv")]) == 0
    assert "warning" not in capsys.readouterr().out
    analyze("encoder", 3, "17", "--thesis")
    assert main(["validate", str(tmp_path / "t.csv")]) == 0
    said = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "and mostly cancel: shares mean little" in said
    assert "checks passed, 1 with a warning" in said


def test_the_thesis_has_no_layer_zero(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["analyze", "--images-dir", str(folder), "--output-csv", str(tmp_path / "t.csv")]
    words += ["--which-module", "encoder", "--layer-index", "0", "--feature-index", "1", "--thesis"]
    assert main([*words, "--config", str(DIGITS)]) == 2
    assert "with --thesis layers are counted from 1" in " ".join(capsys.readouterr().err.split())

"""`lrpc run` as a whole, against a program whose every number can be predicted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from lrpc.commands.run.runner import Runner
from lrpc.commands.session import record
from lrpc.commands.session.calls import Request
from lrpc.commands.session.facts import RANDOM_WARNING, read_facts
from lrpc.commands.session.names import identity
from lrpc.commands.session.options import Options
from lrpc.commands.session.targets import TargetError, parse_targets
from lrpc.commands.session.writing import Outcome
from lrpc.errors import ProgramError
from lrpc.support import files
from tests.support.run_fakes import HEIGHT, MANIFEST, WIDTH, FakeProgram, write_image


def explain(
    program: FakeProgram, tmp_path: Path, paths: list[Path], *targets: str, **options: Any
) -> list[Outcome]:
    chosen = Options(tmp_path / "out", targets=parse_targets(targets), **options)
    heard: list[Outcome] = []
    outcomes = Runner(program, tmp_path / "DIR", chosen).run(paths, heard.append)
    assert heard == outcomes
    return outcomes


def read(tmp_path: Path, stem: str) -> Any:
    return json.loads((tmp_path / "out" / f"{stem}.json").read_text())


def written(tmp_path: Path) -> set[str]:
    return {path.name for path in (tmp_path / "out").iterdir()}


def test_one_image_gives_pictures_tensors_and_a_record(tmp_path: Path) -> None:
    image = write_image(tmp_path / "a.png", 150)
    program = FakeProgram()
    (outcome,) = explain(program, tmp_path, [image], request=Request(read=("encoder.layers.0",)))
    assert (outcome.targets, outcome.error, outcome.note) == (1, "", "")
    pictures = {f"a.class_logit-q1-c2.{n}.png" for n in ("heatmap", "overlay", "panel")}
    assert written(tmp_path) == pictures | {"a.json", "a.relevance.safetensors"}
    tensors = load_file(tmp_path / "out/a.relevance.safetensors")
    assert tensors["class_logit-q1-c2/input"].shape == (3, HEIGHT, WIDTH)
    assert tensors["class_logit-q1-c2/input"].sum().item() == pytest.approx(120)
    assert tensors["class_logit-q1-c2/encoder.layers.0"].tolist() == [[120, 120]] * 5
    with safe_open(tmp_path / "out/a.relevance.safetensors", "pt") as file:
        assert file.metadata()["valid"] == f"{HEIGHT},{WIDTH}"


def test_the_record_says_what_was_done(tmp_path: Path) -> None:
    image = write_image(tmp_path / "a.png", 250, (2 * WIDTH, 2 * HEIGHT))
    explain(FakeProgram(), tmp_path, [image])
    told = read(tmp_path, "a")
    assert told["image"]["original_size"] == [2 * HEIGHT, 2 * WIDTH]
    assert told["image"]["network_input"] == [HEIGHT, WIDTH]
    program = told["program"]
    assert (program["composite"], program["epsilon"]) == ("attnlrp", 1e-6)
    assert program["random_weights"] is False
    assert "warning" not in program
    first, second = told["targets"]
    assert first["index"] == [1, 2]
    assert first["value"] == 4.0
    detection = first["detection"]
    assert (detection["class"], detection["class_name"]) == (2, None)
    assert second["detection"]["class_name"] == "cat"
    assert detection["box_network"] == [12, 8, 36, 24]
    assert detection["box_image"] == [24, 16, 72, 48]
    assert first["relevance"]["sum"] == pytest.approx(120)
    share = first["relevance"]
    assert share["in_padding"] == 0
    assert share["positive_share_in_mask"] == pytest.approx(share["mask_share_of_image"])
    assert first["ledger"]["sinks"] == {"bias": 0.5, "epsilon": 0.5}
    assert (first["ledger"]["start"], first["ledger"]["end"]) == (121, 120)
    assert first["ledger"]["closure"] == pytest.approx(1.2e-7)


def test_a_batch_is_one_call_with_repeats_that_are_dropped(tmp_path: Path) -> None:
    reds = {"two": 250, "one": 150, "none": 50}
    paths = [write_image(tmp_path / f"{name}.png", red) for name, red in reds.items()]
    program = FakeProgram()
    outcomes = explain(program, tmp_path, paths, batch_size=3)
    assert program.batches == [3]
    ((target, at, options),) = program.calls
    assert target == "class_logit"
    assert at.tolist() == [[[1, 2], [1, 2], [0, 0]], [[3, 0], [1, 2], [0, 0]]]
    assert options == {"ledger": True}
    assert [outcome.targets for outcome in outcomes] == [2, 1, 0]
    assert outcomes[2].note == "no detection above 0.5 (largest class probability 0.01)"
    assert read(tmp_path, "none")["targets"] == []
    assert "none.relevance.safetensors" not in written(tmp_path)
    sums = [t["relevance"]["sum"] for t in read(tmp_path, "two")["targets"]]
    assert sums == pytest.approx([120, 300])


def test_targets_are_grouped_by_kind_and_layer_and_chunked(tmp_path: Path) -> None:
    image = write_image(tmp_path / "a.png", 250)
    program = FakeProgram()
    wanted = ("encoder_feature:2:1", "box", "encoder_feature:2:3", "encoder_feature:0:1")
    request = Request(ledger=False, chunk=5, norm="sum1")
    explain(program, tmp_path, [image], *wanted, request=request)
    seen = [(target, len(at), options.get("layer")) for target, at, options in program.calls]
    encoder = "encoder_feature"
    assert seen == [(encoder, 2, 2), ("box", 5, None), ("box", 3, None), (encoder, 1, 0)]
    assert all(options["norm"] == "sum1" for _, _, options in program.calls)
    told = read(tmp_path, "a")["targets"]
    assert [t["layer"] for t in told[:1]] == [2]
    assert told[0]["ledger"] is None
    order = [t["tensors"][0].removesuffix("/input") for t in told]
    assert order[0] == "encoder_feature-L2-c1"
    assert order[1:3] == ["box-q1-cx", "box-q1-cy"]
    assert order[-1] == "encoder_feature-L0-c1"


def test_one_bad_image_does_not_stop_the_others(tmp_path: Path) -> None:
    good = [write_image(tmp_path / f"{n}.png", 150) for n in range(3)]
    cursed = write_image(tmp_path / "cursed.png", 7)
    broken = tmp_path / "broken.png"
    broken.write_text("no")
    paths = [good[0], broken, good[1], cursed, good[2]]
    outcomes = explain(FakeProgram(), tmp_path, paths, batch_size=4)
    errors = {outcome.path.name: outcome.error for outcome in outcomes if outcome.error}
    assert errors == {
        "broken.png": f"{broken}: not an image that Pillow can read",
        "cursed.png": "a pixel it cannot stand",
    }
    assert {outcome.path for outcome in outcomes if outcome.targets == 1} == set(good)
    for name, error in errors.items():
        told = read(tmp_path, Path(name).stem)
        assert (told["image"]["file"], told["error"]) == (str(tmp_path / name), error)
        assert told["targets"] == []
    assert read(tmp_path, "0")["error"] is None
    pictures = [name for name in written(tmp_path) if not name.endswith(".json")]
    assert not [name for name in pictures if name.startswith(("broken", "cursed"))]


def test_an_image_keeps_its_name_whatever_it_is_explained_with(tmp_path: Path) -> None:
    x, y = (write_image(tmp_path / folder / "a.png", 150) for folder in ("x", "y"))
    explain(FakeProgram(), tmp_path, [x])
    alone = written(tmp_path)
    assert "a.json" in alone
    explain(FakeProgram(), tmp_path, [y, x])
    both = written(tmp_path)
    mark = identity(y)[:8]
    assert both == alone | {name.replace("a.", f"a-{mark}.", 1) for name in alone}
    y.write_text("no image")  # what failed has its name too, and none of its earlier files
    explain(FakeProgram(), tmp_path, [y])
    assert written(tmp_path) == alone | {f"a-{mark}.json"}
    assert json.loads((tmp_path / "out" / "a.json").read_text())["image"]["file"] == str(x)


def test_names_that_collide_are_told_apart(tmp_path: Path) -> None:
    paths = [write_image(tmp_path / folder / "a.png", 150) for folder in ("x", "y")]
    explain(FakeProgram(), tmp_path, paths)
    marked = [f"a-{identity(path)[:8]}" for path in paths]
    assert {f"{name}.json" for name in marked} <= written(tmp_path)


def test_a_mask_of_padding_goes_along_where_the_program_takes_one(tmp_path: Path) -> None:
    class Masked(FakeProgram):
        def forward(self, images: torch.Tensor, *masks: torch.Tensor) -> Any:
            (self.mask,) = masks
            return super().forward(images)

    inputs = MANIFEST["inputs"] | {"padding_mask": f"bool[B,{HEIGHT},{WIDTH}]"}
    program = Masked(inputs=inputs)
    image = write_image(tmp_path / "a.png", 150, (WIDTH, HEIGHT // 2))
    explain(program, tmp_path, [image], pad=True)
    assert program.mask.dtype == torch.bool
    assert program.mask[0, : HEIGHT // 2].sum() == 0
    assert program.mask[0, HEIGHT // 2 :].all()
    told = read(tmp_path, "a")
    assert told["image"]["padded"] is True
    relevance = told["targets"][0]["relevance"]
    assert relevance["in_padding"] == pytest.approx(relevance["sum"] / 2)


def test_relevance_that_is_not_finite_is_refused(tmp_path: Path) -> None:
    class Broken(FakeProgram):
        def relevance(self, *args: Any, **options: Any) -> Any:
            result = super().relevance(*args, **options)
            result.input = result.input / 0.0
            return result

    (outcome,) = explain(Broken(), tmp_path, [write_image(tmp_path / "a.png", 150)])
    assert outcome.error == "the relevance of class_logit-q1-c2 is not finite"
    assert written(tmp_path) == {"a.json"}
    assert read(tmp_path, "a")["error"] == outcome.error


def test_what_a_program_raises_becomes_one_line(tmp_path: Path) -> None:
    class Odd(FakeProgram):
        def relevance(self, *args: Any, **options: Any) -> Any:
            raise KeyError(args[1])

    paths = [write_image(tmp_path / f"{n}.png", 150) for n in range(2)]
    outcomes = explain(Odd(), tmp_path, paths, batch_size=2)
    assert [outcome.error for outcome in outcomes] == ["KeyError: 'class_logit'"] * 2
    with pytest.raises(ProgramError) as caught:
        explain(Odd(), tmp_path, paths, debug=True)
    assert isinstance(caught.value.__cause__, KeyError)


def test_nothing_half_written_stays(tmp_path: Path) -> None:
    def fail(path: Path) -> None:
        with files.complete(path) as part:
            part.write_text("half")
            raise OSError("disk full")

    with pytest.raises(ProgramError, match=r"a\.json: cannot be written \(disk full\)$"):
        fail(tmp_path / "a.json")
    with pytest.raises(ValueError, match="JSON"):
        record.write_json(tmp_path / "a.json", {"x": float("nan")})
    assert list(tmp_path.iterdir()) == []


def test_random_weights_are_told_loudly(tmp_path: Path) -> None:
    model = {"WEIGHTS": "", "PIXEL_MEAN": [0, 0, 0]}
    config = MANIFEST["config"] | {"MODEL": model}
    assert read_facts(MANIFEST | {"config": config}).random_weights
    assert not read_facts(MANIFEST).random_weights
    stated = MANIFEST | {"weights": {"random": True}}
    assert read_facts(stated).random_weights
    program = FakeProgram(weights={"random": True})
    explain(program, tmp_path, [write_image(tmp_path / "a.png", 150)])
    assert read(tmp_path, "a")["program"]["warning"] == RANDOM_WARNING


def manifest_targets(**reads: list[str]) -> list[dict[str, Any]]:
    return [{"name": name.replace("__", ":"), "reads": places} for name, places in reads.items()]


def test_a_target_that_was_not_compiled_is_refused_at_once(tmp_path: Path) -> None:
    program = FakeProgram(targets=manifest_targets(class_logit=[], encoder_feature__3=[]))
    with pytest.raises(TargetError, match="'box': the program was compiled for class_logit, enc"):
        explain(program, tmp_path, [], "box")
    with pytest.raises(TargetError, match="'encoder_feature:2:0': the program was compiled for"):
        explain(program, tmp_path, [], "encoder_feature:2:0")
    assert explain(program, tmp_path, [], "encoder_feature:3:0", "class_logit") == []


def test_each_target_reads_the_input_and_what_it_can_of_the_rest(tmp_path: Path) -> None:
    layers = ["encoder.layers.0", "encoder.layers.1"]
    targets = manifest_targets(
        class_logit=["input", *layers, "decoder.layers.0"],
        encoder_feature__0=["input", layers[0]],
    )
    settings = {"places": {"inputs": {"input": "images"}}}
    program = FakeProgram(targets=targets, settings=settings)
    image = write_image(tmp_path / "a.png", 150)
    request = Request(read=("encoder.*",), ledger=False)
    explain(program, tmp_path, [image], "class_logit", "encoder_feature:0:1", request=request)
    reads = [options["read"] for _, _, options in program.calls]
    assert reads == [["input", *layers], ["input", layers[0]]]
    explain(program, tmp_path, [image])
    assert program.calls[-1][2]["read"] == ["input"]
    with pytest.raises(ProgramError) as caught:
        explain(program, tmp_path, [image], request=Request(read=("encoder.layer.1",)))
    assert str(caught.value) == (
        "--read 'encoder.layer.1': this program reads no such place; "
        "did you mean 'encoder.layers.1'?"
    )


def test_a_manifest_without_images_is_refused() -> None:
    with pytest.raises(ProgramError, match=r"images \[B,3,H,W\]; inputs: none"):
        read_facts({})
    with pytest.raises(ProgramError, match=r"inputs: x: f32\[B,7\]"):
        read_facts({"inputs": {"x": "f32[B,7]"}})
    facts = read_facts({"inputs": {"images": "f64[B,3,64,96]", "padding_mask": "bool[B,64,96]"}})
    assert facts.sizing.shapes == ((64, 96),)
    assert (facts.dtype, facts.padding_mask) == (torch.float64, True)


def test_files_of_another_target_go_with_their_record(tmp_path: Path) -> None:
    image = write_image(tmp_path / "a.png", 250)
    explain(FakeProgram(), tmp_path, [image], "class_logit")
    mine = tmp_path / "out" / "a.notes.txt"
    mine.write_text("the user's own")
    explain(FakeProgram(), tmp_path, [image], "class_logit:1,2")
    pictures = {f"a.class_logit-q1-c2.{n}.png" for n in ("heatmap", "overlay", "panel")}
    assert written(tmp_path) == pictures | {"a.json", "a.relevance.safetensors", mine.name}
    image.write_bytes(b"no image any more")
    explain(FakeProgram(), tmp_path, [image], "class_logit")
    assert written(tmp_path) == {"a.json", mine.name}

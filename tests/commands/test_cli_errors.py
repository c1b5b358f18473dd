"""What the command line says when something is wrong: one line each, held as a whole."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
from PIL import Image

from lrpc.cli import main
from tests.support.maskdino_cases import EXAMPLE
from tests.support.programs import DIGITS, FULL, Programs

SMALL = """\
MODEL:
  WEIGHTS: ""
LRPC:
  SOURCE: tests.support.small:{function}
  SHAPES: [[32, 32]]
{more}"""


SOURCE = Path(__file__).parents[1] / "support" / "small.py"


def at(code: str) -> str:
    """Where `code` stands in the small models."""
    numbers = [n for n, text in enumerate(SOURCE.read_text().splitlines(), 1) if code in text]
    assert len(numbers) == 1
    return f"tests/support/small.py:{numbers[0]}"


class Line:
    """Runs the command line in `folder`; `error` is its one line on stderr."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder, self.capsys = folder, capsys
        self.output = folder / "out"

    def error(self, *words: str | Path, code: int = 2) -> str:
        """The whole of stderr after `error: `; nothing may have been written to `output`."""
        self.capsys.readouterr()
        assert main([str(word) for word in words]) == code
        said = self.capsys.readouterr()
        assert said.out == ""
        assert said.err.startswith("error: ")
        assert not self.output.exists()
        assert [p.name for p in self.folder.iterdir() if p.name.startswith(".out")] == []
        return said.err.removeprefix("error: ").removesuffix("\n")

    def small(self, function: str = "network", *overrides: str, more: str = "") -> str:
        """The error of compiling a small model; `more` is YAML below LRPC."""
        config = self.folder / "c.yaml"
        config.write_text(SMALL.format(function=function, more=more))
        return self.error("compile", "--config", config, "-o", self.output, *overrides)

    def digits(self, *overrides: str, config: Path = DIGITS) -> str:
        """The error of compiling an example."""
        return self.error("compile", "--config", config, "-o", self.output, *overrides)


@pytest.fixture
def line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Line:
    return Line(tmp_path, capsys)


# -- models and rules ------------------------------------------------------------------------------


def test_an_operation_without_a_rule_yet(line: Line) -> None:
    assert line.small("fourier") == (
        f"torch.fft.hfft2 has no rule yet, at {at('hfft2')}; of complex numbers, sums, products "
        "and Fourier transforms compile"
    )


def test_an_operation_without_the_rule_of_its_role(line: Line) -> None:
    rule = "  RULES: [{role: activation, rule: uniform}]\n"
    assert line.small("exponential", more=rule) == (
        "rule uniform is not defined for exp; it has: gradient_input, pass, for exp of role"
        f" activation ({at('.exp()')}); give it a rule under LRPC.RULES, or write it with"
        " operations that have one"
    )


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        (
            "{role: linear, rule: epsilom}",
            "unknown rule 'epsilom'; did you mean epsilon? (see `lrpc rules`)",
        ),
        (
            "{op: linear, rule: taylor}",
            "rule taylor is not defined for linear; it has: alpha_beta, contrast, epsilon, flat,"
            " gamma, gamma_weight, gradient_input, pass, w_square, z_box, z_plus",
        ),
        (
            "{role: linear, rule: epsilon, eps: -1}",
            "rule epsilon: eps=-1 is outside [0, inf]",
        ),
        (
            "{op: matmul, rule: share, ratio: 1.5}",
            "rule share: ratio=1.5 is outside [0, 1]",
        ),
        (
            "{role: linear, rule: epsilon, eps: .nan}",
            "rule epsilon: eps=nan must be a finite number",
        ),
        (
            "{role: linear, rule: epsilon, bias: some}",
            "rule epsilon: bias='some' is not one of absorb, excluded, spread, by_activation",
        ),
        (
            "{op: linear, rule: epsilon, gamma: 1}",
            "rule epsilon has no parameter 'gamma'; it has: eps, bias, bias_factor",
        ),
    ],
)
def test_rules_that_are_wrong(line: Line, rule: str, said: str) -> None:
    assert line.small(more=f"  RULES: [{rule}]\n") == said


def test_a_rule_that_an_operation_reached_by_role_does_not_have(line: Line) -> None:
    assert line.small(more="  RULES: [{role: layer_norm, rule: share}]\n") == (
        "rule share is not defined for layer_norm; it has: abs_grad_xmu, detach_sigma,"
        " gradient_input, identity, local_linear, taylor, xmu, z_sign, for"
        f" layer_norm of role layer_norm (norm, {at('self.norm(x')}); give it a rule under"
        " LRPC.RULES, or write it with operations that have one"
    )


def test_weights_that_are_not_numbers(line: Line) -> None:
    assert line.small("broken") == (
        "NaN or infinity in head.weight (1 of 40 values) of broken; repair the model's weights"
    )


def test_a_function_that_is_not_there(line: Line) -> None:
    assert line.small("nothing") == (
        f"{line.folder}/c.yaml:4: LRPC.SOURCE: tests.support.small:nothing: tests.support.small"
        " has no nothing; name a function in it"
    )


# -- keys ------------------------------------------------------------------------------------------


def test_a_key_with_a_typing_error(line: Line) -> None:
    assert line.small(more="  EPSILN: 1.0e-6\n") == (
        f"{line.folder}/c.yaml:6: LRPC.EPSILN: unknown key; did you mean LRPC.EPSILON?"
        " Correct it or remove it"
    )


@pytest.mark.parametrize(
    ("override", "said"),
    [
        (
            ("LRPC.SHAPES", "[[32]]"),
            "command line: LRPC.SHAPES: expected two positive integers [H, W], got [32];"
            " the default is [[480, 640]]",
        ),
        (
            ("LRPC.SHAPES", "[[150, 160]]"),
            "command line: LRPC.SHAPES: [150, 160] is not a multiple of"
            " MODEL.MaskDINO.SIZE_DIVISIBILITY (32); give [160, 160], images are padded to it",
        ),
        (
            ("LRPC.TARGETS", "['clas_logit']"),
            'command line: LRPC.TARGETS: "clas_logit" is not a target;'
            ' did you mean "class_logit"?; the default is ["class_logit", "mask_logit", "box",'
            ' "encoder_feature", "dec…',
        ),
        (
            ("LRPC.PRECISION", "fp16"),
            'command line: LRPC.PRECISION: expected one of "fp64", "fp32", "tf32", "bf16",'
            ' got "fp16"; the default is "fp32"',
        ),
        (
            ("LRPC.EPSILON", "-1"),
            "command line: LRPC.EPSILON: expected a finite number of at least 0, got -1;"
            " the default is 1e-06",
        ),
        (
            ("LRPC.COMPOSITE", "attnlpr"),
            'command line: LRPC.COMPOSITE: expected one of "maskdino", "attnlrp", "cp_lrp",'
            ' "epsilon", "gamma", "epsilon_plus", "epsilon_alpha2_beta1", "epsilon_plus_flat",'
            ' "epsilon_gamma_box", "thesis", "gradient_input", got "attnlpr"; the default is'
            ' "maskdino"',
        ),
        (
            ("LRPC.PASSES", "['nowhere:Pass']"),
            "LRPC.PASSES: nowhere:Pass cannot be made: No module named 'nowhere'",
        ),
        (("LRPC.SEEDS",), "command line: LRPC.SEEDS has no value; overrides are KEY VALUE pairs"),
    ],
)
def test_values_that_are_wrong(line: Line, override: tuple[str, ...], said: str) -> None:
    assert line.small("network", *override) == said


def test_a_budget_that_cannot_be_met(line: Line) -> None:
    said = line.small("network", "LRPC.MEMORY.BUDGET", "10")
    assert re.fullmatch(
        r"LRPC\.MEMORY\.BUDGET: 10 bytes cannot be met for one image; the smallest budget that this"
        r" program can meet is [\d,]+ bytes \(\d+%\); LRPC\.MEMORY\.CHECKPOINT auto may need less",
        said,
    )


def test_a_layer_that_the_model_does_not_have(line: Line) -> None:
    assert line.digits("LRPC.TARGETS", "['encoder_feature:9']") == (
        "LRPC.TARGETS: encoder_feature:9: there are layers 0 to 2"
    )


# -- files -----------------------------------------------------------------------------------------


def test_weights_of_another_model(line: Line) -> None:
    weights = str(EXAMPLE / "maskdino_digits.safetensors")
    said = line.digits("MODEL.WEIGHTS", weights, config=FULL).splitlines()
    assert said[0].startswith(
        "weights do not fit this MaskDINO configuration: 252 missing (204 in "
        "sem_seg_head.predictor, 48 in sem_seg_head.pixel_decoder); 289 of another shape (95 in "
        "backbone.res4, 65 in backbone.res3, 50 in backbone.res2, 4 more modules), first "
        "backbone.stem.conv1.weight: [16, 3, 7, 7] in the file, [64, 3, 7, 7] in the model; set "
        "MODEL.SEM_SEG_HEAD.NUM_CLASSES to 10 (now 80), MODEL.MaskDINO.DEC_LAYERS to 3 (now 9), "
    )
    assert len(said) == 11


def test_weights_that_are_none(line: Line) -> None:
    photo = DIGITS.parent / "photo.jpg"
    assert line.digits("MODEL.WEIGHTS", str(photo)) == (
        f"command line: MODEL.WEIGHTS: {photo}: unknown kind of file; expected .pth, .pt, .ckpt,"
        " .bin, .pkl, .safetensors or NAME.index.json"
    )
    nowhere = line.folder / "nowhere.pth"
    assert line.digits("MODEL.WEIGHTS", str(nowhere)) == (
        f"command line: MODEL.WEIGHTS: {nowhere}: no such file or directory; check the path"
    )
    cut = line.folder / "cut.safetensors"
    cut.write_bytes((EXAMPLE / "maskdino_digits.safetensors").read_bytes()[:-100])
    assert line.digits("MODEL.WEIGHTS", str(cut)) == (
        f"command line: MODEL.WEIGHTS: {cut}: not a whole safetensors file; get an intact copy"
    )


def test_folders_that_are_no_programs(line: Line) -> None:
    other = line.folder / "other"
    other.mkdir()
    (other / "letter.txt").write_text("keep me")
    config = line.folder / "c.yaml"
    config.write_text(SMALL.format(function="network", more=""))
    assert line.error("compile", "--config", config, "-o", other) == (
        f"{other} exists and is not a program directory; choose another with -o"
    )
    assert (other / "letter.txt").read_text() == "keep me"
    photo = DIGITS.parent / "photo.jpg"
    lacking = (
        f"{other}: not a program directory, it lacks program.py, weights.safetensors, graph.lrp,"
        " manifest.json; compile it again"
    )
    results = line.folder / "results"
    assert line.error("run", other, "--images", photo, "-o", results) == lacking
    assert line.error("verify", other) == lacking
    nowhere = line.folder / "nowhere"
    assert line.error("verify", nowhere) == (
        f"{nowhere}: not a directory; `lrpc compile -o {nowhere}` makes one"
    )
    assert line.error("compile", "--graph", other / "graph.lrp", "-o", line.output) == (
        f"{other}/graph.lrp is missing; an .lrp file compiles inside its program directory"
    )


def test_a_command_without_a_source(line: Line) -> None:
    both = "give --config FILE, or --graph GRAPH.lrp, and not both"
    assert line.error("compile") == both
    assert line.error("compile", "--config", "a", "--graph", "b") == both
    assert line.error("compile", "--graph", "b", "--no-check") == (
        "--no-check goes with --config: beside a graph there is no model to hold it against"
    )


def test_debug_shows_where_an_error_was_raised(line: Line) -> None:
    with pytest.raises(Exception, match="not a directory"):
        main(["--debug", "verify", str(line.folder / "nowhere")])


# -- running ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def directory(programs: Programs) -> Path:
    options = {"COMPOSITE": "cp_lrp", "TARGETS": ["class_logit"], "DYNAMIC": False}
    return programs.directory(DIGITS, **options)


def test_a_truncated_image_is_reported_and_the_rest_go_on(
    directory: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = EXAMPLE / "scenes" / "02.png"
    cut, other = tmp_path / "cut.png", tmp_path / "other.jpg"
    cut.write_bytes(whole.read_bytes()[:20_000])
    Image.open(whole).save(other)
    out = tmp_path / "out"
    words = ["run", directory, "--images", whole, cut, other, "-o", out, "--device", "cpu"]
    assert main([str(word) for word in words]) == 1
    said = capsys.readouterr()
    reason = "corrupt or cut short (image file is truncated)"
    lines = said.err.splitlines()
    assert f"{cut}: {reason}" in lines
    assert len(lines) == 3
    assert "1 failed" in said.out
    for stem in ("02", "other"):
        assert json.loads((out / f"{stem}.json").read_text())["targets"]
    assert [path.name for path in out.glob("cut*")] == ["cut.json"]
    told = json.loads((out / "cut.json").read_text())
    assert (told["image"]["file"], told["error"]) == (str(cut), f"{cut}: {reason}")


def test_a_program_that_was_changed_is_not_run(directory: Path, line: Line) -> None:
    copy = line.folder / "copy"
    shutil.copytree(directory, copy)
    with (copy / "weights.safetensors").open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"\xff")
    whole = EXAMPLE / "scenes" / "02.png"
    assert line.error("run", copy, "--images", whole, "-o", line.folder / "results") == (
        f"{copy}: {copy.resolve()}/weights.safetensors was changed since it was compiled;"
        " compile the program again"
    )


def test_a_target_that_was_not_compiled(directory: Path, line: Line) -> None:
    whole = EXAMPLE / "scenes" / "02.png"
    results = line.folder / "results"
    words = ["run", directory, "--images", whole, "-o", results, "--target", "box"]
    assert line.error(*words) == (
        "target 'box': the program was compiled for class_logit; add it to LRPC.TARGETS and"
        " compile again"
    )
    words[-1] = "cls_logit"
    assert "cls_logit" in line.error(*words)

"""Targets beside the last layer's entries: what layers and proposals predict, whole masks,
rectangles and segments."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import lrpc
from lrpc.commands.session.calls import Explained, Request, explain
from lrpc.commands.session.places import Places
from lrpc.commands.session.seeds import Scene, Seed, resolve
from lrpc.commands.session.segments import Segmentation, of_scores
from lrpc.commands.session.targets import TargetError, parse_targets
from lrpc.config import load_config
from lrpc.errors import ConfigError
from lrpc.models.maskdino import build_maskdino
from lrpc.models.maskdino.further import further_outputs
from lrpc.models.maskdino.segments import Results, Sizes, panoptic, semantic
from lrpc.models.sources import build_model
from tests.models.test_maskdino_model import small_config
from tests.oracle.patched import relevance
from tests.support.maskdino_cases import digits_image
from tests.support.programs import DIGITS, Programs

FURTHER = (
    "layer_logits.0",
    "layer_masks.0",
    "layer_boxes.0",
    "layer_logits.1",
    "proposal_logits",
    "box_logits",
    "box_refinements",
)


class Outputs(nn.Module):
    """A small MaskDINO of normalised images, with outputs of every layer."""

    def __init__(self) -> None:
        super().__init__()
        self.model = build_maskdino(small_config()).double()
        self.model.normalize = nn.Identity()
        self.model.sem_seg_head.predictor.further = FURTHER

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        found: dict[str, Tensor] = self.model(x)
        return found


def test_relevance_of_layers_and_proposals_is_that_of_the_patched_model() -> None:
    model = Outputs()
    x = torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    rules = lrpc.composite("attnlrp", epsilon=0.0, stop_at_detach=True)  # as autograd does
    program = lrpc.compile(model, (x,), composite={"attnlrp": rules, "gradient": "gradient_input"})
    state = program.forward(x)
    last = state.outputs
    assert torch.equal(last["layer_logits.1"], last["pred_logits"])
    starts = {"layer_logits.0": (3, 1), "layer_masks.0": (2, 5, 7), "proposal_logits": (4, 0)}
    starts |= {"box_logits": (2, 1), "box_refinements": (2, 3)}
    for name, at in (*starts.items(), ("layer_boxes.0", (1, 2))):
        for composite in ("attnlrp", "gradient"):
            if (name, composite) == ("layer_boxes.0", "attnlrp"):
                continue  # the oracle knows no rule for a sigmoid
            found = program.relevance(state, name, at=[at], composite=composite, ledger=True)
            kind = "gradient_input" if composite == "gradient" else composite
            wanted = relevance(lambda z, n=name: model(z)[n], x, at, kind)
            assert float(wanted.abs().max()) > 1e-9
            assert float((found.input[0] - wanted).abs().max() / wanted.abs().max()) < 1e-8, name
            assert float(found.ledger.closure.max()) < 1e-10


def test_outputs_are_those_of_the_layers() -> None:
    """`intermediates` is held against the released code."""
    model = build_maskdino(small_config())
    model.sem_seg_head.predictor.further = ("layer_boxes.0", "layer_boxes.1", "proposal_logits")
    images = torch.rand(1, 3, 64, 96, generator=torch.Generator().manual_seed(0)) * 255
    with torch.no_grad():
        found, whole = model(images), model.intermediates(images)
    assert torch.equal(found["layer_boxes.0"], whole["aux1_boxes"])  # the first is the start's
    assert torch.equal(found["layer_boxes.1"], whole["pred_boxes"])
    assert torch.equal(found["proposal_logits"], whole["interm_pred_logits"])


@pytest.mark.parametrize("two_stage", [True, False])
def test_box_logits_are_the_boxes_before_their_sigmoid(two_stage: bool) -> None:
    config = small_config(
        MaskDINO__TWO_STAGE=two_stage,
        MaskDINO__INITIALIZE_BOX_TYPE="bitmask" if two_stage else "no",
    )
    model = build_maskdino(config).double()
    model.sem_seg_head.predictor.further = ("box_logits", "box_refinements")
    images = torch.rand(1, 3, 64, 96, generator=torch.Generator().manual_seed(0)) * 255
    with torch.no_grad():
        found = model(images.double())
    torch.testing.assert_close(found["box_logits"].sigmoid(), found["pred_boxes"])
    assert float(found["box_refinements"].abs().max()) > 0


def test_what_targets_start_from_is_returned_and_nothing_else() -> None:
    def names(*targets: str) -> tuple[str, ...]:
        return further_outputs(targets, 3, True)

    assert names("class_logit", "box", "mask", "encoder_feature:*") == ()
    assert names("layer_class_logit:*") == tuple(f"layer_logits.{i}" for i in range(3))
    assert names("layer_box", "layer_box:0") == ("layer_boxes.2", "layer_boxes.0")
    assert names("proposal_class_logit") == ("proposal_logits",)
    with pytest.raises(ConfigError, match="layer_box:3: there are layers 0 to 2"):
        names("layer_box:3")
    with pytest.raises(ConfigError, match="proposal_class_logit needs MODEL"):
        further_outputs(["proposal_class_logit"], 3, False)
    config = load_config(DIGITS, ("LRPC.TARGETS", "[layer_mask_logit:1]"))
    model, _ = build_model(config)
    assert set(model(digits_image("05"))) > {"layer_masks.1"}


# -- many mask logits at once ----------------------------------------------------------------------

HOW = Results(True, True, 0.25, 0.5, things=frozenset(range(5)), classes=10)
FRAME = (160, 160)


class Scenes:
    """The digits program in float64 and what is in one image."""

    def __init__(self, programs: Programs) -> None:
        targets = ["mask", "layer_class_logit:0", "proposal_class_logit"]
        self.program: Any = programs.digits(epsilon=0.0, PRECISION="fp64", TARGETS=targets)
        self.state = self.program.forward(digits_image("05").double())
        self.outputs = {name: value[0] for name, value in self.state.outputs.items()}
        sizes = Sizes(FRAME, FRAME, FRAME)
        numbers, found = panoptic(self.outputs, sizes, HOW)
        scores = semantic(self.outputs, sizes, HOW)
        kinds = Segmentation("panoptic", numbers, tuple(found)), of_scores(scores)
        self.best, self.numbers = scores.argmax(0), numbers
        self.scene = Scene(self.outputs, FRAME, FRAME, [], FRAME, 10, kinds, HOW)

    def explained(self, *targets: str) -> list[Explained]:
        seeds: list[Seed] = resolve(parse_targets(targets), self.scene)
        (found,) = explain(self.program, self.state, [seeds], Request(), Places())
        return found

    def mean_of(self, pixels: list[tuple[int, int, int]]) -> Tensor:
        """The mean relevance of single mask logits."""
        result = self.program.relevance(self.state, "mask_logit", at=pixels)
        return result.input[:, 0].mean(0)


def near(found: Tensor, wanted: Tensor) -> None:
    assert float(wanted.abs().max()) > 0
    assert float((found - wanted).abs().max() / wanted.abs().max()) < 1e-10


def test_whole_masks_and_rectangles_are_means_of_their_pixels(programs: Programs) -> None:
    scenes = Scenes(programs)
    values = scenes.outputs["pred_masks"]
    areas = (values > 0).sum((1, 2))
    query = int(areas.where(areas > 4, areas.max() + 1).argmin())  # the fewest pixels to sum over
    mask, region = scenes.explained(f"mask:{query}", "region:0,4,5,6,9")
    inside = (values[query] > 0).nonzero().tolist()
    near(mask.input, scenes.mean_of([(query, y, x) for y, x in inside]))
    near(region.input, scenes.mean_of([(0, y, x) for y in (4, 5, 6) for x in range(5, 10)]))
    assert mask.seed.value == pytest.approx(float(values[query][values[query] > 0].mean()))
    assert region.seed.value == pytest.approx(float(values[0, 4:7, 5:10].mean()))
    for one in (mask, region):
        assert one.ledger is not None
        assert one.ledger.start == pytest.approx(one.seed.value)
        assert one.ledger.closure < 1e-10
    slugs = [one.seed.slug for one in (mask, region)]
    assert slugs == [f"mask-q{query}", "region-q0-y04-x05-y16-x19"]


def test_a_boundary_is_what_is_just_inside_less_what_is_just_outside(programs: Programs) -> None:
    scenes = Scenes(programs)
    values = scenes.outputs["pred_masks"]
    areas = (values > 0).sum((1, 2))
    query = int(areas.where(areas > 4, areas.max() + 1).argmin())
    (found,) = scenes.explained(f"mask_boundary:{query}")
    inside = {tuple(cell) for cell in (values[query] > 0).nonzero().tolist()}
    height, width = values.shape[1:]
    edges: tuple[set[tuple[int, int]], ...] = set(), set()
    for y in range(height):
        for x in range(width):
            here = (y, x) in inside
            for near_by in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)):
                there = 0 <= near_by[0] < height and 0 <= near_by[1] < width
                if there and (near_by in inside) != here:
                    edges[0 if here else 1].add((y, x))
    own, other = (scenes.mean_of([(query, *cell) for cell in edge]) for edge in edges)
    near(found.input + other, own)
    assert found.ledger is not None
    assert found.ledger.closure < 1e-10


def test_segments_weigh_the_mask_logits_at_their_pixels(programs: Programs) -> None:
    scenes = Scenes(programs)
    first, *_ = scenes.scene.segmentations[0].segments
    (panoptic_one,) = scenes.explained(f"panoptic_segment:{first.id}")
    (query,) = first.queries
    cells = (scenes.numbers[2::4, 2::4] == first.id).nonzero().tolist()  # centres of 4 × 4 pixels
    near(panoptic_one.input, scenes.mean_of([(query, y, x) for y, x in cells]))
    (of_class,) = scenes.explained(f"semantic_segment:{first.label}")
    assert of_class.seed.start is not None
    weights = of_class.seed.start / scenes.outputs["pred_masks"]
    assert float(weights.sum()) == pytest.approx(1)
    places = scenes.best[2::4, 2::4] == first.label
    assert bool((weights.sum(0)[~places] == 0).all())
    shares = weights.sum(0)[places]
    torch.testing.assert_close(shares, torch.full_like(shares, 1 / int(places.sum())))
    assert int(weights.sum((1, 2)).argmax()) == query
    assert of_class.ledger is not None
    assert of_class.ledger.closure < 1e-10
    assert len(scenes.explained("panoptic_segment")) == len(scenes.scene.segmentations[0].segments)


def test_layers_and_proposals_have_their_values(programs: Programs) -> None:
    scenes = Scenes(programs)
    layer, proposal = scenes.explained("layer_class_logit:0:3,3", "proposal_class_logit:1,4")
    assert layer.seed.value == pytest.approx(float(scenes.outputs["layer_logits.0"][3, 3]))
    assert proposal.seed.value == pytest.approx(float(scenes.outputs["proposal_logits"][1, 4]))
    assert layer.seed.slug == "layer_class_logit-L0-q3-c3"
    for one in (layer, proposal):
        assert one.ledger is not None
        assert one.ledger.start == pytest.approx(one.seed.value)
        assert one.ledger.closure < 1e-10


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("mask:50", "'50' is outside pred_masks [50, 40, 40]"),
        ("region:0,1,1,40,2", "'40' is outside pred_masks [50, 40, 40]"),
        ("region:0,6,1,3,2", "target 'region:0,6,1,3,2': it has no pixel in this image"),
        ("panoptic_segment:99", "target 'panoptic_segment:99': it has no pixel in this image"),
        ("proposal_class_logit:50,1", "'50' is outside proposal_logits [50, 10]"),
    ],
)
def test_what_is_not_there_is_refused(programs: Programs, target: str, message: str) -> None:
    with pytest.raises(TargetError) as caught:
        Scenes(programs).explained(target)
    assert message in str(caught.value)


def test_segments_need_results(programs: Programs) -> None:
    scene = Scene({"pred_masks": torch.zeros(2, 4, 4)}, FRAME, FRAME, [])
    with pytest.raises(TargetError) as caught:
        resolve(parse_targets(["panoptic_segment:1"]), scene)
    assert str(caught.value) == (
        "target 'panoptic_segment': this program makes no panoptic results; compile with"
        " MODEL.MaskDINO.TEST.PANOPTIC_ON true"
    )

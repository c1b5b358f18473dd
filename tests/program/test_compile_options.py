"""Programs of parts of a model, and of every composite, held against the interpreter."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import lrpc
from lrpc.program.verify import checks
from lrpc.rules.composite import COMPOSITES
from tests.support.programs import DIGITS, Programs

ENCODER = "sem_seg_head.pixel_decoder.transformer.encoder"


SMALL = {"SHAPES": [[96, 96]], "DYNAMIC": False}
"""One size; at several: test_verify_sizes.py."""


def sound(programs: Programs, **options: object) -> list[str]:
    """The names of the checks of such a program, all of which pass."""
    found = list(checks(programs.directory(DIGITS, **SMALL, **options)))
    assert [c for c in found if not c.passed] == []
    return [c.what for c in found]


def test_a_part_of_the_model(programs: Programs) -> None:
    names = sound(programs, SCOPE=ENCODER)
    assert "output → encoder.layers.0" in names
    assert "output → encoder.input" in names
    program = programs.loaded(DIGITS, **SMALL, SCOPE=ENCODER)
    assert list(program.interface.targets) == ["output"]


def test_rules_of_a_config_that_nothing_follows_are_named(programs: Programs) -> None:
    """In one line each, and no error: a config may be the base of others."""
    rules = [
        {"rule": "gamma", "module": "bakbone.*"},
        {"rule": "gamma", "role": "linear", "module": "*class_embed*"},
        {"rule": "epsilon", "role": "linear", "classes": True},
    ]
    manifest = programs.loaded(DIGITS, **SMALL, RULES=rules).manifest
    assert [note for note in manifest["settings"]["notes"] if note.startswith("rule ")] == [
        "rule gamma (module bakbone.*) is not used: no operation of the model has the module"
        " 'bakbone.*'; did you mean 'backbone.stem'?",
        "rule epsilon (role linear, classes) is not used: entries before it take all that it"
        " matches",
    ]


TARGETS = ("class_logit", "box", "mask_logit", "encoder_feature:2", "decoder_query:1")
OTHERS = sorted(COMPOSITES.keys() - {"thesis"})


@pytest.mark.parametrize("n", range(len(TARGETS)))
def test_every_composite(programs: Programs, n: int) -> None:
    """Each from one target, and from each target some; all of them at once: test_golden.py."""
    some, target = OTHERS[n :: len(TARGETS)], TARGETS[n]
    names = sound(programs, COMPOSITE=some, TARGETS=[target])
    labels = [f"{name}: " for name in some] if len(some) > 1 else [""]
    for label in labels:
        assert f"{label}{target} → input" in names


def test_the_composite_for_single_layers(programs: Programs) -> None:
    """`thesis` amplifies where sums nearly cancel: over the whole depth it leaves float32."""
    options = {"COMPOSITE": "thesis", "EPSILON": 0.1, "PRECISION": "fp64"}
    assert "output → input.tokens" in sound(programs, SCOPE=f"{ENCODER}.layers.2", **options)


class Wrapped(nn.Module):
    """A part whose argument has another name than the model's."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.part = nn.Linear(4, 6), Part()

    def forward(self, image: Tensor) -> Tensor:
        found: Tensor = self.part(self.stem(image).relu())
        return found


class Part(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(6, 3)

    def forward(self, tokens: Tensor) -> Tensor:
        found: Tensor = self.head(tokens)
        return found


def test_a_part_of_any_model_from_python() -> None:
    torch.manual_seed(0)
    model = Wrapped().eval()
    program = lrpc.compile(model, (torch.randn(2, 4),), scope="part", epsilon=0.0)
    tokens = torch.randn(3, 6)
    state = program.forward(tokens)
    torch.testing.assert_close(state.outputs, model.part(tokens))
    found = program.relevance(state, "output", at=torch.tensor([[[1], [1], [1]]]))
    assert list(found.inputs) == ["tokens"]
    torch.testing.assert_close(found.input[0], tokens * model.part.head.weight[1])

"""The default's rule for class heads, from the logit to the input."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import lrpc
from lrpc.errors import LrpcWarning

WHOLE = [{"role": "linear", "classes": True, "rule": "epsilon"}]


class Detector(nn.Module):
    """Three queries from the columns of an image; one head for all layers, another for boxes."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3, padding=1)
        self.layer = nn.Linear(6, 6)
        self.class_embed, self.box_embed = nn.Linear(6, classes), nn.Linear(6, 4)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        queries = self.stem(images).relu().mean(2).transpose(1, 2)  # [B, 3, 6]
        every = torch.stack([self.class_embed(queries), self.class_embed(self.layer(queries))])
        return {"pred_logits": every[-1], "pred_boxes": self.box_embed(queries).sigmoid()}


def compiled(classes: int) -> tuple[Any, Any]:
    torch.manual_seed(4)
    model, images = Detector(classes).double().eval(), torch.randn(2, 3, 5, 3).double()
    whole = {"composite": "maskdino", "rules": WHOLE, "epsilon": 0.0}
    own = {"composite": "maskdino", "epsilon": 0.0}
    program = lrpc.compile(model, (images,), composite={"own": own, "whole": whole})
    return program, program.forward(images)


def test_it_is_the_class_less_the_mean_of_all_by_the_other_rules() -> None:
    """Linear in what arrives: R = Σ_d (δ_cd − 1/C) R_d; the ledger closes at the whole logit, and
    what is shared is the mean logit."""
    classes = 5
    program, state = compiled(classes)
    logits = state.outputs["pred_logits"]
    every = [[1, c] for c in range(classes)]
    target = next(name for name in program.interface.targets if "pred_logits" in name)
    own, whole = (
        program.relevance(state, target, at=every, composite=name, ledger=True)
        for name in ("own", "whole")
    )
    share = torch.eye(classes).double() - 1 / classes
    wanted = torch.einsum("cd,d...->c...", share, whole.input)
    assert float(wanted.abs().max()) > 1e-3
    torch.testing.assert_close(own.input, wanted, rtol=0, atol=1e-14)
    mean = logits[:, 1].mean(-1).expand(classes, -1)
    torch.testing.assert_close(own.ledger.sinks["shared"], mean, rtol=0, atol=1e-14)
    assert "shared" not in whole.ledger.sinks
    torch.testing.assert_close(own.ledger.start, logits[:, 1].T, rtol=0, atol=1e-14)
    assert float(own.ledger.closure.max()) < 1e-12


def test_boxes_and_single_classes_have_the_rules_of_before() -> None:
    program, state = compiled(1)
    for word, at in (("pred_logits", [[0, 0]]), ("pred_boxes", [[0, 2]])):
        target = next(name for name in program.interface.targets if word in name)
        own, whole = (
            program.relevance(state, target, at=at, composite=name, ledger=True)
            for name in ("own", "whole")
        )
        assert torch.equal(own.input, whole.input)
        assert "shared" not in own.ledger.sinks


@pytest.mark.parametrize("name", ["attnlrp", "cp_lrp", "epsilon", "gamma", "gradient_input"])
def test_other_composites_explain_the_whole_logit(name: str) -> None:
    torch.manual_seed(4)
    model, images = Detector(4).double().eval(), torch.randn(1, 3, 5, 3).double()
    program = lrpc.compile(model, (images,), composite=name)
    target = next(one for one in program.interface.targets if "pred_logits" in one)
    R = program.relevance(program.forward(images), target, at=[[0, 1]], ledger=True)
    assert "shared" not in R.ledger.sinks


class OneHead(nn.Module):
    """Classes and boxes from one map."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.head = nn.Conv2d(3, 6, 3), nn.Linear(6, 9)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        found = self.head(self.stem(images).relu().flatten(2).transpose(1, 2))
        return {"pred_logits": found[..., :5], "pred_boxes": found[..., 5:]}


class Dense(nn.Module):
    """A class for each pixel, from a convolution in groups."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.head = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 6, 1, groups=2)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        return {"logits": self.head(self.stem(images).relu())}


def test_boxes_from_a_map_of_classes_and_boxes_are_explained_whole() -> None:
    torch.manual_seed(4)
    model, images = OneHead().double().eval(), torch.randn(2, 3, 4, 4).double()
    pair = {"own": {"composite": "maskdino"}, "plain": {"composite": "maskdino", "rules": WHOLE}}
    with pytest.warns(LrpcWarning, match="is not used"):
        program = lrpc.compile(model, (images,), composite=pair)
    state = program.forward(images)
    for target in ("pred_logits", "pred_boxes"):
        own, plain = (
            program.relevance(state, target, at=[[1, 2]], composite=name, ledger=True)
            for name in pair
        )
        assert torch.equal(own.input, plain.input)
        assert "shared" not in own.ledger.sinks


def test_a_convolution_that_gives_classes_too() -> None:
    """As of a linear head, against the other classes by the plain rule, and in a batch of any
    size."""
    torch.manual_seed(4)
    model, images = Dense().double().eval(), torch.randn(3, 3, 4, 4).double()
    plain = [{"role": "convolution", "classes": True, "rule": "epsilon"}]
    base = {"composite": "maskdino", "epsilon": 0.0}
    program = lrpc.compile(
        model, (images[:1],), composite={"own": base, "plain": base | {"rules": plain}}
    )
    every = [[c, 1, 0] for c in range(6)]
    for batch in (images[:1], images):
        state = program.forward(batch)
        own, whole = (
            program.relevance(state, "logits", at=every, composite=name, ledger=True)
            for name in ("own", "plain")
        )
        share = torch.eye(6).double() - 1 / 6
        wanted = torch.einsum("cd,d...->c...", share, whole.input)
        torch.testing.assert_close(own.input, wanted, rtol=0, atol=1e-14)
        mean = state.outputs["logits"][:, :, 1, 0].mean(1).expand(6, -1)
        torch.testing.assert_close(own.ledger.sinks["shared"], mean, rtol=0, atol=1e-14)
        assert float(own.ledger.closure.max()) < 1e-12

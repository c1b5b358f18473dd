"""Conditional relevance in float64 against autograd, whose gradients hooks mask at the places."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from tests.oracle.detached import Detached
from tests.oracle.targets import ClassLogit
from tests.support.maskdino_cases import digits_image, digits_model
from tests.support.programs import Programs, difference, strongest

LIMIT = 1e-8
OPTIONS: dict[str, object] = {
    "TARGETS": "[class_logit]",
    "CONDITIONS": ["encoder.layers.1", "decoder.layers.0:positions", "backbone.res4"],
}
#: For each seed, what passes at each place.
CONDITIONS: list[dict[str, Any]] = [
    {"encoder.layers.1": [3, 40, 41]},
    {"decoder.layers.0:positions": [7, 12], "backbone.res4": [5, 9, 11, 200]},
    {},
    {"encoder.layers.1": torch.linspace(-1.0, 1.0, 256), "backbone.res4": list(range(100))},
]
PLACES = {"input": "input", "encoder.layers.0": "encoder.layers.0", "backbone.res2": "res2"}


def mask_of(given: Any, name: str, value: Tensor) -> Tensor:
    """What passes at a place, in a shape that broadcasts to that of `value`."""
    axis = 1 if value.dim() == 4 or name.endswith(":positions") else value.dim() - 1
    mask = given.double() if isinstance(given, Tensor) else torch.zeros(value.shape[axis]).double()
    if not isinstance(given, Tensor):
        mask[given] = 1
    shape = [1] * value.dim()
    shape[axis] = -1
    return mask.reshape(shape)


def masked(oracle: Detached, condition: dict[str, Any], target: ClassLogit) -> dict[str, Tensor]:
    """The oracle's relevance of a target, the gradients of some values masked on their way."""
    hooks = []
    for name, given in condition.items():
        value = oracle.values[name.removesuffix(":positions").removeprefix("backbone.")]
        mask = mask_of(given, name, value)
        hooks.append(value.register_hook(lambda g, mask=mask: g * mask))
    try:
        return oracle.relevance(target, list(PLACES.values()))
    finally:
        for hook in hooks:
            hook.remove()


@pytest.mark.parametrize("rules", ["attnlrp", "cp_lrp"])
def test_digits(programs: Programs, rules: str) -> None:
    program = programs.digits(rules, 0.0, PRECISION="fp64", **OPTIONS)
    image = digits_image("02").double()
    state = program.forward(image)
    at = strongest(state.outputs["pred_logits"][0])
    found = program.relevance(state, "class_logit", at=[at], condition=CONDITIONS, ledger=True)
    assert float(found.ledger.closure.max()) < 1e-9
    assert all(float(v.max()) < 1e-9 for v in found.ledger.node_closure().values())
    oracle = Detached(digits_model(torch.float64), image, rules)
    got = {"input": found.input, **found.layers}
    for seed, condition in enumerate(CONDITIONS):
        wanted = masked(oracle, condition, ClassLogit(*at))
        for mine, theirs in PLACES.items():
            assert difference(got[mine][seed], wanted[theirs]) < LIMIT, (seed, mine)

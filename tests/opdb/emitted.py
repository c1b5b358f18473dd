"""One call as a program: its outputs, and its gradient × input against autograd."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor

import lrpc
from lrpc.errors import LrpcError
from lrpc.frontend.structure import described
from tests.opdb.calls import Call
from tests.opdb.check import SIZES, Verdict
from tests.opdb.samples import copied


def compiled_verdict(call: Call) -> Verdict:
    """Whether the emitted program gives what the model gives, and autograd's gradients."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            program: Any = lrpc.compile(
                call.model, call.example(2), composite="gradient_input", unbatched=call.unbatched
            )
        except LrpcError as error:
            return Verdict("refused", str(error))
        except Exception as error:
            return Verdict("raw", f"{type(error).__name__}: {error}")
        found = [_held(call, program, call.other(size, 100 * size, False)) for size in SIZES]
    return next((v for v in found if v.kind != "right"), found[0])


def _held(call: Call, program: Any, inputs: dict[str, Tensor]) -> Verdict:
    given = {k: x.requires_grad_(x.is_floating_point()) for k, x in copied(inputs).items()}
    wanted = described(call.model(**given), Tensor)[1]
    state = program.forward(**copied(inputs))
    found = described(state.outputs, Tensor)[1]
    for name, value in wanted.items():
        if not torch.allclose(found[name], value.detach(), rtol=1e-9, atol=1e-11, equal_nan=True):
            return Verdict("wrong", f"the program's {name} differs")
        if value.is_floating_point() and value.requires_grad and bool((value != 0).all()):
            verdict = _gradients(program, state, name, value, given)
            if verdict.kind != "right":
                return verdict
    return Verdict("right")


def _gradients(
    program: Any, state: Any, name: str, value: Tensor, given: dict[str, Tensor]
) -> Verdict:
    weights = torch.rand(value.shape, generator=torch.Generator().manual_seed(5)).to(value)
    leaves = {k: x for k, x in given.items() if x.requires_grad}
    gradients = torch.autograd.grad(
        (value * weights).sum(), list(leaves.values()), retain_graph=True, allow_unused=True
    )
    try:
        relevance = program.relevance(state, name, seeds=(value.detach() * weights)[None])
    except LrpcError as error:
        return Verdict("refused", str(error))
    for (key, x), gradient in zip(leaves.items(), gradients, strict=True):
        wanted = torch.zeros_like(x) if gradient is None else x.detach() * gradient
        found = relevance.inputs[key][0] if key in relevance.inputs else torch.zeros_like(x)
        scale = max(float(wanted.abs().max()), float((value * weights).abs().max()))
        if not torch.allclose(found / scale, wanted / scale, rtol=0, atol=1e-6, equal_nan=True):
            return Verdict("wrong", f"the gradient of {name} by {key} differs")
    return Verdict("right")

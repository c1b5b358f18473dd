"""Complex numbers inside of a model: as torch computes them, gradients too, and nothing is lost."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, fft, nn

import lrpc
from lrpc.errors import TraceError

Function = Callable[[Tensor], Tensor]
ANGLES = torch.linspace(0, 2, 10, dtype=torch.float64).reshape(5, 2)
TURNS = torch.polar(torch.ones_like(ANGLES), ANGLES)


def rotary(x: Tensor) -> Tensor:
    pairs = torch.view_as_complex(x.unflatten(-1, (2, 2)))
    return torch.view_as_real(pairs * TURNS[None]).flatten(2)


def filtered(x: Tensor) -> Tensor:
    waves = fft.rfft2(x, dim=(1, 2), norm="ortho") * torch.complex(ANGLES, 1 - ANGLES)[:, :1]
    return fft.irfft2(waves, s=(5, 4), dim=(1, 2), norm="ortho")


#: Each on [B, 5, 4].
FUNCTIONS: dict[str, Function] = {
    "rotary": rotary,
    "fftn": lambda x: fft.fftn(x, dim=(1, 2)).real,
    "one after the other": lambda x: fft.fft(fft.fft(x, dim=-1), dim=-2).imag,
    "filter": filtered,
    "padded": lambda x: fft.irfft(fft.rfft(x, n=9, dim=1), n=9, dim=1)[:, :5],
    "cut": lambda x: fft.ifft(fft.fft(x, n=3, dim=1), n=6, dim=1, norm="forward").imag,
    "size": lambda x: fft.rfft(x, dim=1).abs(),
    "correlation": lambda x: (fft.fft(x, dim=1).conj() * fft.fft(x.sin(), dim=1)).real,
    "sums": lambda x: (2j * fft.fft(x, dim=1) / 3 + 1 - x).imag,
    "moved": lambda x: torch.cat([fft.fft(x, dim=1)] * 2, 2).transpose(1, 2).mean(1).real,
    "parts": lambda x: fft.fft(x, dim=1).split(2, dim=2)[1][:, 1:].imag,
    "polar": lambda x: torch.polar(x.exp(), x).imag,
}


class Model(nn.Module):
    def __init__(self, function: Function) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.function, self.layer = function, nn.Linear(4, 4).double()

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self.layer(x))


def drawn(images: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(images, 5, 4, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_complex(name: str) -> None:
    model = Model(FUNCTIONS[name]).eval()
    program = lrpc.compile(model, (drawn(2, 1),), composite=["gradient_input", "attnlrp"])
    leaf = drawn(3, 2).requires_grad_()
    y = model(leaf)
    weights = torch.randn(y.shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    (slope,) = torch.autograd.grad((weights * y).sum(), leaf)
    state, seeds = program.forward(leaf.detach()), (weights * y).detach()[None]
    torch.testing.assert_close(state.outputs, y.detach(), rtol=1e-12, atol=1e-12)
    found = program.relevance(state, "output", seeds=seeds, composite="gradient_input").input[0]
    torch.testing.assert_close(found, (leaf * slope).detach(), rtol=1e-11, atol=1e-11)
    found = program.relevance(state, "output", seeds=seeds, composite="attnlrp", ledger=True)
    assert float(found.ledger.closure.max()) < 1e-13


REFUSED: dict[str, tuple[Function, str]] = {
    "returned": (lambda x: fft.fft(x), "fft_fft gives complex numbers, which the model returns"),
    "exp": (lambda x: fft.fft(x).exp().real, "exp works on complex numbers"),
    "written into": (
        lambda x: fft.fft(x).real.mul_(2),
        "mul_ takes complex numbers where a real tensor belongs",
    ),
    "divided by": (lambda x: (x / fft.fft(x)).real, "div divides by complex numbers"),
    "over images": (lambda x: fft.fftn(x).real, r"fft_fftn works along the batch axis \(B\)"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str) -> None:
    function, text = REFUSED[name]
    with pytest.raises(TraceError, match=f"^{text}, at "):
        lrpc.compile(Model(function).eval(), (drawn(2, 1),))


def test_complex_inputs_are_refused() -> None:
    x = torch.view_as_complex(drawn(2, 1).unflatten(-1, (2, 2)))
    with pytest.raises(
        TraceError, match=r"^input 'input' holds complex numbers; give torch\.view_as_real"
    ):
        lrpc.compile(nn.Identity(), (x,))

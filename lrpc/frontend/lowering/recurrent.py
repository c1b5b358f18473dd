"""Rows for recurrent layers, unrolled over time: linear maps, and gates that are products."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from lrpc.frontend.lowering.context import Context, Operand
from lrpc.frontend.lowering.layers import linear
from lrpc.ir.graph import Value

State = tuple[Value, ...]
Cell = Callable[[Context, Value, State, Value], State]
"""`cell(context, x, state, h)`: the next state, from what the input and h, the first of the state,
become by their linear maps."""


@dataclass(frozen=True)
class Maps:
    """Weights of one layer in one direction: of the input, of the state, of what goes on."""

    of_input: Operand
    of_state: Operand
    input_bias: Operand = None
    state_bias: Operand = None
    projection: Operand = None


def _gates(c: Context, x: Value, count: int) -> list[Value]:
    size = c.size(x, -1) // count
    return [c.slice(x, -1, i * size, (i + 1) * size) for i in range(count)]


def _lstm(c: Context, x: Value, state: State, h: Value) -> State:
    """c' = σ(f) c + σ(i) tanh(g), h' = σ(o) tanh(c')."""
    i, f, g, o = _gates(c, c.op("add", x, h), 4)
    new = _gated(c, i, c.op("tanh", g))
    cell = c.op("add", _gated(c, f, state[1]), new)
    return _gated(c, o, c.op("tanh", cell)), cell


def _gated(c: Context, gate: Value, x: Value) -> Value:
    """σ(gate) x."""
    share = c.op("sigmoid", gate)
    return c.op("mul", share, x)


def _gru(c: Context, x: Value, state: State, h: Value) -> State:
    """n = tanh(x_n + σ(r) h_n), h' = n + σ(z) (h − n)."""
    (xr, xz, xn), (hr, hz, hn) = _gates(c, x, 3), _gates(c, h, 3)
    r, z = (c.op("add", *pair) for pair in ((xr, hr), (xz, hz)))
    new = c.op("add", xn, _gated(c, r, hn))
    n = c.op("tanh", new)
    rest = _gated(c, z, c.op("sub", state[0], n))
    return (c.op("add", n, rest),)


def _plain(activation: str) -> Cell:
    def cell(c: Context, x: Value, state: State, h: Value) -> State:
        return (c.op(activation, c.op("add", x, h)),)

    return cell


def _step(c: Context, cell: Cell, x: Value, state: State, own: Maps) -> State:
    """One step, `x` being the input behind its linear map."""
    h = c.value(linear(c, state[0], own.of_state, own.state_bias))
    after = cell(c, x, state, h)
    if own.projection is None:
        return after
    return (c.value(linear(c, after[0], own.projection)), *after[1:])


def _over_time(
    c: Context, cell: Cell, x: Value, state: State, own: Maps, backward: bool
) -> tuple[Value, State]:
    """All outputs [T, B, H], and the last state."""
    mapped = c.value(linear(c, x, own.of_input, own.input_bias))
    rank, steps = mapped.type.rank, c.counted(x, 0)
    outputs: list[Value] = []
    for t in reversed(range(steps)) if backward else range(steps):
        part = c.slice(mapped, -rank, t, t + 1)
        state = _step(c, cell, c.reshape(part, part.type.shape[1:]), state, own)
        outputs.append(c.reshape(state[0], (1, *state[0].type.shape)))
    outputs = outputs[::-1] if backward else outputs
    return (outputs[0] if steps == 1 else c.op("cat", *outputs, dim=-rank)), state


def _layers(cell: Cell, states: int) -> Any:
    """`torch.lstm` and its like: layers, each in one direction or two."""

    def row(
        c: Context, x: Operand, hx: Operand, params: Operand, has_biases: Any = True,
        num_layers: Any = 1, dropout: float = 0.0, train: bool = False,
        bidirectional: bool = False, batch_first: bool = False,
    ) -> Operand:  # fmt: skip
        if isinstance(params, (bool, type(None))) or isinstance(has_biases, (tuple, list)):
            c.refuse("takes a packed sequence", "give the padded sequence, and mask what it gives")
        if train and dropout:
            c.refuse("drops entries at random", "give dropout=0 unless self.training")
        first = [hx] if states == 1 else list(hx)
        directions, value = 2 if bidirectional else 1, c.value(x)
        turns = batch_first and value.type.rank == 3
        value = c.permute(value, (1, 0, 2)) if turns else value
        each = len(params) // (num_layers * directions)
        last: list[State] = []
        for layer in range(num_layers):
            both: list[Value] = []
            for way in range(directions):
                index = layer * directions + way
                own = _maps(params[index * each : (index + 1) * each], has_biases)
                state = tuple(_picked(c, h, index) for h in first)
                y, end = _over_time(c, cell, value, state, own, way == 1)
                both.append(y)
                last.append(end)
            value = both[0] if directions == 1 else c.op("cat", *both, dim=-1)
        found = tuple(_stacked(c, [state[i] for state in last]) for i in range(states))
        return (c.permute(value, (1, 0, 2)) if turns else value), *found

    return row


def _maps(given: tuple[Operand, ...], biases: bool) -> Maps:
    plain = 4 if biases else 2
    projection = given[plain] if len(given) > plain else None
    of_input, of_state = given[2:4] if biases else (None, None)
    return Maps(given[0], given[1], of_input, of_state, projection)


def _picked(c: Context, h: Operand, index: int) -> Value:
    """The state that a layer begins with, of all [layers, B, H]."""
    value = c.value(h)
    part = c.slice(value, -value.type.rank, index, index + 1)
    return c.reshape(part, value.type.shape[1:])


def _stacked(c: Context, states: list[Value]) -> Value:
    thin = [c.reshape(h, (1, *h.type.shape)) for h in states]
    return thin[0] if len(thin) == 1 else c.op("cat", *thin, dim=-thin[0].type.rank)


def _one_cell(cell: Cell, states: int) -> Any:
    """`torch.lstm_cell` and its like: one step."""

    def row(
        c: Context, x: Operand, hx: Operand, w_ih: Operand, w_hh: Operand,
        b_ih: Operand = None, b_hh: Operand = None,
    ) -> Operand:  # fmt: skip
        own = Maps(w_ih, w_hh, b_ih, b_hh)
        first = (c.value(hx),) if states == 1 else tuple(c.value(h) for h in hx)
        mapped = c.value(linear(c, x, w_ih, b_ih))
        after = _step(c, cell, mapped, first, own)
        return after[0] if states == 1 else after

    return row


ROWS: dict[str, Any] = {
    "lstm": _layers(_lstm, 2), "gru": _layers(_gru, 1),
    "rnn_tanh": _layers(_plain("tanh"), 1), "rnn_relu": _layers(_plain("relu"), 1),
    "lstm_cell": _one_cell(_lstm, 2), "gru_cell": _one_cell(_gru, 1),
    "rnn_tanh_cell": _one_cell(_plain("tanh"), 1), "rnn_relu_cell": _one_cell(_plain("relu"), 1),
}  # fmt: skip

"""`lrpc.LRPExplainer`: the interface of explainer libraries on top of `lrpc.compile`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from lrpc.attribution import Attribution, whole
from lrpc.compiler import compile
from lrpc.errors import ConfigError, ProgramError, RuleError
from lrpc.frontend.called_layers import called_layers, evaluating
from lrpc.frontend.modes import without_modes
from lrpc.rules import CATALOGUE
from lrpc.support.untrusted import near

#: A rule's name, or a mapping with `rule` and its parameters.
RuleSpec = str | Mapping[str, object]

WEIGHTED = "linear|convolution"  # roles that a rule of the user's is for
COMPARED: tuple[RuleSpec, ...] = ("epsilon", "gamma", "z_plus", "alpha_beta")


class LRPExplainer:
    """Explains outputs of a model by layer-wise relevance propagation.

    The model is explained in evaluation mode, with a copy of its present weights. Raises LrpcError.

    Args:
        model: maps one tensor [B, ...] to scores [B, n] or [B].
        example: such a tensor.
        rule: the rule of every linear map and convolution: a name, or a mapping with `rule` and
            its parameters.
        epsilon: stabiliser ε.
        layers: rules of single layers: module path or glob → rule.
        composite: rules of everything else.
        class_names: names of the outputs.
        device: where the program runs.
    """

    @without_modes()
    def __init__(
        self,
        model: nn.Module,
        example: Tensor,
        rule: RuleSpec = "epsilon",
        *,
        epsilon: float = 1e-6,
        layers: Mapping[str, RuleSpec] | None = None,
        composite: str = "attnlrp",
        class_names: Sequence[str] | None = None,
        device: str = "cpu",
    ) -> None:
        self.rule, self.epsilon, self.composite = rule, epsilon, composite
        self.class_names = _names(class_names)
        if not isinstance(example, Tensor) or not example.dim():
            raise ConfigError(f"example is an input [B, ...] of the model, got {_kind(example)}")
        if not isinstance(layers, Mapping | None):
            raise ConfigError(f"layers gives rules by module path, got {_kind(layers)}")
        self._dtype, self._shape, self._device = example.dtype, tuple(example.shape[1:]), device
        self._own = [
            entry for path, spec in (layers or {}).items() for entry in _entries(spec, path)
        ]
        with evaluating(model):
            self.layers = called_layers(model, example)
            self._model, self._example = model, example
            self._program = self._compile([rule])
        self._others: dict[str, Any] = {}

    def explain(self, x: Any, target: int | None = None) -> Attribution:
        """Explain output `target` (None: the largest) for one input x, without a batch axis."""
        return self.explain_batch(self._tensor(x, batched=False)[None], target)[0]

    def explain_batch(
        self, inputs: Any, target: int | Sequence[int] | None = None
    ) -> list[Attribution]:
        """Explain inputs [B, *input] at once; `target` is one index for all, or one for each."""
        return self._explain(self._program, self._tensor(inputs, batched=True), target)[
            _name(self.rule)
        ]

    def attribute(self, inputs: Any, target: int | Sequence[int] | None = None) -> Tensor:
        """The relevance of inputs [B, *input] alone, shaped like them: captum's `attribute`."""
        return torch.stack([one.relevance for one in self.explain_batch(inputs, target)])

    def __call__(
        self, inputs: Any, start: Tensor | Callable[[Tensor], Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Outputs [B, n] of inputs [B, *input], and the relevance of the inputs where it starts
        with `start` [B, n], or with what `start` makes of the outputs: zennit's attributor."""
        state = self._program.forward(self._tensor(inputs, batched=True))
        given = start(state.outputs) if callable(start) else start
        return state.outputs, self._program.relevance(state, "output", seeds=given[None]).input[0]

    def __enter__(self) -> LRPExplainer:
        """`with` needs nothing to be done and undone: the model is not changed."""
        return self

    def __exit__(self, *error: object) -> None:
        return None

    def compare_rules(
        self,
        x: Any,
        target: int | None = None,
        rules: Sequence[RuleSpec] = COMPARED,
    ) -> dict[str, Attribution]:
        """Explain one input by several rules, from one forward pass: rule name → explanation."""
        if isinstance(rules, str | Mapping) or not isinstance(rules, Sequence) or not rules:
            raise RuleError(f"rules are a list of names or mappings, got {rules!r}")
        key = repr([sorted(_spec(rule).items()) for rule in rules])
        if key not in self._others:
            with evaluating(self._model):
                self._others[key] = self._compile(rules)
        found = self._explain(self._others[key], self._tensor(x, batched=False)[None], target)
        return {name: each[0] for name, each in found.items()}

    # -- helpers ---------------------------------------------------------------------------------

    def _compile(self, rules: Sequence[RuleSpec]) -> Any:
        given = {
            _name(rule): {"composite": self.composite, "rules": [*self._own, *_entries(rule)]}
            for rule in rules
        }
        if len(given) < len(rules):
            raise RuleError("rules to compare need names of their own: give each rule once")
        return compile(
            self._model,
            (self._example,),
            composite=given,
            epsilon=self.epsilon,
            read={layer.name: layer.place for layer in self.layers},
            device=self._device,
            fold_batch_norm=False,
        )

    def _tensor(self, x: Any, batched: bool) -> Tensor:
        value = self._numbers(x)
        shape = tuple(value.shape[1:] if batched else value.shape)
        if shape != self._shape or (batched and value.dim() != len(self._shape) + 1):
            wanted = ", ".join([*(["B"] if batched else []), *map(str, self._shape)])
            raise ProgramError(f"the input must be [{wanted}], got {list(value.shape)}")
        return value.to(self._device, self._dtype)

    def _numbers(self, x: Any) -> Tensor:
        try:
            value = torch.as_tensor(x)
        except (TypeError, ValueError, RuntimeError):
            told = f"the input must be a tensor or array of numbers, got {_kind(x)}"
            raise ProgramError(told) from None
        if value.is_complex() or value.is_meta or value.layout != torch.strided:
            told = f"{value.dtype}, {value.layout}, on {value.device}".replace("torch.", "")
            raise ProgramError(f"the input must be a dense tensor of real numbers, got {told}")
        if value.is_floating_point() and not self._dtype.is_floating_point:
            raise ProgramError(f"the input must be integers, as the example is, got {value.dtype}")
        return value

    def _explain(
        self, program: Any, inputs: Tensor, target: int | Sequence[int] | None
    ) -> dict[str, list[Attribution]]:
        state = program.forward(inputs)
        scores = state.outputs
        if not isinstance(scores, Tensor) or scores.dim() not in (1, 2):
            raise ProgramError("the model must return one tensor of scores, [B, n] or [B]")
        chosen, count = _targets(scores, target), scores[0].numel()
        if self.class_names is not None and len(self.class_names) != count:
            raise ProgramError(f"{len(self.class_names)} class_names are given for {count} outputs")
        seeds = torch.zeros_like(scores)
        picked = seeds.reshape(len(scores), -1)
        rows = torch.arange(len(scores), device=scores.device)
        picked[rows, chosen] = scores.reshape(len(scores), -1)[rows, chosen]
        results = {}
        for name in program.composites:
            found = program.relevance(
                state, "output", seeds=seeds[None], composite=name, ledger=True
            )
            results[name] = [
                self._one(name, found, b, int(chosen[b]), float(picked[b, chosen[b]]))
                for b in range(len(scores))
            ]
        return results

    def _one(self, rule: str, found: Any, b: int, target: int, output: float) -> Attribution:
        places = {layer.name: found.layers.get(layer.name) for layer in self.layers}
        return Attribution(
            found.input[0, b].clone(),
            target,
            self.class_names[target] if self.class_names else str(target),
            output,
            rule,
            {name: value[0, b].clone() for name, value in places.items() if value is not None},
            {kind: float(amount[0, b]) for kind, amount in found.ledger.sinks.items()},
            float(found.ledger.closure[0, b]),
        )


def _kind(value: object) -> str:
    return "None" if value is None else type(value).__name__


def _names(given: Any) -> tuple[str, ...] | None:
    if given is None:
        return None
    listed = isinstance(given, Sequence) and not isinstance(given, str | bytes)
    if not listed or not all(isinstance(name, str) for name in given):
        raise ConfigError(f"class_names is a list of names, got {given!r}")
    return tuple(given)


def _spec(rule: RuleSpec) -> dict[str, object]:
    if not isinstance(rule, str | Mapping):
        raise RuleError(f"a rule is a name, or a mapping of `rule` and parameters, got {rule!r}")
    spec: dict[str, object] = {"rule": rule} if isinstance(rule, str) else dict(rule)
    known = sorted({name for op, name in CATALOGUE if op in ("linear", "conv2d")})
    if spec.get("rule") not in known:
        close = near(str(spec.get("rule")), known)
        raise RuleError(
            f"no rule {spec.get('rule')!r} for linear maps and convolutions"
            f"{f'; did you mean {close!r}?' if close else ''}; there are:"
            f" {', '.join(known)}"
        )
    return spec


def _name(rule: RuleSpec) -> str:
    return str(_spec(rule)["rule"])


def _entries(rule: RuleSpec, module: str | None = None) -> list[dict[str, object]]:
    place = {} if module is None else {"module": module}
    return [{**place, "role": WEIGHTED, **_spec(rule)}]


def _targets(scores: Tensor, target: int | Sequence[int] | None) -> Tensor:
    """The index of the output to explain for each input, [B]."""
    table = scores.reshape(len(scores), -1)
    if target is None:
        return table.argmax(1)
    alone, told = whole(target), "target must be the number of an output, or one for each input"
    if alone is not None:
        given: list[Any] = [alone] * len(scores)
    elif isinstance(target, str) or not getattr(target, "shape", hasattr(target, "__len__")):
        raise ProgramError(f"{told}, got {target!r}")
    else:
        given = list(target)  # type: ignore[arg-type]
    if len(given) != len(scores):
        raise ProgramError(f"{len(given)} targets are given for {len(scores)} inputs")
    chosen = [whole(index) for index in given]
    for index, number in zip(given, chosen, strict=True):
        if number is None or not 0 <= number < table.shape[1]:
            raise ProgramError(f"target must lie in 0..{table.shape[1] - 1}, got {index!r}")
    return torch.tensor(chosen, device=scores.device)

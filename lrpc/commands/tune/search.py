"""The search: part by part, each with all of its candidates in one program."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from lrpc.commands.evaluate.intervals import Mean
from lrpc.commands.evaluate.results import Results
from lrpc.commands.tune.space import Choice, steps
from lrpc.errors import ProgramError

Summary = Mapping[str, Mean]
Measure = Callable[[Sequence[Choice]], Results]


@dataclass(frozen=True)
class Criterion:
    """What is best: the weighted sum of means over objects, named as in `lrpc evaluate`."""

    weights: Mapping[str, float]

    def of(self, means: Summary) -> float:
        """The sum; a figure that no object has makes a candidate the worst."""
        if any(name not in means for name in self.weights):
            return float("-inf")
        return sum(weight * means[name].mean for name, weight in self.weights.items())

    def words(self) -> str:
        """As a sum: `abpc + positive_in_box − class_correlation`."""
        parts = []
        for name, weight in self.weights.items():
            size = "" if abs(weight) == 1 else f"{abs(weight):g} "
            parts.append(f"{'−' if weight < 0 else '+'} {size}{name}")
        return " ".join(parts).removeprefix("+ ")


@dataclass(frozen=True)
class Trial:
    """One candidate with its figures."""

    choice: Choice
    value: float
    means: Summary


@dataclass
class Search:
    """Coordinate descent from the best of some composites; `budget` bounds the candidates.
    `contrast` is the one that all of them are explained by, "" for logits."""

    measure: Measure
    criterion: Criterion
    budget: int
    contrast: str = ""
    trials: list[Trial] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)

    def called(self, choice: Choice) -> str:
        """The name that results have for a candidate."""
        return f"{choice.name}, {self.contrast}" if self.contrast else choice.name

    @property
    def best(self) -> Trial:
        """The best so far; of equals the first."""
        return max(self.trials, key=lambda trial: trial.value)

    def run(
        self, bases: Sequence[str], parts: Sequence[str], gammas: Sequence[float]
    ) -> Iterator[tuple[str, Trial]]:
        """Composites, then the γ of each part, from the image on, again and again until none is
        better or the budget is spent; after each step what was searched, and the best.
        ProgramError where none of the composites could be measured."""
        self._try([Choice(base) for base in bases])
        if not self.trials:
            name, reason = next(iter(self.failed.items()), (bases[0], "it has no figures"))
            raise ProgramError(f"no composite could be measured; {name}: {reason}")
        yield "composite", self.best
        while True:
            before = self.best
            for part in parts:
                known = {self.called(trial.choice) for trial in self.trials} | set(self.failed)
                every = steps(self.best.choice, part, gammas)
                new = [one for one in every if self.called(one) not in known]
                if len(self.trials) + len(new) > self.budget:
                    return
                if new:
                    self._try(new)
                    yield part, self.best
            if self.best is before:
                return

    def _try(self, choices: Sequence[Choice]) -> None:
        """Measure candidates together."""
        results = self.measure(choices)
        found = results.summary()
        self.failed |= dict(results.failed)
        for choice in choices:
            if self.called(choice) in found:
                means = found[self.called(choice)]
                self.trials.append(Trial(choice, self.criterion.of(means), means))

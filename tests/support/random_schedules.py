"""Random schedules for tests of passes and of the renderer: the relevance of a few targets, each
without a ledger and with one, as lowering makes them."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from lrpc.backend.schedule.ir import Schedule
from lrpc.backend.schedule.parser import parse_schedule
from lrpc.backend.schedule.verify import verify
from tests.support.schedules import FORWARD, G, X

Y = f'saved[""]["y"]: {X}'
RULES = ('rule=epsilon(eps=0.1) in="l.0"', 'rule=epsilon(eps=0.1) in="l.1"', 'rule=pass in="head"')
ALONE = ("tanh", "sigmoid", "relu", "cos", "sin", "centred_softplus", "sigmoid_ratio")
PLAIN, BOOKED = 0, 1


@dataclass(frozen=True)
class Made:
    """A value by its names without a ledger ("" where it is not there) and with one."""

    names: tuple[str, str]
    type: str


LOADED, SEED = Made((Y, Y), X), Made(("%g", "%g"), G)


@dataclass
class Relevance:
    """Writes the two functions of a target; a run is the same wherever its `rng` is."""

    rng: random.Random
    lines: tuple[list[str], list[str]] = field(default_factory=lambda: ([], []))
    counts: list[int] = field(default_factory=lambda: [0, 0])
    g: Made = SEED
    known: list[Made] = field(default_factory=lambda: [LOADED, SEED])
    place: str = RULES[0]

    def run(self, rng: random.Random, steps: int) -> None:
        """So many steps from where relevance is now, which read nothing else made before but the
        seeds."""
        self.rng, self.known = rng, [LOADED, self.g, *[SEED] * (rng.random() < 0.3)]
        self.place = rng.choice(RULES)
        for _ in range(steps):
            if rng.random() < 0.25:
                self.place = rng.choice(RULES)
            rng.choice([self.passed, self.passed, self.passed, self.added, self.again, self.row])()

    def passed(self) -> None:
        """Relevance goes on."""
        if self.rng.random() < 0.5:
            self.g = self._made(self.rng.choice(ALONE), (self.g,), G)
        elif self.rng.random() < 0.5:
            self.g = self._made("stab_mul", (self.g, self._any(X)), G, " {eps=0.1}")
        else:
            self.g = self._made("mul", (self.g, self._any(X)), G)

    def added(self) -> None:
        """Relevance that has come another way is added."""
        self.g = self._made("add", (self.g, self._any(G)), G)

    def again(self) -> None:
        """Something of the forward pass is computed again: for both, or for the ledger alone."""
        which = self.rng.choice([(PLAIN, BOOKED), (PLAIN, BOOKED), (BOOKED,)])
        if self.rng.random() < 0.6:
            self._made(self.rng.choice(ALONE), (self._any(X, which),), X, "", which)
        else:
            self._made("mul", (self._any(X, which), self._any(X, which)), X, "", which)

    def row(self) -> None:
        """The ledger books something, perhaps what it computes for that."""
        g = self.g
        if self.rng.random() < 0.5:
            g = self._made("sub", (self._any(G, (BOOKED,)), self.g), G, "", (BOOKED,))
        x, kind = self._any(X, (BOOKED,)), self.rng.choice(["epsilon", "in", "out"])
        attrs = f'{{batch=1, kind="{kind}"}}'
        self.lines[BOOKED].append(f"book ({g.names[1]}, {x.names[1]}) {attrs} {self.place}")

    def read(self, place: str) -> None:
        """Relevance is handed out."""
        for which in (PLAIN, BOOKED):
            self.lines[which].append(f'read "{place}" ({self.g.names[which]})')

    def _any(self, kind: str, which: tuple[int, ...] = (PLAIN, BOOKED)) -> Made:
        """A value that is there in these functions."""
        fit = (v for v in self.known if v.type == kind and all(v.names[w] for w in which))
        return self.rng.choice([*fit])

    def _made(
        self,
        op: str,
        inputs: tuple[Made, ...],
        kind: str,
        attrs: str = "",
        which: tuple[int, ...] = (PLAIN, BOOKED),
    ) -> Made:
        names = ["", ""]
        for w in which:
            self.counts[w] += 1
            names[w] = f"%{'r_' * (kind == G)}{op}_{self.counts[w]}"
            origin = f'role="relevance" {self.place}' if kind == G else 'in="l.0"'
            read = ", ".join(x.names[w] for x in inputs)
            self.lines[w].append(f"{names[w]}: {kind} = {op}({read}){attrs} {origin}")
        self.known.append(Made((names[0], names[1]), kind))
        return self.known[-1]


def random_schedule(seed: int, targets: int = 1, longest: int = 40) -> Schedule:
    """A schedule as `build` makes it. Targets have runs of statements in common."""
    rng = random.Random(seed)
    runs = [(rng.randrange(1 << 30), rng.randint(3, longest)) for _ in range(3)]
    last = rng.randrange(3)
    text = f"schedule {{\n{_function('forward', 'forward', f'%x: {X}', FORWARD.splitlines())}"
    for number in range(targets):
        relevance = Relevance(rng)
        for i in [*rng.choices(range(3), k=rng.randint(0, 3)), last if rng.random() < 0.8 else 0]:
            relevance.rng = rng
            rng.choice([relevance.added, relevance.passed, relevance.again])()
            relevance.run(random.Random(runs[i][0]), runs[i][1])
            relevance.read(f"place {i}")
        relevance.read("input")
        name = f"relevance_{number}"
        text += f'target "{number}" "" from saved[""]["y"] {{\n'
        for which, head in ((PLAIN, "relevance"), (BOOKED, "relevance ledger")):
            own = f"{name}_{which}"
            text += _function(own, head, f"%g: {G}", [*relevance.lines[which], "return"])
        text += "}\n"
    return verify(parse_schedule(f"{text}}}\n"))


def _function(name: str, head: str, parameters: str, lines: list[str]) -> str:
    return "\n".join([f'function "{name}" {head} ({parameters}) {{', *lines, "}\n"])

"""What targets do alike is one function: before and after in schedule text, with near misses."""

from __future__ import annotations

from collections import Counter

import pytest

from lrpc.backend.schedule.free import free
from lrpc.backend.schedule.ir import Call, Schedule
from lrpc.backend.schedule.tails import FEWEST, FEWEST_BETWEEN, tails
from lrpc.backend.schedule.verify import verify
from tests.support.schedules import G, put_back, same, targets

Y = 'saved[""]["y"]: f32[B,4]'
PASS = 'role="relevance" rule=pass in="head"'
OPS = ("tanh", "cos", "sin", "sigmoid")


def line(name: str, start: str, steps: int, ops: tuple[str, ...] = OPS) -> str:
    """Operations one after the other, as many as `steps` with what is freed between them."""
    found, value = [], start
    for i in range(steps // 2):
        found.append(f"%{name}{i}: {G} = {ops[i % len(ops)]}({value})")
        found.append(f"free {value}")
        value = f"%{name}{i}"
    return "\n".join(found)


def main(start: str, rest: str) -> str:
    return f"{start}\nfree %g\n{rest}\nreturn"


FIRST = f"%s: {G} = exp(%g) {PASS}"
OTHER = f"%t: {G} = mul(%g, {Y}) {PASS}"
LAST = f'read "input" (%{{0}}{FEWEST // 2 - 1})\nfree %{{0}}{FEWEST // 2 - 1}'


def test_an_end_that_targets_share_is_one_function() -> None:
    """Whatever they call its values; it has what they hand it for good."""
    end = line("{0}", "{1}", FEWEST) + "\n" + LAST
    before = {
        "a": main(FIRST, end.format("p", "%s")),
        "b": main(OTHER, end.format("q", "%t")),
    }
    call = 'call "relevance_from_input" "" saved[""] '
    after = {
        "a": main(FIRST, f"{call}(%s)"),
        "b": main(OTHER, f"{call}(%t)"),
    }
    shared = {f'"relevance_from_input" tail ledger (%s: {G})': end.format("p", "%s") + "\nreturn"}
    same(tails(targets(before)), targets(after, shared))


def test_what_a_function_returns_of_its_argument_is_given_away_with_that() -> None:
    """The shared end hands on a view, made by a function, which the next one writes over."""
    view = f'"view" rule (%a: {G})'
    over = f'"over" rule (%a: {G})'
    functions = {
        view: f"%b: {G} = permute(%a) {{dims=[0, 1, 2]}}\nreturn %b",
        over: f"%b: {G} = exp(%a) over=0\nreturn %b",
    }
    end = (
        f'%v{{0}}: {G} = call "view" "" saved[""] ({{1}})\n'
        f'%o{{0}}: {G} = call "over" "" saved[""] (%v{{0}}) gives=[0]\n'
        + line("{0}", "%o{0}", FEWEST)
        + "\n"
        + LAST
    )
    before = {
        "a": main(FIRST, end.format("p", "%s")),
        "b": main(OTHER, end.format("q", "%t")),
    }
    found = tails(targets(before, functions))
    assert verify(found) is found
    (call,) = [s for s in found.targets[0].plain.body if isinstance(s, Call)]
    assert call.gives == (0,)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (f"stab_mul(%v, {Y}) {{eps=0.1}}", f"stab_mul(%v, {Y}) {{eps=0.2}}"),
        (f"mul(%v, {Y})", "mul(%v, %w)"),
        ("add(%v, %u)", "add(%u, %v)"),
        (f"exp(%v) {PASS}", "exp(%v)"),
        ('exp(%v)\nread "a" (%last)', 'exp(%v)\nread "b" (%last)'),
        (
            "exp(%v)\nonly ledger {\nbook (%last, %w) {batch=1}\n}",
            "exp(%v)\nonly ledger {\nbook (%last, %w) {batch=1, fold=2}\n}",
        ),
    ],
    ids=["a number", "an operand", "their order", "the rule", "the place", "a row"],
)
def test_ends_that_differ_in_one_argument_stay_apart(ours: str, theirs: str) -> None:
    start = f"%u: {G} = relu(%g)\n%w: f32[B,4] = exp({Y})\n{chain('p', '%u', FEWEST)}"
    start += f"\n%v: {G} = cos(%p{FEWEST - 1})\n%last: {G} = "
    end = '\nread "input" (%last)\nbook (%u, %w) {batch=1}\nreturn'

    def shared(*bodies: str) -> bool:
        both = zip(("relu", "exp"), bodies, strict=True)
        mains = {op: start.replace("relu", op) + body + end for op, body in both}
        found = tails(free(targets(mains)))
        same(found, found)
        return len(found.functions) > 0

    assert shared(ours, ours)
    assert not shared(ours, theirs)


def test_a_short_end_stays_in_place() -> None:
    end = 'read "input" ({0})\nfree {0}'
    before = targets({
        "a": main(FIRST, line("p", "%s", FEWEST - 4) + "\n" + end.format(f"%p{FEWEST // 2 - 3}")),
        "b": main(OTHER, line("q", "%t", FEWEST - 4) + "\n" + end.format(f"%q{FEWEST // 2 - 3}")),
    })  # fmt: skip
    same(tails(before), before)


# -- what targets share before something else ------------------------------------------------------

LONG = FEWEST_BETWEEN + 2 - FEWEST_BETWEEN % 2
MADE = f"%{{0}}{LONG // 2 - 1}"
HEAD = f'read "there" ({{1}})\n{line("{0}", "{1}", LONG)}'


def ending(op: str) -> str:
    return f'\n%z: {G} = {op}({MADE})\nfree {MADE}\nread "input" (%z)\nfree %z'


def test_a_long_run_between_is_one_function_and_hands_over_what_it_makes() -> None:
    before = {
        "a": main(FIRST, (HEAD + ending("abs")).format("p", "%s")),
        "b": main(OTHER, (HEAD + ending("exp")).format("q", "%t")),
    }
    call = f'{MADE}: {G} = call "relevance_from_there" "" saved[""] ({{1}})'
    after = {
        "a": main(FIRST, (call + ending("abs")).format("p", "%s")),
        "b": main(OTHER, (call + ending("exp")).format("q", "%t")),
    }
    run = HEAD.format("p", "%s") + f"\nreturn {MADE.format('p')}"
    found = tails(targets(before))
    same(found, targets(after, {f'"relevance_from_there" part ledger (%s: {G})': run}))
    for name, number in (("a", 0), ("b", 1)):
        body = targets(before).targets[number].plain.body
        assert put_back(found.targets[number].plain.body, found) == body, name


def test_runs_whose_ends_are_alike_hand_over_what_these_make() -> None:
    """As the targets of two composites do, whose blocks differ before those that they share."""
    common = line("{0}", "%{0}y", LONG)
    bodies = {}
    for name, op, first in (("a", "abs", "log"), ("b", "exp", "log"),
                            ("c", "relu", "neg"), ("d", "erf", "neg")):  # fmt: skip
        own = line(f"{name}x", "%g", 6, (op,))
        run = f"%{name}y: {G} = {first}(%{name}x2)\nfree %{name}x2\n{common.format(name)}"
        bodies[name] = f"{own}\n{run}{ending(op).format(name)}\nreturn"
    before = targets(bodies)
    found = tails(before)
    same(found, found)
    halves = Counter(function.half for function in found.functions)
    assert halves == {"part": len(found.functions)}
    assert len(found.functions) > 0
    for old, new in zip(before.targets, found.targets, strict=True):
        assert put_back(new.plain.body, found) == old.plain.body


def calls(schedule: Schedule) -> list[Call]:
    return [s for t in schedule.targets for s in t.plain.body if isinstance(s, Call)]


def test_a_run_that_ends_one_target_and_goes_on_in_another_is_no_end() -> None:
    """A function either ends a target or hands back what it goes on with."""
    run = chain("p", "%s", LONG) + f'\nread "there" (%p{LONG - 1})'
    more = f'\n%z: {G} = abs(%g)\nread "input" (%z)'
    bodies = {"a": f"{FIRST}\n{run}\nreturn", "b": f"{OTHER}\n{run}{more}\nreturn"}
    bodies["b"] = bodies["b"].replace("%t:", "%s:")
    found = tails(free(targets(bodies)))
    same(found, found)
    users = Counter(call.function for call in calls(found))
    assert all(users[function.name] == 2 for function in found.functions)


@pytest.mark.parametrize("kind", ["made", "made twice", "freed", "freed before"])
def test_what_is_there_in_one_kind_of_call_alone_is_neither_handed_over_nor_taken(
    kind: str,
) -> None:
    """A function is called with a ledger and without, and its arguments and results are there in
    both: the run that targets share is shorter."""
    made, used = f"%m: f32[B,4] = exp({Y})", f"%u: {G} = mul(%s, %m)"

    def body(name: str, op: str) -> str:
        run, last = chain(name, "%s" if kind != "freed" else "%u", LONG), f"%{name}{LONG - 1}"
        start, end = f"%s: {G} = {op}(%g)", f"%z: {G} = {op}({last})"
        row = f"only ledger {{\nbook ({last}, %m) {{batch=1}}\n}}"
        lines = {
            "made": [start, f"only ledger {{\n{made}\n}}", run, end, row],
            "made twice": [
                f"only ledger {{\n{made}\n}}",
                start,
                f"only plain {{\n{made}\n}}\n{used}",
                run.replace("%s", "%u"),
                end,
            ],
            "freed": [made, start, used, run, end, row],
            "freed before": [made, used.replace("%s", "%g"), start, run, row, end, row],
        }
        return "\n".join([*lines[kind], 'read "input" (%z)', "return"])

    before = free(targets({"a": body("p", "abs"), "b": body("q", "exp")}))
    found = tails(before)
    same(found, found)
    (function,) = found.functions
    assert "m" not in {v.name for v in (*function.parameters, *function.results)}
    for target, was in zip(found.targets, before.targets, strict=True):
        assert put_back(target.plain.body, found) == was.plain.body


def chain(name: str, value: str, steps: int) -> str:
    """Operations one after the other."""
    found = []
    for i in range(steps):
        found.append(f"%{name}{i}: {G} = {OPS[i % len(OPS)]}({value})")
        value = f"%{name}{i}"
    return "\n".join(found)


def test_targets_share_what_several_ends_have_in_common() -> None:
    """A function of two targets calls the one of all three."""
    both = line("{0}", "{1}", 2 * FEWEST, ("exp", "cos")) + "\n"
    all_three = line("{2}", f"%{{0}}{FEWEST - 1}", 2 * FEWEST)
    end = f'\nread "input" (%{{2}}{FEWEST - 1})\nfree %{{2}}{FEWEST - 1}'
    third = all_three.replace(f"%{{0}}{FEWEST - 1}", "%u")
    found = tails(targets({
        "a": main(FIRST, (both + all_three + end).format("p", "%s", "x")),
        "b": main(OTHER, (both + all_three + end).format("q", "%t", "y")),
        "c": main(f"%u: {G} = abs(%g)", (third + end).format("", "", "z")),
    }))  # fmt: skip
    same(found, found)
    of_two = {s.function for s in calls(found)[:2]}
    of_one = calls(found)[2].function
    assert len(of_two) == 1
    assert of_one not in of_two
    (outer,) = of_two
    inner = [s.function for s in found.by_name[outer].body if isinstance(s, Call)]
    assert inner == [of_one]


def test_what_is_written_over_by_another_name_is_handed_over_for_good() -> None:
    """A function gives its operand back under another name, in which the shared end writes."""
    turned = f"%v: {G} = reshape(%x) {{shape=[K,B,4]}}\nreturn %v"
    functions = {f'"turn" rule ledger (%x: {G})': turned}
    end = f'%{{0}}: {G} = call "turn" "" saved[""] ({{1}})\n%{{0}}_: {G} = exp(%{{0}}) over=0\n'
    end += line("{0}0", "%{0}_", FEWEST) + "\n" + LAST.replace("{0}", "{0}0")
    before = {"a": main(FIRST, end.format("p", "%s")), "b": main(OTHER, end.format("q", "%t"))}
    found = tails(targets(before, functions))
    same(found, found)
    assert [s.gives for s in calls(found)[:2]] == [(0,), (0,)]


def test_a_run_at_the_end_of_others_hands_on_what_they_do() -> None:
    """Two pairs of targets have a run each, and these end alike."""
    common = line("{0}c", f"%{{0}}{LONG // 2 - 1}", LONG)
    last = f"%{{0}}c{LONG // 2 - 1}"
    bodies = {}
    for name, ops, end in (
        *(("a", ("cos", "sin"), "abs"), ("b", ("cos", "sin"), "exp")),
        *(("c", ("tanh", "cos"), "relu"), ("d", ("tanh", "cos"), "sigmoid")),
    ):
        run = f'read "there" (%{name}_)\n' + line("{0}", f"%{name}_", LONG, ops) + "\n" + common
        close = f'\n%z: {G} = {end}({last})\nfree {last}\nread "input" (%z)\nfree %z'
        start = f"%{name}_: {G} = mul(%g, {Y})" if name in "bd" else f"%{name}_: {G} = exp(%g)"
        bodies[name] = main(start, (run + close).format(name))
    found = tails(targets(bodies))
    same(found, found)
    shared = [f for f in found.functions if sum(isinstance(s, Call) for s in f.body) == 1]
    assert len(shared) == 2
    for name, body in bodies.items():
        whole = targets(bodies).targets["abcd".index(name)].plain.body
        assert put_back(found.targets["abcd".index(name)].plain.body, found) == whole, body

"""What values are called in a program's text, and which of them have no name: small schedules as
text, each with a near miss."""

from __future__ import annotations

import pytest

from lrpc.backend.schedule.free import free
from lrpc.backend.schedule.in_place import in_place
from lrpc.backend.schedule.ir import Schedule
from lrpc.backend.schedule.join import join
from tests.support.schedule_runs import text_of
from tests.support.schedules import FORWARD, FREED, G, X, schedule

Y = 'saved[""]["y"]: f32[B,4]'
PASS = 'role="relevance" rule=pass in="head"'
OTHER = 'role="relevance" rule=pass in="tail"'
GAMMA = 'role="relevance" rule=gamma(gamma=0.2) in="head"'


def lines(relevance: str, ledger: str | None = None) -> list[str]:
    """The statements of relevance, without comments, types and what hands it out at the end."""
    found = schedule(FORWARD, relevance, ledger)
    return lines_of(free(join(in_place(found)) if ledger else found))


def lines_of(found: Schedule) -> list[str]:
    text = text_of(found)
    body = text.partition("def relevance_output(w, saved, g, read, ledger=None):\n")[2]
    code = (line.partition("  #")[0] for line in body.partition("\n\n\n")[0].splitlines())
    end = '    if hand_out(out, read, ledger, "input",'
    kept = [c[4:] for c in code if c.strip() and not c.startswith(end) and "return out" not in c]
    return [code for code in kept if code not in ("out = {}", 's = saved[""]')]


def read(*steps: str) -> str:
    """Operations one after the other; what the last one makes is handed out."""
    *_, last = steps
    return "\n".join([*steps, f'read "input" ({last.partition(":")[0]})', "return"])


# -- what stands in the expression that reads it ---------------------------------------------------


SIN, EXP = f"%a: {X} = sin({Y})", f"%a: {G} = exp(%g) {PASS}"


def test_a_value_read_once_stands_where_it_is_read() -> None:
    """In brackets where its text needs them."""
    steps = [SIN, f"%b: {X} = mul(%a, {Y})", f"%c: {X} = cos(%b)"]
    end = f"%r: {G} = mul(%g, %c) {PASS}"
    assert lines(read(*steps, end))[0] == 'c = (s["y"].sin() * s["y"]).cos()'


def test_what_it_writes_over_goes_with_it() -> None:
    text = read(EXP, f"%b: {G} = relu(%a) {PASS}", f"%c: {G} = mul(%b, {Y}) {PASS}")
    assert lines(text, text) == ['g = g.exp().relu_().mul_(s["y"])']


@pytest.mark.parametrize(
    ("first", "reader"),
    [
        (SIN, f"%b: {X} = mul(%a, %a)"),
        (f'{SIN} in="l.0"', f'%b: {X} = cos(%a) in="l.1"'),
        (EXP, f"%b: {G} = sin(%a) {GAMMA}"),
        (SIN, f"%b: {X} = centred_softplus(%a)"),
        (SIN, f"%b: {X} = stab_mul({Y}, %a) {{eps=0.1}}"),
        (SIN, f"%c: {X} = cos(%a)\n%b: {X} = stab_mul(%c, %a) {{eps=0.1}}"),
        (SIN, f"%m: {X} = cos({Y})\n%b: {X} = mul(%m, %a)"),
        (EXP, f"%b: {G} = sin(%a) {PASS}"),
    ],
    ids=[
        *(
            "read twice",
            "read again",
            "of another part",
            "of another rule",
            "two operations",
            "a kernel",
        ),
        *("in another order", "something dies between"),
    ],
)
def test_what_has_a_name_all_the_same(first: str, reader: str) -> None:
    """Where the text, or what is held when, would be another: operations after the one that reads
    it, and kernels, would no longer have its memory."""
    text = read(first, reader, f"%r: {G} = mul(%g, {Y}) {PASS}")
    end = "" if first.startswith(EXP) else f"%r: {G} = mul(%g, %b) {PASS}"
    text = read(first, reader, end) if end else read(first, reader)
    assert lines(text)[0] in ('a = s["y"].sin()', "g = g.exp()")


def test_expressions_do_not_grow_without_end() -> None:
    ops = ("sin", "cos", "tanh", "exp", "abs", "sqrt", "log")
    steps = [f"%v{i + 1}: {X} = {op}(%v{i})" for i, op in enumerate(ops)]
    steps[0] = steps[0].replace("%v0", Y)
    found = lines(read(*steps, f"%r: {G} = mul(%g, %v{len(ops)}) {PASS}"))
    assert len(found) > 2
    assert all(line.count("(") <= 4 for line in found)


# -- names -----------------------------------------------------------------------------------------


def test_relevance_is_g_all_the_way() -> None:
    """A value that dies hands its name on and needs no `del`; one that is read on keeps it."""
    assert lines(
        read(
            f"%a: {G} = tanh(%g) {PASS}",
            f"%b: {G} = stab_mul(%a, {Y}) {{eps=0.1}} {PASS}",
            f"%c: {G} = stab_mul(%b, {Y}) {{eps=0.1}} {PASS}",
            f"%d: {G} = add(%c, %g) {PASS}",
        )
    ) == [
        "g_2 = g.tanh()",
        'g_2 = stab_mul(g_2, s["y"], 0.1)',
        'g_2 = stab_mul(g_2, s["y"], 0.1)',
        "g_2 = g_2 + g",
        "del g",  # before it is handed out
    ]


def test_values_of_the_model_are_called_as_there() -> None:
    """Without the numbers of the graph; words of Python and of programs get an underscore."""
    text = read(
        f'%"layers.1.norm_3": {X} = tanh({Y})',
        f'%lambda_2: {X} = stab_mul(%"layers.1.norm_3", {Y}) {{eps=0.1}}',
        f"%torch: {X} = stab_mul(%lambda_2, {Y}) {{eps=0.1}}",
        f"%w_1: {X} = stab_mul(%torch, {Y}) {{eps=0.1}}",
        f"%r: {G} = mul(%g, %w_1) {PASS}",
    )
    made = [line.partition(" = ")[0] for line in lines(text) if " = " in line]
    assert made == ["layers_1_norm", "lambda_", "torch_", "w_", "g"]


def test_names_are_of_one_value_at_a_time() -> None:
    text = read(
        f"%norm_1: {X} = stab_mul({Y}, {Y}) {{eps=0.1}}",
        f"%norm_2: {X} = stab_mul({Y}, {Y}) {{eps=0.2}}",
        f"%norm_3: {X} = stab_mul(%norm_1, %norm_2) {{eps=0.1}}",
        f"%r: {G} = mul(%g, %norm_3) {PASS}",
    )
    assert lines(text)[:2] == [
        'norm = stab_mul(s["y"], s["y"], 0.1)',
        'norm_2 = stab_mul(s["y"], s["y"], 0.2)',
    ]


def test_a_name_that_both_kinds_of_call_have_stays_until_both_are_done() -> None:
    """Each makes `a`; what one of them makes then is called otherwise in both."""
    text = f"""
        %s: {G} = exp(%g) {PASS}
        free %g
        only plain {{
          %a: {G} = cos(%s) {PASS}
          %b: {G} = stab_mul(%a, {Y}) {{eps=0.1}} {PASS}
          free %a
          %z: {G} = stab_mul(%b, {Y}) {{eps=0.1}} {PASS}
          free %b
        }}
        only ledger {{
          %a: {G} = cos(%s) {PASS}
          %e: {G} = stab_mul(%s, {Y}) {{eps=0.1}} {PASS}
          book (%e, {Y}) {{batch=1}}
          %z: {G} = stab_mul(%a, {Y}) {{eps=0.1}} {PASS}
          free %a, %e
        }}
        free %s
        read "input" (%z)
        free %z
        return
    """
    found = lines_of(schedule(FREED, text, None))
    made = [line.split() for line in found[found.index("else:") + 1 :]]
    assert made[0][0] != made[1][0]
    (reader,) = (words for words in made if "stab_mul(" + made[0][0] + "," in words)
    assert reader


def test_the_forward_pass_is_called_by_its_inputs() -> None:
    relevance = 'read "input" (%g)\nreturn'
    text = text_of(schedule(FREED, relevance, None))
    assert 'def forward(w, saved, x):\n    s = saved[""]\n' in text
    assert 's["y"] = y = x.exp()' in text

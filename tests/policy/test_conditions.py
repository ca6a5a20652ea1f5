"""CEL as this policy language uses it: the engine's behaviour, written down so that an upgrade can't change it silently."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from broker.policy.conditions import Answer, Mistake, Vocabulary, ask, compiled, environment, zone_data

VOCABULARY = Vocabulary(consts=(("limit", "float"), ("names", "[str]")), counters=("sums",))
GIVEN: dict[str, Any] = {
    "args": {
        "n": 5, "f": 1.5, "s": "40", "t": True, "nul": None, "l": [{"qty": 1}, {"qty": 4}], "e": "é", "secret": "hunter2",
        "bad": "(", "big": 2**53 - 1, "zone": "Mars/Olympus",
    },
    "caller.user": "alice", "caller.groups": ["a"], "now": datetime(2026, 11, 24, 10, tzinfo=UTC), "consts.limit": 100.0,
    "consts.names": ["x"], "counters.sums": 1.0,
}  # fmt: skip


def said(source: str) -> tuple[Answer, str]:
    program = compiled(VOCABULARY, source)
    assert not isinstance(program, tuple), program
    return ask(program, environment(VOCABULARY).Activation(GIVEN))


@pytest.mark.parametrize(
    ("source", "answer", "why"),
    [
        ("args.n > 4", Answer.YES, ""),
        ("args.n > 4.5", Answer.YES, ""),
        ("args.f > 1", Answer.YES, ""),
        ("args.n == 5.0", Answer.YES, ""),
        ("args.s == 40", Answer.NO, ""),
        ("args.s > 4", Answer.ERROR, "`>` does not take string, int64"),
        ("args.t > 4", Answer.ERROR, "`>` does not take bool, int64"),
        ("args.nul > 4", Answer.ERROR, "`>` does not take null_type, int64"),
        ("args.missing > 4", Answer.ERROR, "a key is missing in the arguments"),
        ("args[args.secret] > 4", Answer.ERROR, "a key is missing in the arguments"),
        ("args.missing > 4 || true", Answer.YES, ""),
        ("args.missing > 4 && false", Answer.NO, ""),
        ("true || args.missing > 4", Answer.YES, ""),
        ("args.n == 5 ? args.missing > 4 : true", Answer.ERROR, "a key is missing in the arguments"),
        ("args.l.exists(x, x.nope > 1 || x.qty > 3)", Answer.YES, ""),
        ("args.l.all(x, x.qty > 0)", Answer.YES, ""),
        ("args.l.exists_one(x, x.qty > 3)", Answer.YES, ""),
        ("args.l.filter(x, x.qty > 3).size() == 1", Answer.YES, ""),
        ("args.l.map(x, x.qty) == [1, 4]", Answer.YES, ""),
        ("size(args.e) == 1", Answer.YES, ""),
        ("double(args.s) == 40.0", Answer.YES, ""),
        ("double(args.secret) > 1.0", Answer.ERROR, "cannot convert string to double"),
        ("int(args.secret) > 1", Answer.ERROR, "cannot convert string to int"),
        ("timestamp(args.secret) > now", Answer.ERROR, "String to Timestamp conversion failed"),
        ("duration(args.secret) > duration('1s')", Answer.ERROR, "String to Duration conversion failed"),
        ("args.s.matches(args.bad)", Answer.ERROR, "the regular expression is wrong"),
        ("args.secret.matches('^(h+)+$')", Answer.NO, ""),
        ("now.getHours(args.zone) == 1", Answer.ERROR, "Invalid timezone"),
        ("now.getHours('Europe/Berlin') == 11", Answer.YES, ""),
        ("email_domain(args.secret) == ''", Answer.ERROR, "this is no plain e-mail address"),
        ("path_within(args.n, '/')", Answer.ERROR, "`path_within` does not take int64, string"),
        ("sql_kinds(args.secret) == []", Answer.NO, ""),
        ("sql_kinds('select ' + args.bad) == []", Answer.ERROR, "the SQL can't be parsed"),
        ("args.big + 1 == 9007199254740992", Answer.YES, ""),
        ("args.n / 0 == 1", Answer.ERROR, "divide by zero"),
        ("9223372036854775807 + args.n > 0", Answer.ERROR, "integer overflow"),
        ("args.n > 4 && consts.limit > 99.0 && 'x' in consts.names", Answer.YES, ""),
        ("counters.sums + double(args.n) > 5.0", Answer.YES, ""),
        ("caller.workload == ''", Answer.ERROR, "a value is not known for this call"),
        ("[1, 2][args.n] == 1", Answer.ERROR, "Index error: index=5 size=2"),
        ("args.?n.orValue(0) == 5", Answer.YES, ""),
        ("args.?a.?b.hasValue()", Answer.NO, ""),
        ("has(args.n) && !has(args.nope)", Answer.YES, ""),
        ("'a,b'.split(',') == ['a', 'b']", Answer.YES, ""),
        ("math.greatest(args.n, 3) == 5", Answer.YES, ""),
        ("type(args.n) == int", Answer.YES, ""),
        ("dyn(args.t)  == true", Answer.YES, ""),
    ],
)  # fmt: skip
def test_a_condition_says_yes_no_or_why_it_is_an_error(source: str, answer: Answer, why: str) -> None:
    assert said(source) == (answer, why)


@pytest.mark.parametrize(
    ("source", "mistake"),
    [
        ("argz.n > 1", "undeclared reference to 'argz.n'"),
        ("caller.grups == []", "undeclared reference to 'caller.grups'"),
        ("counters.other > 1.0", "undeclared reference to 'counters.other'"),
        ("counters.sums > 1", "found no matching overload for '_>_' applied to '(double, int)'"),
        ("args.n", "a condition is true or false, this is dyn"),
        ("'text'", "a condition is true or false, this is string"),
        ("args.n >", "Syntax error"),
        ("", "Syntax error"),
        ("args.s.matches('(')", "the regular expression is wrong"),
        ("args.s.matches(r'(?<=a)b')", "the regular expression is wrong"),
        ("email_domain(1) == ''", "found no matching overload for 'email_domain' applied to '(int)'"),
        ("(" * 5000 + "true" + ")" * 5000, "recursion"),
        ("true" + " || true" * 5000, "too long"),
    ],
)
def test_a_mistake_is_found_when_the_file_is_loaded(source: str, mistake: str) -> None:
    found = compiled(VOCABULARY, source)
    assert isinstance(found, tuple)
    assert any(mistake in item.message for item in found)


@pytest.mark.parametrize(
    ("source", "mend"),
    [
        ("caller.grups == []", "did you mean `caller.groups`?"),
        ("counters.sum > 1.0", "did you mean `counters.sums`?"),
        ("emaildomain(args.x) == ''", "did you mean `email_domain`?"),
        ("const.limit > 1.0", "write consts.NAME"),
        ("nothing.like.it", "names are args.*, caller.*, client.*, server.*, tool.*, env, now, consts.*, counters.*, lib.*"),
    ],
)
def test_a_mistyped_name_is_told_with_the_likely_one(source: str, mend: str) -> None:
    assert {item.mend for item in compiled(VOCABULARY, source)} == {mend}


def test_a_mistake_has_its_line_and_column() -> None:
    assert compiled(VOCABULARY, "args.n > 1 &&\n  argz.n > 1") == (
        Mistake(
            2, 7, "CEL: undeclared reference to 'argz.n' (in container '')",
            "names are args.*, caller.*, client.*, server.*, tool.*, env, now, consts.*, counters.*, lib.*",
        ),
    )  # fmt: skip


@pytest.mark.parametrize(
    "source",
    ["args.secret == 1 / 0", "args[args.secret] == 1", "double(args.secret) == 1.0", "args.secret.matches(args.secret + '(')",
     "timestamp(args.secret) == now", "email_domain(args.secret) == ''", "host(args.secret) == ''",
     "sql_kinds(args.secret + '(') == []",
     "cidr_contains(args.secret, args.secret)", "now.getHours(args.secret) == 1", "args.secret.format([args.secret, 1]) == ''"],
)  # fmt: skip
def test_no_error_repeats_anything_of_the_arguments(source: str) -> None:
    program = compiled(VOCABULARY, source)
    if not isinstance(program, tuple):
        _, why = ask(program, environment(VOCABULARY).Activation(GIVEN))
        assert "hunter2" not in why


def test_nested_loops_over_arguments_have_an_end() -> None:
    many = {"args": {"l": list(range(2000))}}
    program = compiled(VOCABULARY, "args.l.all(x, args.l.all(y, x + y >= 0))")
    assert ask(program, environment(VOCABULARY).Activation(many))[0] is Answer.ERROR


def test_this_machine_has_zone_data() -> None:
    assert zone_data()


@pytest.mark.parametrize("value", [float("nan"), "\ud800", 2**70, object()])
def test_what_the_engine_can_not_hold_is_an_error_and_no_crash(value: Any) -> None:
    program = compiled(VOCABULARY, "args.x == 1 || !(args.x == 1)")
    try:
        activation = environment(VOCABULARY).Activation({"args": {"x": value}})
    except (RuntimeError, TypeError, ValueError, OverflowError):
        return
    assert ask(program, activation)[0] in (Answer.ERROR, Answer.YES)

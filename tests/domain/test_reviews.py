"""Whether the answers so far meet what the rules demand."""

from collections.abc import Mapping
from datetime import UTC, datetime
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.domain.decisions import Requirement, RuleApproval
from broker.domain.reviews import Progress, Review, Verdict, assign, met, progress

NOON = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)


def votes(people: Mapping[str, tuple[str, ...]]) -> list[Review]:
    return [Review(who, Verdict.APPROVE, NOON, "d", "web", groups) for who, groups in people.items()]


def asks(*rules: tuple[tuple[str, int], ...]) -> tuple[RuleApproval, ...]:
    return tuple(RuleApproval(f"r{index}", tuple(Requirement(*need) for need in rule)) for index, rule in enumerate(rules))


CASES = [
    ("nobody", asks((("f", 1),)), {}, (), False),
    ("one of one", asks((("f", 1),)), {"a": ("f",)}, (), True),
    ("one of two", asks((("f", 2),)), {"a": ("f",)}, (), False),
    ("the wrong group", asks((("f", 1),)), {"a": ("g",)}, (), False),
    ("one person, two slots of one rule", asks((("f", 1), ("g", 1))), {"a": ("f", "g")}, (), False),
    ("two people, two slots", asks((("f", 1), ("g", 1))), {"a": ("f", "g"), "b": ("f",)}, (), True),
    ("one person, one slot in each of two rules", asks((("f", 1),), (("g", 1),)), {"a": ("f", "g")}, (), True),
    ("an escalation group fills any slot", asks((("f", 1), ("g", 1))), {"a": ("m",), "b": ("g",)}, ("m",), True),
    ("an escalation never sinks the count", asks((("f", 2),)), {"a": ("m", "f")}, ("m",), False),
    (
        "the greedy choice is mended",
        asks((("f", 1), ("g", 1), ("h", 1))),
        {"a": ("f", "g", "h"), "b": ("f",), "c": ("g",)},
        (),
        True,
    ),
]


@pytest.mark.parametrize(("name", "rules", "people", "wild", "enough"), CASES, ids=[case[0] for case in CASES])
def test_what_is_enough(
    name: str, rules: tuple[RuleApproval, ...], people: dict[str, tuple[str, ...]], wild: tuple[str, ...], enough: bool
) -> None:
    for order in permutations(votes(people)):
        assert met(rules, order, frozenset(wild)) is enough


def test_progress_says_how_far_each_requirement_is() -> None:
    rules = asks((("f", 2), ("g", 1)), (("f", 1),))
    assert progress(rules, votes({"a": ("f", "g"), "b": ("f",)})) == (
        Progress("r0", Requirement("f", 2), 2),
        Progress("r0", Requirement("g", 1), 0),
        Progress("r1", Requirement("f", 1), 1),
    )


def test_no_answer_meets_no_requirement_and_no_requirement_is_met_by_any() -> None:
    assert met((), ())
    assert progress((), votes({"a": ("f",)})) == ()


def best(candidates: list[list[str]]) -> int:
    """The size of a largest assignment, by trying all."""
    if not candidates:
        return 0
    first, rest = candidates[0], candidates[1:]
    without = best(rest)
    return max([without, *(1 + best([[who for who in slot if who != taken] for slot in rest]) for taken in first)])


@given(st.lists(st.lists(st.sampled_from("abcd"), unique=True), max_size=5))
def test_the_assignment_fills_as_many_slots_as_any_could(candidates: list[list[str]]) -> None:
    filled = assign(candidates)
    assert len(filled) == best(candidates)
    assert len(set(filled.values())) == len(filled)
    assert all(person in candidates[slot] for slot, person in filled.items())

from __future__ import annotations

import pytest

from broker.insights.feedback import CHOICES, Opinion, Said, opinions, words


def said(minutes: int, estimate: float = 6.0, tool: str = "refund_get") -> Said:
    return Said("payments", tool, estimate, minutes)


@pytest.mark.parametrize(
    ("counts", "median", "answers"),
    [
        ([{said(15): 1}], 15, 1),
        ([{said(0): 1, said(5): 1, said(15): 1, said(30): 1, said(240): 1}], 15, 5),
        ([{said(0): 1, said(15): 1}], 8, 2),  # between the two in the middle, in whole minutes
        ([{said(60): 5, said(0): 4}], 60, 9),
        ([{said(5): 1}, {said(60): 2}], 60, 3),  # of two months
        ([{said(5, 6.0): 2, said(60, 20.0): 1}], 5, 3),  # the owner changed the estimate: people's minutes stay
    ],
)
def test_an_opinion_is_the_median_of_all_that_was_said_of_a_tool(
    counts: list[dict[Said, int]], median: int, answers: int
) -> None:  # fmt: skip
    assert opinions(counts) == {("payments", "refund_get"): Opinion("payments", "refund_get", median, answers)}


def test_tools_do_not_share_opinions_and_what_nobody_says_any_more_is_none() -> None:
    found = opinions([{said(5): 1, said(30, tool="refund_create"): 1, said(60, tool="void"): 0}])
    assert {tool: one.minutes for (_, tool), one in found.items()} == {"refund_get": 5, "refund_create": 30}


def test_choices_are_in_words() -> None:
    assert [words(minutes) for minutes in CHOICES] == ["It did not help", "5 min", "15 min", "30 min", "1 hour", "4 hours"]

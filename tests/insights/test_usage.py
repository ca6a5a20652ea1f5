from __future__ import annotations

from datetime import date

from broker.insights.feedback import Said
from broker.insights.usage import Count, Estimate, ServerUse, Spot, Usage, usage

FIRST, SECOND = date(2026, 11, 1), date(2026, 11, 2)


def test_a_month_is_the_sum_of_its_spots_and_of_distinct_people() -> None:
    counts = {
        Spot(FIRST, "payments", "refund_get", 3.0): Count(10, 2),
        Spot(SECOND, "payments", "refund_get", 5.0): Count(4, 0),  # the owner changed the minutes in between
        Spot(SECOND, "payments", "refund_create", 6.0): Count(1, 0),
        Spot(SECOND, "files", "read"): Count(100, 0),
    }
    people = [("payments", "ann"), ("payments", "bo"), ("files", "ann")]
    assert usage("2026-11", counts, people) == Usage(
        "2026-11",
        calls=117,
        failed=2,
        people=2,
        servers=(ServerUse("files", 100, 0, 1, 1, 0.0), ServerUse("payments", 17, 2, 2, 2, 56.0)),
        days=((FIRST, 12), (SECOND, 105)),
        estimates=(
            Estimate("payments", "refund_get", 16, 3.57),  # the mean of 10 calls at 3 minutes and 4 at 5
            Estimate("payments", "refund_create", 1, 6.0),
        ),
    )


def test_hours_are_rounded_and_only_what_succeeded_saved_any() -> None:
    found = usage("2026-11", {Spot(FIRST, "payments", "refund_get", 10.0): Count(9, 1_000)}, [])
    assert (found.minutes, found.hours) == (90.0, 2)


def test_a_month_without_calls_is_all_zero() -> None:
    found = usage("2026-10", {}, [])
    assert (found.calls, found.people, found.hours, found.servers, found.days) == (0, 0, 0, (), ())


def test_what_people_say_stands_beside_the_owners_minutes_and_changes_nothing_that_is_saved() -> None:
    counts = {Spot(FIRST, "payments", "refund_get", 10.0): Count(9, 1_000)}
    said = {Said("payments", "refund_get", 10.0, 240): 2, Said("files", "read", 0.0, 5): 1}
    found = usage("2026-11", counts, [], said)
    assert found.minutes == 90.0
    assert found.estimates == (
        Estimate("payments", "refund_get", 1_009, 10.0, 240, 2), Estimate("files", "read", 0, 0.0, 5, 1),
    )  # fmt: skip

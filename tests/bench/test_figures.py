from __future__ import annotations

from broker.bench.clicking import Clicked
from broker.bench.decisions import DecisionCost
from broker.bench.figures import Figure, figures
from broker.bench.load import Cell
from broker.bench.opening import Opened
from broker.bench.pages import Cost
from broker.bench.parking import Parked
from broker.bench.suite import Results
from broker.bench.waking import Woken
from broker.bench.watching import Watched
from broker.bench.web import Size, Web


def cell(target: str, connections: int, rate: float, p50: float) -> Cell:
    return Cell(target, connections, calls=1, rate=rate, p50=p50, p99=p50, cpu=1, errors=0)


def parked(count: int, answered: int, kib: float = 24.0) -> Parked:
    return Parked(count, count, answered, 1.0, kib, 4.0, 1.0, 1.0, 1.0, 1.0)


def test_a_run_that_measured_nothing_keeps_and_breaks_nothing() -> None:
    told = figures(Results("here"))
    assert len(told) == 16
    assert {(one.measured, one.met) for one in told} == {("-", None)}


def test_every_figure_is_held_against_its_bound_and_calls_against_the_best_peer() -> None:
    results = Results(
        "here", ready=2.5, stall=19.0, policy=[DecisionCost(100, 1.0, 0.1, 0.29), DecisionCost(1_000, 1.0, 0.1, 1.0)],
        sessions=[
            cell("direct", 1, 1, 0.1), cell("broker", 1, 1, 0.6), cell("quick", 1, 1, 1.7), cell("slow", 1, 1, 9.1),
            cell("direct", 16, 9_000, 1), cell("broker", 16, 800, 1), cell("quick", 16, 90, 1), cell("slow", 16, 100, 1),
        ],
        opened=[Opened("broker", 5_000, 4_999, 1.0, 1.0, 1.0)], parked=[parked(1_000, 1_000, 30.0), parked(10_000, 10_000)],
        woken=[Woken(1_000, 9.0, 9.0, 9.0, 99.0, 1.0), Woken(10_000, 1.0, 1.0, 1.9, 10.0, 1.0)],
        web=Web(
            Size(), [Cost("/", 9.0, 99.0, 9.0, 60.0), Cost("/history", 9.0, 101.0, 9.0, 30.0)],
            Watched(500, 30, 100.0, 400.0, 1_200.0, 0.4), Clicked(30, 60.0, 150.0, 8, 1.0),
        ),
    )  # fmt: skip
    assert figures(results) == [
        Figure("allowed call, added p50 (100 rules, audited)", "0.50 ms", "<= 0.60 ms", True),
        Figure("the same, of the best peer's", "0.31", "< 0.33", True),
        Figure("calls/s at 16 connections, of the best peer's", "8.0 x", ">= 8 x", True),
        Figure("calls parked at once, all answered", "10,000 of 10,000", "10,000", True),
        Figure("calls open upstream at once, all answered", "4,999 of 5,000", "5,000", False),
        Figure("review to woken at 10,000 parked, p50", "1.90 ms", "< 2.00 ms", True),
        Figure("the same, p99", "10.0 ms", "< 10.0 ms", False),
        Figure("memory of a parked call, its connection included", "24.0 KiB", "<= 25.0 KiB", True),
        Figure("policy decision, 100 rules, p99", "0.29 ms", "< 0.30 ms", True),
        Figure("policy decision, 1,000 rules, p99", "1.00 ms", "< 1.00 ms", False),
        Figure("ready from a cold start, embedded store included", "2.50 s", "< 2.00 s", False),
        Figure("reload of 1,000 rules, longest stall of the loop", "19.0 ms", "< 20.0 ms", True),
        Figure("pages with 5,000 waiting and 1,000,000 in the history, the slowest's p95", "101.0 ms", "< 100.0 ms", False),
        Figure("a decision reaches 500 watchers", "400.0 ms", "< 1000.0 ms", True),
        Figure("from SIGTERM to the end, their streams open", "0.40 s", "< 5.00 s", True),
        Figure("from a click to the row in another tab, median", "60.0 ms", "< 100.0 ms", True),
    ]


def test_the_web_with_less_than_promised_is_not_judged() -> None:
    small = Web(
        Size(10, 10, 10), [Cost("/", 9.0, 99.0, 9.0, 60.0)], Watched(10, 1, 1.0, 1.0, 1.0, 9.0), Clicked(0, 0.0, 0.0, missing="x")
    )
    assert {one.met for one in figures(Results("here", web=small))} == {None}


def test_fewer_calls_than_promised_prove_nothing_unless_one_was_lost() -> None:
    few = figures(Results("here", parked=[parked(20, 20)]))
    lost = figures(Results("here", parked=[parked(20, 19)]))
    assert [(told[3].measured, told[3].met) for told in (few, lost)] == [("20 of 20", None), ("19 of 20", False)]

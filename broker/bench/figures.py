"""What was measured against what the broker promises: one row a figure, and whether this run keeps it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from broker.bench.load import Cell
from broker.bench.suite import Results
from broker.bench.web import Size

ADDED = 0.6
OF_THE_BEST_PEER = 1 / 3
TIMES_THE_BEST_PEER = 8.0
PARKED = 10_000
OPEN = 5_000
WOKEN_P50, WOKEN_P99 = 2.0, 10.0
KIB = 25.0
DECIDED = {100: 0.3, 1_000: 1.0}
READY = 2.0
STALL = 20.0
PAGE, HEARD, CLICKED, STOPPED = 100.0, 1_000.0, 100.0, 5.0
OURS = frozenset(("direct", "plain forwarding", "broker"))


class Figure(msgspec.Struct, frozen=True):
    """`met` is None where this run did not measure it, or not under the conditions that it is promised for."""

    figure: str
    measured: str
    must_reach: str
    met: bool | None


def figures(results: Results) -> list[Figure]:
    """Return every figure of the promise, measured or not."""
    passing = (*_calls(results), *_many(results), *_woken(results), *_memory(results))
    return [*passing, *_decided(results), *_ready(results), *_web(results)]


def _calls(results: Results) -> Iterator[Figure]:
    cells = results.sessions or results.calls
    added = _added(cells, "broker")
    yield _figure("allowed call, added p50 (100 rules, audited)", added, ADDED, "ms", "<=")
    best = min((found for name in _peers(cells) if (found := _added(cells, name)) is not None), default=None)
    share = added / best if added is not None and best else None
    yield _figure("the same, of the best peer's", share, OF_THE_BEST_PEER, "", "<")
    ours, others = _rate(cells, "broker"), [_rate(cells, name) for name in _peers(cells)]
    times = ours / max(others) if ours and others and max(others) else None
    met = times >= TIMES_THE_BEST_PEER if times is not None else None
    shown = f"{times:.1f} x" if times is not None else "-"
    yield Figure("calls/s at 16 connections, of the best peer's", shown, f">= {TIMES_THE_BEST_PEER:.0f} x", met)


def _many(results: Results) -> Iterator[Figure]:
    parked = max(results.parked, key=lambda one: one.count, default=None)
    yield _answered("calls parked at once, all answered", (parked.count, parked.answered) if parked else None, PARKED)
    opened = next((one for one in results.opened if one.target == "broker"), None)
    yield _answered("calls open upstream at once, all answered", (opened.count, opened.answered) if opened else None, OPEN)


def _woken(results: Results) -> Iterator[Figure]:
    woken = next((one for one in results.woken if one.waiting >= PARKED), None)
    yield _figure(f"review to woken at {PARKED:,} parked, p50", woken.woken_p50 if woken else None, WOKEN_P50, "ms", "<")
    yield _figure("the same, p99", woken.woken_p99 if woken else None, WOKEN_P99, "ms", "<")


def _memory(results: Results) -> Iterator[Figure]:
    parked = next((one for one in results.parked if one.count >= PARKED and not one.error), None)
    yield _figure("memory of a parked call, its connection included", parked.broker_kib if parked else None, KIB, "KiB", "<=")


def _decided(results: Results) -> Iterator[Figure]:
    for rules, bound in DECIDED.items():
        cost = next((one for one in results.policy if one.rules == rules), None)
        yield _figure(f"policy decision, {rules:,} rules, p99", cost.p99 if cost else None, bound, "ms", "<")


def _ready(results: Results) -> Iterator[Figure]:
    yield _figure("ready from a cold start, embedded store included", results.ready or None, READY, "s", "<")
    yield _figure("reload of 1,000 rules, longest stall of the loop", results.stall or None, STALL, "ms", "<")


def _web(results: Results) -> Iterator[Figure]:
    """Where less was there than is promised for, a figure is told and not judged."""
    web, promised = results.web, Size()
    full = web is not None and web.size.pending >= promised.pending and web.size.history >= promised.history
    slowest = max((cost.p95 for cost in web.pages), default=None) if web and full else None
    name = f"pages with {promised.pending:,} waiting and {promised.history:,} in the history, the slowest's p95"
    yield _figure(name, slowest, PAGE, "ms", "<")
    watched = web.watched if web and web.size.watchers >= promised.watchers else None
    yield _figure(f"a decision reaches {promised.watchers} watchers", watched.all_median if watched else None, HEARD, "ms", "<")
    yield _figure("from SIGTERM to the end, their streams open", watched.stopping if watched else None, STOPPED, "s", "<")
    clicked = web.clicked.p50 if web and web.clicked.clicks else None
    yield _figure("from a click to the row in another tab, median", clicked, CLICKED, "ms", "<")


def _figure(name: str, measured: float | None, bound: float, unit: str, sign: str) -> Figure:
    met = None if measured is None else measured <= bound if sign == "<=" else measured < bound
    return Figure(name, "-" if measured is None else _worded(measured, unit), f"{sign} {_worded(bound, unit)}", met)


def _answered(name: str, counted: tuple[int, int] | None, wanted: int) -> Figure:
    if counted is None:
        return Figure(name, "-", f"{wanted:,}", None)
    count, answered = counted
    met = None if count < wanted and answered == count else answered == count
    return Figure(name, f"{answered:,} of {count:,}", f"{wanted:,}", met)


def _worded(value: float, unit: str) -> str:
    return f"{value:.2f} {unit}".rstrip() if value < 10 else f"{value:.1f} {unit}".rstrip()


def _peers(cells: Sequence[Cell]) -> set[str]:
    return {cell.target for cell in cells} - OURS


def _added(cells: Sequence[Cell], target: str) -> float | None:
    """What a target adds to a direct call at one connection, in ms; None where it answered none."""
    found = {cell.target: cell for cell in cells if cell.connections == 1 and cell.calls}
    return found[target].p50 - found["direct"].p50 if target in found and "direct" in found else None


def _rate(cells: Sequence[Cell], target: str) -> float:
    return next((cell.rate for cell in cells if cell.target == target and cell.connections == 16), 0.0)

"""Charts as numbers for an SVG: the template only writes them down. Each has a table of the same data beside it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta

import msgspec

from broker.insights.figures import Day

WIDTH, HEIGHT, TOP = 720, 180, 12
KINDS = ("approved", "rejected", "expired")


class Bar(msgspec.Struct, frozen=True):
    """One piece of a column, in the chart's units."""

    kind: str
    x: float
    y: float
    width: float
    height: float


class Column(msgspec.Struct, frozen=True):
    day: date
    bars: tuple[Bar, ...]
    counts: tuple[tuple[str, int], ...]
    middle: float


class Chart(msgspec.Struct, frozen=True):
    """Columns stacked by outcome, over the days up to the last. `top` is what the highest line stands for."""

    columns: tuple[Column, ...]
    top: int
    width: int = WIDTH
    height: int = HEIGHT


def by_day(days: Sequence[Day], last: date, count: int = 30) -> Chart:
    """Return the chart of the `count` days up to `last`; days without anything are there, empty."""
    known = {day.day: day for day in days}
    shown = [known.get(when, Day(when)) for when in (last - timedelta(days=back) for back in range(count - 1, -1, -1))]
    top = _round_up(max((sum(getattr(day, kind) for kind in KINDS) for day in shown), default=0))
    step = WIDTH / count
    return Chart(tuple(_column(day, index * step, step, top) for index, day in enumerate(shown)), top)


def _column(day: Day, x: float, step: float, top: int) -> Column:
    y, bars = float(HEIGHT), []
    for kind in KINDS:
        tall = getattr(day, kind) / top * (HEIGHT - TOP)
        y -= tall
        if tall:
            bars.append(Bar(kind, round(x + step * 0.15, 1), round(y, 1), round(step * 0.7, 1), round(tall, 1)))
    return Column(day.day, tuple(bars), tuple((kind, getattr(day, kind)) for kind in KINDS), round(x + step / 2, 1))


def _round_up(value: int) -> int:
    """The next number that people like to read on an axis."""
    scale = 1
    while True:
        for nice in (1, 2, 5):
            if value <= nice * scale:
                return nice * scale
        scale *= 10

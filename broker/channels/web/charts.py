"""Charts as numbers for an SVG: the template only writes them down. Each has a table of the same data beside it.

Bars that lie are in percent of the width and in pixels of the height, so that their words keep their size on a phone.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta

import msgspec

from broker.insights.figures import Day
from broker.insights.usage import Usage
from broker.policy.replay import KINDS as CHANGES
from broker.policy.replay import Replay

WIDTH, HEIGHT, TOP = 720, 180, 12
GUTTER = 7
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

    @property
    def lines(self) -> tuple[tuple[int, float], ...]:
        """What each line stands for, and where it is: the top, the middle where it is a whole number, the ground."""
        middle = () if self.top % 2 else ((self.top // 2, (TOP + HEIGHT) / 2),)
        return ((self.top, float(TOP)), *middle, (0, float(HEIGHT)))

    def at(self, x: float) -> float:
        """Return a place in percent of the whole, whose left end belongs to the words of the lines."""
        return round(GUTTER + self.share(x), 2)

    def share(self, width: float) -> float:
        """Return a width in percent of the whole."""
        return round((100 - GUTTER) * width / self.width, 2)


def by_day(days: Sequence[Day], last: date, count: int = 30) -> Chart:
    """Return the chart of the `count` days up to `last`; days without anything are there, empty."""
    known = {day.day: day for day in days}
    shown = [known.get(when, Day(when)) for when in (last - timedelta(days=back) for back in range(count - 1, -1, -1))]
    top = _round_up(max((sum(getattr(day, kind) for kind in KINDS) for day in shown), default=0))
    step = WIDTH / count
    return Chart(tuple(_column(day, index * step, step, top) for index, day in enumerate(shown)), top)


def of_month(use: Usage) -> Chart:
    """Return the calls of one month by day; days without anything are there, empty."""
    known, day = dict(use.days), date(int(use.month[:4]), int(use.month[5:]), 1)
    days = [when for when in (day + timedelta(days=ahead) for ahead in range(31)) if when.month == day.month]
    top, step, tall = _round_up(max(known.values(), default=0)), WIDTH / len(days), HEIGHT - TOP
    columns = []
    for index, when in enumerate(days):
        count, x = known.get(when, 0), index * step
        high = count / top * tall
        bars = (Bar("calls", round(x + step * 0.15, 1), round(HEIGHT - high, 1), round(step * 0.7, 1), round(high, 1)),)
        columns.append(Column(when, bars if count else (), (("calls", count),), round(x + step / 2, 1)))
    return Chart(tuple(columns), top)


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
        for nice in (1, 2, 4, 6, 8):
            if value <= nice * scale:
                return nice * scale
        scale *= 10


class Lying(msgspec.Struct, frozen=True):
    """One lying bar: `x` and `width` in percent of the chart, `y` in pixels. `of` names its row."""

    of: str
    kind: str
    value: float
    y: int
    x: float
    width: float


class Bars(msgspec.Struct, frozen=True):
    """Lying bars, `height` pixels in all. Each row has its words `ROW` pixels above the next."""

    bars: tuple[Lying, ...]
    height: int


ROW, THICK = 44, 14
EFFECTS = ("allow", "require_approval", "deny")


def effects(report: Replay) -> Bars:
    """All calls by what becomes of them, before and after: two bars in three pieces."""
    before = {effect: sum(report.matrix.get(effect, {}).values()) for effect in EFFECTS}
    after = {effect: sum(row.get(effect, 0) for row in report.matrix.values()) for effect in EFFECTS}
    found: list[Lying] = []
    for index, (of, counts) in enumerate((("before", before), ("after", after))):
        x = 0.0
        for effect in EFFECTS:
            width = 100 * counts[effect] / max(report.calls, 1)
            found.append(Lying(of, effect, counts[effect], index * ROW, round(x, 2), round(width, 2)))
            x += width
    return Bars(tuple(found), 2 * ROW)


def changes(report: Replay) -> Bars:
    """How many calls change, one bar for each way, what a person rejected and would now pass first."""
    counts = [(kind, report.changes[kind].count) for kind in CHANGES if kind in report.changes]
    top = max((count for _, count in counts), default=1)
    bars = [Lying(kind, kind, count, index * ROW, 0, round(100 * count / top, 2)) for index, (kind, count) in enumerate(counts)]
    return Bars(tuple(bars), len(bars) * ROW)


def asks(report: Replay) -> Bars:
    """What each group is asked a day, before and after: two bars a group."""
    top = max((max(load.asks_a_day_before, load.asks_a_day_after) for load in report.people.values()), default=0) or 1
    found: list[Lying] = []
    for index, (group, load) in enumerate(report.people.items()):
        for at, (kind, value) in enumerate((("before", load.asks_a_day_before), ("after", load.asks_a_day_after))):
            y = index * (ROW + THICK + 2) + at * (THICK + 2)
            found.append(Lying(group, kind, value, y, 0, round(100 * value / top, 2)))
    return Bars(tuple(found), len(report.people) * (ROW + THICK + 2))

"""Times as people say them."""

from __future__ import annotations

from datetime import date, datetime, timedelta

_STEPS = ((86_400, "day", "days"), (3_600, "h", "h"), (60, "min", "min"), (1, "s", "s"))


def spell(span: timedelta) -> str:
    """Return a span in its two largest units at most: `40 s`, `12 min`, `1 h 5 min`, `3 days`. Never negative."""
    seconds = max(0, int(span.total_seconds()))
    for index, (size, one, many) in enumerate(_STEPS):
        if seconds >= size:
            count, rest = divmod(seconds, size)
            text = f"{count} {one if count == 1 else many}"
            if index in (0, 1) and count < 3 and (smaller := rest // _STEPS[index + 1][0]):
                text += f" {smaller} {_STEPS[index + 1][2]}"
            return text
    return "0 s"


def ago(then: datetime, now: datetime) -> str:
    """Return `just now`, or `3 min ago`."""
    span = now - then
    return "just now" if span < timedelta(seconds=2) else f"{spell(span)} ago"


def left(until: datetime, now: datetime) -> str:
    """Return `12 min left`, or `time is over`."""
    return "time is over" if until <= now else f"{spell(until - now)} left"


def month(name: str) -> str:
    """Return `November 2026` for `2026-11`."""
    return date(int(name[:4]), int(name[5:]), 1).strftime("%B %Y")


def stamp(at: datetime) -> str:
    """Return a time to the second, in UTC: what is written down reads the same for everybody."""
    return at.strftime("%Y-%m-%d %H:%M:%S UTC")

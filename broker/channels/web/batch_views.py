"""What the page of a batch shows, as plain data: what is the same in all rows once, what differs as columns. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from broker.channels.web.arguments import Piece, pieces
from broker.channels.web.views import RequestView

Cell = tuple[Piece, ...]


class BatchRow(msgspec.Struct, frozen=True):
    """One request. `cells` stand in the order of the columns; `barred` says why it can't be decided here, empty where it can.

    `ticked` is the verdict that its radio buttons begin with.
    """

    view: RequestView
    cells: tuple[Cell, ...]
    barred: str
    ticked: str = ""


class BatchView(msgspec.Struct, frozen=True):
    """All rows. `same` is what they have in common, `more` how many are not on this page."""

    rows: tuple[BatchRow, ...]
    same: tuple[tuple[str, Cell], ...]
    columns: tuple[str, ...]
    label: Cell
    more: int

    @property
    def until(self) -> int:
        """When the last of them came, in microseconds."""
        return max((int(row.view.request.opened_at.timestamp() * 1e6) for row in self.rows), default=0)

    @property
    def open(self) -> int:
        return sum(not row.barred for row in self.rows)


class Result(msgspec.Struct, frozen=True):
    """What became of one item of a submission, in words. `tone`: good, bad or odd."""

    request: str
    title: Cell
    words: str
    tone: str


def batch_view(
    views: Sequence[RequestView], barred: Sequence[str], ticked: Mapping[str, str], *, label: Cell, more: int
) -> BatchView:
    """Put the rows together; `barred` goes with `views`, `ticked` is by id."""
    facts = [_facts(view) for view in views]
    names = tuple(dict.fromkeys(name for fact in facts for name in fact))
    columns = tuple(name for name in names if len({fact.get(name, ()) for fact in facts}) > 1)
    rows = tuple(
        BatchRow(
            view,
            tuple(fact.get(name, ()) for name in columns),
            why,
            "" if why else ticked.get(view.request.id, ticked.get("", "")),
        )
        for view, fact, why in zip(views, facts, barred, strict=True)
    )
    same = tuple((name, facts[0][name]) for name in names if name not in columns) if facts else ()
    return BatchView(rows, same, columns, label, more)


def _facts(view: RequestView) -> dict[str, Cell]:
    """Every deciding value of a request, by its name on the page."""
    call = view.request.call
    return {
        "calls": pieces(f"{call.server} → {call.tool}"),
        "severity": pieces(view.request.plan.severity.value),
        **({"agent says, unverified": view.stated} if view.stated else {}),
        **dict(view.fields),
    }

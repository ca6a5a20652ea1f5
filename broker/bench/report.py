"""The results as tables. Ratios first: machines differ, what was measured in one run can be compared."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from broker.bench.figures import figures
from broker.bench.load import Cell
from broker.bench.suite import BARE, Results


def report(results: Results) -> str:
    """Return everything that was measured as plain text."""
    parts = [f"approval broker {results.version}, {results.machine}"]
    if results.policy:
        rows = [[f"{one.rules:,}", ms(one.p50), ms(one.p99), ms(one.load)] for one in results.policy]
        parts.append(table("policy: one decision, 2 KB of arguments", ["rules", "p50", "p99", "load"], rows))
    for title, cells in (("calls, stateless (2026-07-28)", results.calls), ("calls in sessions (2025-06-18)", results.sessions)):
        if cells:
            parts.append(table(title, CALL_COLUMNS, list(call_rows(cells))))
    if results.proofs:
        parts.append(
            table("the same allowed call, with tokens and seals and without", PROOF_COLUMNS, list(_proofs(results.proofs)))
        )
    if results.ready:
        parts.append(f"the broker was ready {results.ready:.2f} s after its start, embedded store included")
    if results.stall:
        parts.append(f"a reload of 1,000 rules kept everybody waiting for {ms(results.stall)} at most")
    parts += [part(results) for part in (_opened, _woken, _parked, _web, _promised)]
    return "\n\n".join(part for part in parts if part)


def _opened(results: Results) -> str:
    rows = [
        [one.target, f"{one.count:,}", f"{one.answered:,}", f"{one.p50:.2f} s", f"{one.took:.2f} s", f"{one.kib:.1f}", one.error]
        for one in results.opened
    ]
    columns = ["target", "open", "answered", "p50", "all done", "KiB each", "error"]
    return table("calls open at once at a slow upstream", columns, rows) if rows else ""


def _woken(results: Results) -> str:
    rows = [
        [f"{one.waiting:,}", ms(one.committed_p50), ms(one.woken_p50), ms(one.woken_p99), f"{one.opened_per_second:,.0f}"]
        for one in results.woken
    ]
    columns = ["waiting", "review p50", "to woken p50", "p99", "opened/s"]
    return table("a review wakes a waiter, in one process", columns, rows) if rows else ""


def _parked(results: Results) -> str:
    rows = [
        [
            f"{one.count:,}", f"{one.answered:,}", ms(one.to_last_byte_p50), ms(one.to_last_byte_p99), ms(one.post_p50),
            f"{one.broker_kib:.1f}", f"{one.store_kib:.1f}", f"{one.parking:.1f}", f"{one.draining:.1f}",
            str(one.refused), ms(one.beside_p99), ratio(one.beside_p99, one.alone_p99), one.error,
        ]
        for one in results.parked
    ]  # fmt: skip
    columns = [
        "parked", "answered", "POST to last byte p50", "p99", "POST p50", "KiB each", "in store", "parking s", "draining s",
        "refused", "100 allowed/s p99", "of alone", "error",
    ]  # fmt: skip
    return table("parked calls, each on its own connection", columns, rows) if rows else ""


def _promised(results: Results) -> str:
    words = {True: "yes", False: "no", None: "not measured"}
    rows = [[one.figure, one.measured, one.must_reach, words[one.met]] for one in figures(results)]
    return table("what the broker promises", ["figure", "measured", "must reach", "met"], rows)


def _web(results: Results) -> str:
    if (web := results.web) is None:
        return ""
    rows = [[cost.path, ms(cost.p50), ms(cost.p95), ms(cost.cpu), f"{cost.kib:.0f}"] for cost in web.pages]
    title = f"pages with {web.size.pending:,} requests waiting and {web.size.history:,} in the history"
    seen, clicked = web.watched, web.clicked
    told = [
        f"{seen.watchers:,} watchers: a decision reached half of them in {ms(seen.half_median)}, all in {ms(seen.all_median)} "
        f"(median of {seen.decisions}; the slowest {ms(seen.all_worst)})",
        f"the broker ended {seen.stopping:.2f} s after SIGTERM, with all their streams open",
        f"click to changed row in another tab: {clicked.missing}" if clicked.missing else
        f"click to changed row in another tab: p50 {ms(clicked.p50)}, p95 {ms(clicked.p95)} of {clicked.clicks}; "
        f"{clicked.tabs} tabs of one browser showed a new request within {clicked.tabs_took:.2f} s",
    ]  # fmt: skip
    return "\n".join([table(title, ["page", "p50", "p95", "CPU each", "KiB"], rows), *told])


CALL_COLUMNS = ["target", "connections", "calls/s", "of direct", "p50", "added p50", "p99", "CPU us/call", "errors"]


def call_rows(cells: Sequence[Cell]) -> Iterable[list[str]]:
    """Yield a row a cell, in the order of connections; `added` and `of direct` are against the direct cell beside it."""
    direct = {cell.connections: cell for cell in cells if cell.target == "direct"}
    for connections in sorted({cell.connections for cell in cells}):
        base = direct[connections]
        for cell in (cell for cell in cells if cell.connections == connections):
            yield [
                cell.target, str(connections), f"{cell.rate:,.0f}", ratio(cell.rate, base.rate), ms(cell.p50),
                ms(cell.p50 - base.p50), ms(cell.p99), f"{cell.cpu:,.0f}", f"{cell.errors} {cell.error}".strip(),
            ]  # fmt: skip


PROOF_COLUMNS = [
    "who calls, and the audit",
    "connections",
    "calls/s",
    "of the first",
    "p50",
    "of the first",
    "CPU us/call",
    "of the first",
]


def _proofs(cells: Sequence[Cell]) -> Iterable[list[str]]:
    bare = {cell.connections: cell for cell in cells if cell.target == BARE}
    for cell in sorted(cells, key=lambda cell: cell.connections):
        base = bare[cell.connections]
        yield [
            cell.target, str(cell.connections), f"{cell.rate:,.0f}", ratio(cell.rate, base.rate), ms(cell.p50),
            ratio(cell.p50, base.p50), f"{cell.cpu:,.0f}", ratio(cell.cpu, base.cpu),
        ]  # fmt: skip


def ratio(value: float, base: float) -> str:
    return f"{value / base:.3f}" if base else "-"


def ms(value: float) -> str:
    return f"{value:.2f} ms"


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    widths = [max(len(row[index]) for row in [columns, *rows]) for index in range(len(columns))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in [columns, *rows]]
    return "\n".join([title, "-" * len(lines[0]), *lines])

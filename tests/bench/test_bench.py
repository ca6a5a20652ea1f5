"""The bench measures what it says: real calls, all answered, nothing left behind."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from broker.bench.load import Cell, Tally, quantile
from broker.bench.report import call_rows
from broker.bench.rules import write_policy
from broker.bench.suite import PARTS
from broker.bench.web import PATHS
from broker.policy.load import load

linux = pytest.mark.skipif(sys.platform != "linux", reason="the bench reads /proc")


def bench(out: Path, *more: str) -> tuple[dict[str, Any], str]:
    """Run the bench; return its results, and what it printed."""
    command = [sys.executable, "-m", "broker", "bench", *more, "--json", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300, env=None)
    assert done.returncode == 0, done.stdout + done.stderr
    left = subprocess.run(["ps", "-eo", "args="], check=True, capture_output=True, text=True).stdout
    assert [line for line in left.splitlines() if "broker-bench-" in line and sys.prefix in line] == []
    return json.loads(out.read_text()), done.stdout


@linux
def test_a_short_bench_answers_every_call_and_leaves_no_process(tmp_path: Path) -> None:
    parts = [word for part in PARTS if part != "web" for word in ("--only", part)]
    short = ("--seconds", "0.1", "--rounds", "1", "--parked", "20", "--open", "20", "--slow", "0.3")
    results, said = bench(tmp_path / "out.json", *parts, *short)
    assert [cell["errors"] for cell in results["calls"]] == [0] * 9
    assert all(cell["calls"] > 0 for cell in (*results["calls"], *results["proofs"]))
    assert [cell["errors"] for cell in results["proofs"]] == [0] * 6
    assert [(parked["listed"], parked["answered"]) for parked in results["parked"]] == [(20, 20)]
    assert [(opened["target"], opened["answered"]) for opened in results["opened"]] == [("plain forwarding", 20), ("broker", 20)]
    assert all(parked["alone_p99"] > 0 and parked["beside_p99"] > 0 for parked in results["parked"])
    assert "added p50" in said and "POST to last byte" in said and "must reach" in said
    assert [one["met"] for one in results["figures"]].count(None) < len(results["figures"]) == 16


@linux
@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_short_bench_of_the_web_clicks_watches_and_stops(tmp_path: Path) -> None:
    short = ("--pending", "20", "--history", "200", "--watchers", "20")
    results, said = bench(tmp_path / "out.json", "--only", "web", *short)
    web = results["web"]
    assert [page["path"] for page in web["pages"]] == list(PATHS)
    assert (web["watched"]["watchers"], web["watched"]["decisions"]) == (20, 30)
    assert web["clicked"]["missing"] or (web["clicked"]["clicks"], web["clicked"]["tabs"]) == (30, 8)
    assert web["watched"]["stopping"] < 5  # a promise; the rest are figures
    assert "20 watchers: a decision reached half of them" in said


@linux
@pytest.mark.slow
def test_a_thousand_calls_that_wait_with_progress_hardly_slow_down_those_that_pass(tmp_path: Path) -> None:
    """The best of three runs counts: other work of the machine only adds."""
    ratios = []
    for number in range(3):
        out = tmp_path / f"{number}.json"
        results, _ = bench(out, "--only", "parked", "--parked", "1000", "--seconds", "6")
        [parked] = results["parked"]
        assert (parked["listed"], parked["answered"]) == (1_000, 1_000)
        ratios.append(parked["beside_p99"] / parked["alone_p99"])
        if ratios[-1] <= 3:
            return
    raise AssertionError(f"p99 beside 1,000 parked calls is {ratios} times that without")


@pytest.mark.parametrize("count", [100, 1_000])
def test_the_policy_of_the_bench_has_as_many_rules_as_it_says(tmp_path: Path, count: int) -> None:
    folder = write_policy(tmp_path / "policies", "http://127.0.0.1:1/mcp", count)
    load(folder)
    assert (folder / "rules.yaml").read_text().count("- {id: ") == count


def test_a_cell_counts_only_answered_calls() -> None:
    tally = Tally()
    tally.latencies, tally.seconds, tally.cpu, tally.errors = [0.003, 0.001, 0.002], 0.5, 0.0003, ["503 no"]
    cell = tally.cell("broker", 16)
    assert (cell.calls, cell.rate, cell.errors, cell.error) == (3, 6.0, 1, "503 no")
    assert (cell.p50, cell.p99, round(cell.cpu)) == (2.0, 3.0, 100)


def test_a_row_of_the_report_is_against_the_direct_cell_of_as_many_connections() -> None:
    def cell(target: str, connections: int, rate: float, p50: float) -> Cell:
        return Cell(target, connections, calls=1, rate=rate, p50=p50, p99=p50, cpu=1, errors=0)

    cells = [cell("direct", 1, 1000, 0.1), cell("direct", 16, 4000, 0.2), cell("broker", 16, 1000, 0.7)]
    assert list(call_rows(cells))[-1][:6] == ["broker", "16", "1,000", "0.250", "0.70 ms", "0.50 ms"]


def test_a_quantile_of_nothing_is_nought() -> None:
    assert (quantile([], 0.5), quantile([1.0], 0.99), quantile([1.0, 2.0, 3.0, 4.0], 0.5)) == (0.0, 1.0, 3.0)

"""`broker bench`: what a call costs, beside doing without the broker and beside other proxies."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

PARTS = ("policy", "calls", "open", "parked", "web")


def add(commands: argparse._SubParsersAction[Any]) -> None:
    parser = commands.add_parser("bench", help="measure what a call costs here, as ratios in one run")
    parser.add_argument("--only", action="append", choices=PARTS, help="only this part; may be given again")
    parser.add_argument("--peers", action="store_true", help="install other proxies from the package index and measure them too")
    parser.add_argument("--seconds", type=float, default=2.0, help="length of one round of one cell (default 2)")
    parser.add_argument("--rounds", type=int, default=3, help="rounds of each cell (default 3)")
    parser.add_argument("--parked", type=int, action="append", metavar="N", help="calls to park (default 1000 and 10000)")
    parser.add_argument("--open", type=int, default=5_000, metavar="N", help="calls open at once (default 5000)")
    parser.add_argument("--slow", type=float, default=5.0, metavar="S", help="how long each of them takes (default 5 s)")
    parser.add_argument("--pending", type=int, default=5_000, metavar="N", help="requests that wait while pages are asked for")
    parser.add_argument("--history", type=int, default=1_000_000, metavar="N", help="requests in the history (default 1000000)")
    parser.add_argument("--watchers", type=int, default=500, metavar="N", help="open streams of live updates (default 500)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results to FILE as well")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Measure and print. Raises `ConfigInvalid` when a process of the bench can't be started."""
    import msgspec  # noqa: PLC0415 - the command line starts fast

    from broker.bench.figures import figures  # noqa: PLC0415
    from broker.bench.report import report  # noqa: PLC0415
    from broker.bench.suite import Wanted, measure  # noqa: PLC0415
    from broker.bench.web import Size  # noqa: PLC0415

    if sys.platform != "linux":
        print("broker bench reads /proc: it runs on Linux", file=sys.stderr)
        return 2
    wanted = Wanted(
        parts=tuple(args.only or PARTS), peers=args.peers, seconds=args.seconds, rounds=args.rounds,
        parked=tuple(args.parked or (1_000, 10_000)), open=args.open, slow=args.slow,
        web=Size(pending=args.pending, history=args.history, watchers=args.watchers),
    )  # fmt: skip
    results = measure(wanted, lambda text: print(f"… {text}", file=sys.stderr, flush=True))
    print(report(results))
    if args.json:
        told = {**msgspec.structs.asdict(results), "figures": figures(results)}
        args.json.write_bytes(msgspec.json.format(msgspec.json.encode(told)) + b"\n")
    failed = [cell for cell in (*results.calls, *results.proofs, *results.sessions) if cell.errors]
    lost = any(one.answered < one.count for one in results.opened) or any(one.answered < one.count for one in results.parked)
    return 1 if failed or lost else 0

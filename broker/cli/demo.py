"""`broker demo`: everything on one machine, with toy servers."""

from __future__ import annotations

import argparse
from typing import Any


def add(commands: argparse._SubParsersAction[Any]) -> None:
    parser = commands.add_parser("demo", help="everything on one machine: store, three toy servers, an agent, the web page")
    parser.add_argument("--unattended", action="store_true", help="a second program decides; the end is checked")
    parser.add_argument("--port", type=int, default=0, help="port of the page; 0, the default, takes a free one")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Play until it ends, or until Ctrl-C. Raises `ConfigInvalid`, `StoreUnavailable`."""
    import asyncio  # noqa: PLC0415 - heavy imports wait until they are needed

    from broker.demo.play import until_signal  # noqa: PLC0415
    from broker.demo.telling import Telling  # noqa: PLC0415
    from broker.logs import configure  # noqa: PLC0415

    configure("warning")
    return asyncio.run(until_signal(unattended=args.unattended, port=args.port, telling=Telling()))

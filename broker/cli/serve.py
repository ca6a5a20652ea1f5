"""`broker serve`: the broker, until it is told to stop."""

from __future__ import annotations

import argparse
import gc
import os
import sys
from pathlib import Path


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser("serve", help="run the broker")
    parser.add_argument("--host", help="address to listen on")
    parser.add_argument("--port", type=int, help="port to listen on; 0 takes a free one")
    parser.add_argument("--policies", type=Path, help="folder of policy files")
    parser.add_argument("--data", type=Path, help="folder of the embedded store")
    parser.add_argument("--announce", type=Path, metavar="FILE", help="write the address to FILE once the broker is ready")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Serve until SIGINT or SIGTERM. Raises `ConfigInvalid`, `StoreUnavailable`."""
    gc.disable()  # nothing of a start is garbage; `serve` turns it on
    import structlog  # noqa: PLC0415 - heavy imports wait until they are needed

    from broker.logs import configure  # noqa: PLC0415
    from broker.running import serve  # noqa: PLC0415
    from broker.settings import load_settings, unknown_variables  # noqa: PLC0415

    named = {name: getattr(args, name) for name in ("host", "port", "policies", "data") if getattr(args, name) is not None}
    settings = load_settings(**named)
    configure(settings.log_level)
    if unknown := unknown_variables(os.environ):
        structlog.get_logger().warning("settings.unknown", variables=unknown, mend="broker doctor")

    def ready(url: str) -> None:
        print(f"approval broker is ready at {url}", file=sys.stderr, flush=True)
        if args.announce:
            fresh = args.announce.with_suffix(".new")
            fresh.write_text(url + "\n")
            fresh.replace(args.announce)

    return serve(settings, ready)

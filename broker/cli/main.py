"""The command line: finds the verb groups beside it, runs one, and says how it ended.

Exit status: 0 fine, 1 the answer is no, 2 it could not be done; 130 and 141 as shells tell of an interrupt and an unread pipe.
"""

from __future__ import annotations

import argparse
import importlib
import os
import pkgutil
import sys
from collections.abc import Sequence

import broker.cli
from broker import __version__
from broker.errors import BrokerError, PolicyInvalid
from broker.logs import configure


def parser() -> argparse.ArgumentParser:
    """Return the whole tree: every module of this folder that has an `add` brings its verbs."""
    tree = argparse.ArgumentParser(prog="broker", description="A human-in-the-loop approval broker for MCP.")
    tree.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = tree.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for module in sorted(pkgutil.iter_modules(broker.cli.__path__), key=lambda module: module.name):
        add = getattr(importlib.import_module(f"broker.cli.{module.name}"), "add", None)
        if add is not None:
            add(commands)
    return tree


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status."""
    args = parser().parse_args(argv)
    configure("warning")
    try:
        status: int = args.run(args)
        sys.stdout.flush()
    except (BrokerError, ExceptionGroup) as error:
        mistake = _alone(error)
        if not isinstance(mistake, BrokerError):
            raise
        told = mistake.problems if isinstance(mistake, PolicyInvalid) else [f"broker: {mistake.message} [{mistake.code}]"]
        print(*told, sep="\n", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        return _unread()
    return status


def _alone(error: Exception) -> Exception:
    """Return the one mistake in a group of tasks, and in a group in that: what ended a start half-way."""
    while isinstance(error, ExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error


def _unread() -> int:
    """Whoever read us (`head`, a pager) has enough: no trace is printed, nor one at the interpreter's own last flush."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 141  # as a shell tells of SIGPIPE

"""`broker wrap -- CMD…`: guards one stdio server, with a broker and its page in the same process, in one line."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from broker.errors import ConfigInvalid

if TYPE_CHECKING:
    from broker.app import Broker
    from broker.registry.ports import Listing
    from broker.settings import Settings

CLIENTS = ("claude-code", "vscode", "cursor")
AGENT = "wrap"


def add(commands: argparse._SubParsersAction[Any]) -> None:
    """Add `wrap`."""
    parser = commands.add_parser("wrap", help="guards one stdio server: broker and page in one line of a client's configuration")
    parser.add_argument("--name", default="", help="the server's name; made from the command if not given")
    parser.add_argument("--env", action="append", default=[], metavar="VARIABLE", help="pass this variable on to the server")
    parser.add_argument("--port", type=int, default=0, help="port of the page; 0, the default, takes a free one")
    parser.add_argument("--home", type=Path, metavar="FOLDER", help="where its rules and its store lie")
    parser.add_argument("--no-browser", action="store_true", help="do not open the page when a call waits")
    parser.add_argument("--print-config", choices=CLIENTS, help="print the entry for a client, and end")
    parser.add_argument("command", nargs=argparse.REMAINDER, metavar="-- CMD…", help="the command that starts the server")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Serve one client over this process's pipes until it closes them. Raises `ConfigInvalid`, `UpstreamUntouched`."""
    command = args.command[1:] if args.command[:1] == ["--"] else args.command
    if not command:
        raise ConfigInvalid("say which server to guard:  broker wrap -- npx -y some-server")
    from broker.cli.wrap_home import home_of, name_of  # noqa: PLC0415 - the command line starts fast

    name = args.name or name_of(command)
    if args.print_config:
        print(entry(args.print_config, name, args, command))
        return 0
    import anyio  # noqa: PLC0415

    from broker.logs import configure  # noqa: PLC0415

    configure("warning")
    root = Path(os.environ.get("BROKER_DATA", "~/.approval-broker")).expanduser()
    home = args.home or home_of(name, command, Path.cwd(), root)
    anyio.run(_guard, args, name, command, home)
    return 0


def entry(client: str, name: str, args: argparse.Namespace, command: list[str]) -> str:
    """Return what to paste into a client's configuration."""
    broker = shutil.which("broker")
    start = [broker] if broker else [sys.executable, "-m", "broker"]
    options = [word for variable in args.env for word in ("--env", variable)]
    options += ["--name", args.name] if args.name else []
    words = [*start[1:], "wrap", *options, "--", *command]
    match client:
        case "claude-code":
            return json.dumps({"mcpServers": {name: {"command": start[0], "args": words}}}, indent=2)
        case "vscode":
            return json.dumps({"servers": {name: {"type": "stdio", "command": start[0], "args": words}}}, indent=2)
        case _:
            return json.dumps({"mcpServers": {name: {"command": start[0], "args": words}}}, indent=2)


async def _guard(args: argparse.Namespace, name: str, command: list[str], home: Path) -> None:
    import anyio  # noqa: PLC0415

    from broker.cli.stdio import own_stdout, pumped  # noqa: PLC0415
    from broker.running import running  # noqa: PLC0415

    write = own_stdout()  # nothing but the protocol may go there, from the first line on
    listing = await _first(name, command, home, args.env)
    async with running(_settings(home, args.port)) as here:
        if listing is not None:
            await _accept(here.broker, listing)
        page, token = await _let_in(here.broker, here.url, name)
        print(f"approval broker guards {name}; decide at {page}\nits rules: {home / 'policies'}", file=sys.stderr, flush=True)
        async with anyio.create_task_group() as tasks:
            for number in (signal.SIGINT, signal.SIGTERM):
                asyncio.get_running_loop().add_signal_handler(number, tasks.cancel_scope.cancel)
            if not args.no_browser:
                tasks.start_soon(_show, here.broker, page)
            await pumped(f"{here.url}/mcp/{name}", token, write)
            tasks.cancel_scope.cancel()
        await here.broker.identity.agents.revoke(_agent())


async def _first(name: str, command: list[str], home: Path, env: list[str]) -> Listing | None:
    """Write the policy folder if there is none, from what the server says now; returns that, None where there was one."""
    from broker.cli.wrap_home import written  # noqa: PLC0415
    from broker.domain.servers import Server  # noqa: PLC0415
    from broker.probing import prober  # noqa: PLC0415

    policies = home / "policies"
    if policies.exists():
        return None
    server = Server(name=name, command=tuple(command), env={key: f"env:{key}" for key in env}, cwd=str(Path.cwd()))
    async with prober({name: server}.get) as asking:
        listing = await asking.probe(name)
    _write(policies, written(listing, command, Path.cwd(), env))
    return listing


def _write(folder: Path, files: dict[str, str]) -> None:
    """Make a folder whole or not at all: a half-written policy would be taken for its owner's."""
    folder.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    fresh = folder.with_suffix(f".{os.getpid()}")
    fresh.mkdir(exist_ok=True)
    for name, text in files.items():
        (fresh / name).write_text(text)
    try:
        fresh.replace(folder)
    except OSError:
        shutil.rmtree(fresh)
        if not folder.exists():
            raise
        # another start was faster: its files stand


async def _accept(broker: Broker, listing: Listing) -> None:
    """Pin every tool as it was when the folder was written: what changes later is unknown, and asks."""
    from broker.registry.pins import Pins  # noqa: PLC0415

    pins = Pins(broker.store.servers)
    for tool in listing.tools:
        held = await pins.get(listing.server, tool.name)
        await pins.accept(tool, "the first start", broker.store.clock(), instead_of=held)


async def _let_in(broker: Broker, url: str, name: str) -> tuple[str, str]:
    """Return the page's address for its one person, and the token of its one agent, who belongs to nobody else."""
    from datetime import timedelta  # noqa: PLC0415

    from broker.cli.wrap_home import YOU  # noqa: PLC0415

    lasts = timedelta(days=7)
    link = await broker.identity.links.add(YOU, lasts=lasts, many=True)
    return f"{url}/sign-in/{link}", await broker.identity.agents.add(_agent(), owner="", lasts=lasts, servers=(name,))


def _agent() -> str:
    return f"{AGENT}-{os.getpid()}"


async def _show(broker: Broker, page: str) -> None:
    """Open the page in a browser when the first call waits."""
    import webbrowser  # noqa: PLC0415

    import anyio  # noqa: PLC0415

    async with broker.store.changes.follow() as changes:
        async for change in changes:
            if change.state == "pending":
                await anyio.to_thread.run_sync(webbrowser.open, page)
                return


def _settings(home: Path, port: int) -> Settings:
    """The settings of a wrapped server: its own folder and the loopback, whatever stands around."""
    from broker.settings import load_settings  # noqa: PLC0415

    return load_settings(
        host="127.0.0.1", port=port, data=home / "data", policies=home / "policies", public_url="", redis_url=None
    )

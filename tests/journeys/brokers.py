"""Real brokers, each a process of its own: `broker serve` on a free port, to be killed, stopped and started again.

A `Place` is one install: a policy folder, a data folder, settings. All brokers of a place share its store.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import redis

from broker.app import store_of
from broker.domain.events import Entry
from broker.identity.agents import AgentTokens
from broker.identity.people import PersonTokens, Scope
from broker.settings import Settings
from broker.store.embedded import Embedded, stop_server

OWNER = "sam@example.com"
REVIEWERS = ("fay@example.com", "lee@example.com")
ALLOW_ALL = "rules: [{id: all, match: {server: '*'}, effect: allow}]"
ASK_ALL = """
defaults: {approval: {all_of: [{group: reviewers}], timeout: 15m}}
rules: [{id: all, title: "{tool.name}", match: {server: '*'}, effect: require_approval}]
"""
LEDGER_RULES = """
defaults: {approval: {all_of: [{group: reviewers}], timeout: 15m}}
rules:
  - {id: reading, match: {server: ledger, tool: balance}, effect: allow}
  - {id: moving, title: "Move {args.amount} to {args.to}", match: {server: ledger, tool: transfer}, effect: require_approval}
"""
# Clients of the SDK are held for less, unless their token says otherwise: people of a busy machine take longer.
HOLD = timedelta(seconds=20)
READY = 60.0


class Broker:
    """One running broker."""

    def __init__(self, url: str, process: subprocess.Popen[bytes]) -> None:
        self.url = url
        self.process = process

    def mcp(self, server: str) -> str:
        return f"{self.url}/mcp/{server}"

    def kill(self) -> None:
        """End it as `kill -9` does."""
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        """End it as a supervisor does; returns its exit status."""
        self.process.terminate()
        return self.process.wait(30)


class Place:
    """`settings` are `BROKER_*` without the prefix, lower case."""

    def __init__(self, home: Path, **settings: str) -> None:
        self.home = home
        self.policies = home / "policies"
        self.policies.mkdir()
        self.settings = {"data": str(home / "data"), "policies": str(self.policies), "log_level": "warning", **settings}
        self.write("people", {"people": {OWNER: {}}, "groups": {"reviewers": list(REVIEWERS)}})

    def write(self, name: str, content: Mapping[str, Any] | str) -> None:
        """Write one policy file: YAML text, or what it holds."""
        text = content if isinstance(content, str) else json.dumps(content)  # JSON is YAML, and never writes an alias
        fresh = self.home / f"{name}.new"
        fresh.write_text(text)
        fresh.replace(self.policies / f"{name}.yaml")

    def guard_ledger(self, url: str) -> None:
        """Put the ledger server behind the broker: `transfer` asks, `balance` is free."""
        tools = {"balance": {"read_only": True}, "transfer": {"destructive": True}}
        self.write("servers", {"servers": {"ledger": {"url": url, "stateless": True, "tools": tools}}})
        self.write("rules", LEDGER_RULES)

    @contextmanager
    def broker(self, port: int = 0, **settings: str) -> Iterator[Broker]:
        """Run a broker, with settings of its own beside the place's."""
        announced = self.home / f"address-{time.monotonic_ns()}"
        own = {f"BROKER_{name.upper()}": value for name, value in {**self.settings, **settings}.items()}
        environment = {name: value for name, value in os.environ.items() if not name.startswith("BROKER_")} | own
        command = [sys.executable, "-m", "broker", "serve", "--port", str(port), "--announce", str(announced)]
        with (self.home / "broker.log").open("ab") as log:
            process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        try:
            yield Broker(self._address(announced, process), process)
        finally:
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(20)
            process.kill()
            process.wait()

    def _address(self, announced: Path, process: subprocess.Popen[bytes]) -> str:
        until = time.monotonic() + READY
        while not announced.exists():
            if process.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"the broker did not start:\n{self.log()[-3000:]}")
            time.sleep(0.02)
        return announced.read_text().strip()

    def log(self) -> str:
        """What the brokers of this place said."""
        return (self.home / "broker.log").read_text()

    def kill_store(self) -> None:
        """End the embedded store as `kill -9` does. The brokers that use it start it again."""
        with redis.Redis.from_url(Embedded(self.home / "data").url) as store:
            os.kill(store.info("server")["process_id"], signal.SIGKILL)

    # -- credentials, as `broker agents add` and `broker people token` make them, without a process for each -----------

    def agent(self, name: str = "agent", *, servers: tuple[str, ...] | None = None, hold: timedelta = HOLD) -> str:
        return asyncio.run(self._agent(name, servers, hold))

    def person(self, name: str) -> str:
        return asyncio.run(self._person(name))

    async def audit(self) -> Sequence[Entry]:
        """Every event that the store holds."""
        async with store_of(Settings(**self.settings)) as store:
            return await store.audit.read(0, 10_000)

    async def _agent(self, name: str, servers: tuple[str, ...] | None, hold: timedelta) -> str:
        async with store_of(Settings(**self.settings)) as store:
            tokens = AgentTokens(store.credentials, clock=_clock)
            return await tokens.add(name, owner=OWNER, lasts=timedelta(days=1), servers=servers, hold=hold)

    async def _person(self, name: str) -> str:
        async with store_of(Settings(**self.settings)) as store:
            return await PersonTokens(store.credentials, clock=_clock).add(name, scopes=tuple(Scope), lasts=timedelta(days=1))


def _clock() -> datetime:
    return datetime.now(UTC)


@contextmanager
def place(home: Path, **settings: str) -> Iterator[Place]:
    """Make an install in `home`; its embedded store ends with it, even when its brokers were killed."""
    one = Place(home, **settings)
    try:
        yield one
    finally:
        if "redis_url" not in one.settings:
            asyncio.run(stop_server(home / "data"))

"""What is measured, in which order, and what is kept of it."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import msgspec

from broker import __version__
from broker.bench import opening
from broker.bench.decisions import DecisionCost, decision_cost
from broker.bench.load import Cell, Plan, Target
from broker.bench.opening import Opened
from broker.bench.parking import Order, Parked
from broker.bench.peers import peers
from broker.bench.processes import listening, more_files, run_json
from broker.bench.under_test import UnderTest, broker_under_test
from broker.bench.waking import Woken
from broker.bench.web import Size, Web, measured
from broker.errors import ConfigInvalid

PARTS = ("policy", "calls", "open", "parked", "web")
CONNECTIONS = (1, 16, 64)
BARE = "no token, unsealed"
Say = Callable[[str], None]


class Wanted(msgspec.Struct, frozen=True):
    """What to run. `seconds` is the length of one round of one cell."""

    parts: tuple[str, ...] = PARTS
    peers: bool = False
    seconds: float = 2.0
    rounds: int = 3
    parked: tuple[int, ...] = (1_000, 10_000)
    open: int = 5_000
    slow: float = 5.0
    web: Size = Size()


class Results(msgspec.Struct):
    """Everything that was measured. Times in ms, CPU in us, memory in KiB, `ready` in seconds.

    `proofs` are allowed calls with tokens and seals, and without; those of `calls` bring an agent's token and are sealed.
    `stall` is the longest time in which a reload of 1,000 rules let nothing else run.
    """

    machine: str
    version: str = __version__
    ready: float = 0.0
    stall: float = 0.0
    policy: list[DecisionCost] = msgspec.field(default_factory=list)
    calls: list[Cell] = msgspec.field(default_factory=list)
    sessions: list[Cell] = msgspec.field(default_factory=list)
    proofs: list[Cell] = msgspec.field(default_factory=list)
    opened: list[Opened] = msgspec.field(default_factory=list)
    woken: list[Woken] = msgspec.field(default_factory=list)
    parked: list[Parked] = msgspec.field(default_factory=list)
    web: Web | None = None


def measure(wanted: Wanted, say: Say) -> Results:
    """Run the parts that are wanted, one after the other. `say` hears what is going on."""
    more_files()
    results = Results(f"{platform.processor() or platform.machine()}, Python {platform.python_version()}, {platform.system()}")
    if "policy" in wanted.parts:
        say("policy: decisions in this process")
        results.policy = [decision_cost(rules, wanted.seconds) for rules in (10, 100, 1_000)]
        results.stall = msgspec.json.decode(run_json("broker.bench.reloading", b"1000"), type=float)
    if {"calls", "open"} & {*wanted.parts}:
        _passing(wanted, results, say)
    if "parked" in wanted.parts:
        for count in wanted.parked:
            say(f"parked: {count:,} calls, reviewed one by one, then all")
            with _upstream() as (_, port), broker_under_test(url(port), reviewer=True) as broker:
                results.parked.append(_parked(broker, count, wanted.seconds))
            results.woken.append(msgspec.json.decode(run_json("broker.bench.waking", str(count).encode()), type=Woken))
    if "web" in wanted.parts:
        say(f"web: {wanted.web.pending:,} waiting, {wanted.web.history:,} in the history, {wanted.web.watchers:,} watchers")
        with _upstream() as (_, port):
            results.web = measured(url(port), wanted.web)
    return results


def _passing(wanted: Wanted, results: Results, say: Say) -> None:
    """Everything that passes straight through: one upstream, one broker."""
    with (
        _upstream() as (upstream, port),
        listening("broker.bench.plain", url(port)) as (plain, plain_port),
        broker_under_test(url(port)) as broker,
    ):
        results.ready = broker.ready
        targets = (
            Target("direct", port, pids=(upstream,)),
            Target("plain forwarding", plain_port, pids=(plain.pid,)),
            Target("broker", broker.port, "/mcp/bench", broker.agent, pids=(broker.pid,)),
        )
        if "calls" in wanted.parts:
            say(f"calls: {', '.join(target.name for target in targets)}")
            results.calls = _load(Plan(targets, CONNECTIONS, wanted.seconds, wanted.rounds))
            results.proofs = _proofs(wanted, url(port), say)
            results.sessions = _beside_peers(wanted, targets, url(port), say) if wanted.peers else []
        if "open" in wanted.parts:
            say(f"open: {wanted.open:,} calls at an upstream that takes {wanted.slow:g} s for each")
            results.opened = [_open(target, wanted) for target in targets[1:]]


def _proofs(wanted: Wanted, upstream: str, say: Say) -> list[Cell]:
    """The same allowed call where nobody is asked for a token and nothing is sealed, and as it is."""
    with broker_under_test(upstream, bare=True) as bare, broker_under_test(upstream, trusting=True) as broker:
        targets = (
            Target(BARE, bare.port, "/mcp/bench", pids=(bare.pid,)),
            Target("agent's token, sealed", broker.port, "/mcp/bench", broker.agent, pids=(broker.pid,)),
            Target("access token, sealed", broker.port, "/mcp/bench", broker.access, pids=(broker.pid,)),
        )
        say(f"calls, who makes them and what is sealed: {'; '.join(target.name for target in targets)}")
        return _load(Plan(targets, CONNECTIONS[:2], wanted.seconds, wanted.rounds))


def _beside_peers(wanted: Wanted, targets: tuple[Target, ...], upstream: str, say: Say) -> list[Cell]:
    with peers(upstream) as others:
        say(f"calls in sessions: the same and {', '.join(target.name for target in others)}")
        return _load(Plan((*targets, *others), CONNECTIONS[:2], wanted.seconds, wanted.rounds, stateless=False))


def _open(target: Target, wanted: Wanted) -> Opened:
    order = msgspec.json.encode(opening.Order(target, wanted.open, wanted.slow))
    return msgspec.json.decode(run_json("broker.bench.opening", order), type=Opened)


def _load(plan: Plan) -> list[Cell]:
    return msgspec.json.decode(run_json("broker.bench.load", msgspec.json.encode(plan)), type=list[Cell])


def _parked(broker: UnderTest, count: int, beside: float) -> Parked:
    order = Order(broker.port, broker.agent, broker.person, count, broker.pid, broker.store_pids, beside)
    try:
        return msgspec.json.decode(run_json("broker.bench.parking", msgspec.json.encode(order)), type=Parked)
    except ConfigInvalid as error:  # a run that breaks is a row of the report: the other parts were measured all the same
        return Parked(count, 0, 0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, error=error.message)


@contextmanager
def _upstream() -> Iterator[tuple[int, int]]:
    with listening("broker.bench.upstream") as (process, port):
        yield process.pid, port


def url(port: int) -> str:
    return f"http://127.0.0.1:{port}/mcp"

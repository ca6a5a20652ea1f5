"""The web as people meet it: what pages cost where much waits and much has happened, live updates, clicks, a stop."""

from __future__ import annotations

from pathlib import Path

import msgspec

from broker.bench import archive, clicking, pages, parking, watching
from broker.bench.clicking import Clicked
from broker.bench.pages import Cost
from broker.bench.processes import run_json
from broker.bench.under_test import UnderTest, broker_under_test
from broker.bench.watching import Watched

PATHS = (
    "/", "/inbox/list", "/?view=all&q=number+42", "/history", "/history?q=refund+order", "/history?q=refund&agent=agent-7",
    "/history?state=rejected&q=invo", "/insights",
)  # fmt: skip
# A server that is away offers no tool that is another than the one in the archive, which would end what waits.
NOWHERE = "http://127.0.0.1:1/mcp"


class Size(msgspec.Struct, frozen=True):
    """How much of everything: requests that wait and that ended, open streams, clicks and decisions, samples of each page."""

    pending: int = 5_000
    history: int = 1_000_000
    watchers: int = 500
    rounds: int = 30
    timed: int = 200


class Web(msgspec.Struct, frozen=True):
    """`size` is what there was; the others what was measured."""

    size: Size
    pages: list[Cost]
    watched: Watched
    clicked: Clicked


def measured(upstream: str, size: Size) -> Web:
    """Run two brokers, one after the other: an empty one for clicks and watchers, one that has seen much for its pages."""
    with broker_under_test(upstream, reviewer=True) as broker:
        clicked = _clicked(broker, size)
        watched = _watched(broker, size)

    def filled(home: Path) -> None:
        order = archive.Order(str(home / "data"), str(home / "policies"), size.pending, size.history)
        run_json("broker.bench.archive", msgspec.json.encode(order))

    with broker_under_test(NOWHERE, reviewer=True, filled=filled) as broker:
        asked = pages.Order(broker.port, broker.pid, broker.links[0], PATHS, size.timed)
        costs = msgspec.json.decode(run_json("broker.bench.pages", msgspec.json.encode(asked)), type=list[Cost])
    return Web(size, costs, watched, clicked)


def _clicked(broker: UnderTest, size: Size) -> Clicked:
    order = clicking.Order(_parked(broker, size.rounds), (broker.links[0], broker.links[1]))
    return msgspec.json.decode(run_json("broker.bench.clicking", msgspec.json.encode(order)), type=Clicked)


def _watched(broker: UnderTest, size: Size) -> Watched:
    order = watching.Order(_parked(broker, size.rounds), broker.links[2], size.watchers)
    return msgspec.json.decode(run_json("broker.bench.watching", msgspec.json.encode(order)), type=Watched)


def _parked(broker: UnderTest, count: int) -> parking.Order:
    return parking.Order(broker.port, broker.agent, broker.person, count, broker.pid)

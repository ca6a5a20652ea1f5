"""Clients that we did not write call a tool that waits for people: whatever their timers do, the effect happens once, and at
latest their second call brings the result.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import anyio
import pytest

from tests.fakes.ledger_server import Ledger, ledger
from tests.interop.callers import KINDS, Caller, Kind, calling
from tests.journeys.brokers import REVIEWERS, Broker, Place, place
from tests.journeys.people import Person

pytestmark = pytest.mark.timeout(400)  # the first run installs two environments

SHORT = 3.0
"""Seconds of every client's timer where the test shortens it."""

RULES = """
defaults: {approval: {all_of: [{group: reviewers}], timeout: 15m}}
rules: [{id: moving, title: "{args.to}", match: {server: ledger, tool: transfer}, effect: require_approval}]
"""


@pytest.fixture(scope="module")
def book(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ledger]:
    with ledger(tmp_path_factory.mktemp("book") / "ledger") as book:
        yield book


@pytest.fixture(scope="module")
def here(book: Ledger, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with place(tmp_path_factory.mktemp("place")) as here:
        here.write("servers", {"servers": {"ledger": {"url": book.url, "stateless": True, "tools": {"transfer": {}}}}})
        here.write("rules", RULES)
        yield here


@pytest.fixture(scope="module")
def token(here: Place) -> str:
    return here.agent(hold=timedelta())


@pytest.fixture(scope="module")
def reviewer(here: Place) -> str:
    return here.person(REVIEWERS[0])


@pytest.fixture(scope="module")
def broker(here: Place) -> Iterator[Broker]:
    with here.broker() as broker:
        yield broker


class Matrix:
    """All clients at once, each with a call of its own."""

    def __init__(self, broker: Broker, token: str, reviewer: str) -> None:
        self._url = broker.mcp("ledger")
        self._people = broker.url
        self._token = token
        self._reviewer = reviewer

    async def ends(
        self, what: str, after: Callable[[Kind], float], *, timer: Callable[[Kind], float] = lambda kind: 0
    ) -> dict[str, list[str]]:
        """Approve each call so many seconds after it was parked; return what each client got of the calls it had to make."""
        ends: dict[str, list[str]] = {}

        async def one(kind: Kind) -> None:
            call = {"to": f"{kind.name} {what}", "amount": 1}
            async with calling(kind, self._url, self._token, "transfer", call, timeout=timer(kind)) as caller:
                parked = await fay.titled(call["to"])
                await anyio.sleep(after(kind))
                await fay.approve(parked)
                ends[kind.name] = await got(caller, fay, parked)

        async with Person(self._people, self._reviewer) as fay, anyio.create_task_group() as tasks:
            for kind in KINDS:
                tasks.start_soon(one, kind)
        return ends


async def got(caller: Caller, fay: Person, parked: dict[str, Any]) -> list[str]:
    """What the first call brought; where it was in vain, what the second brought, made once the effect had happened."""
    first = await caller.ended()
    if first.text.startswith("moved"):
        return [first.text]
    await fay.ended(parked)
    await caller.again()
    second = await caller.ended()
    return [first.text or first.error, second.text or second.error]


@pytest.fixture(scope="module")
def matrix(broker: Broker, token: str, reviewer: str) -> Matrix:
    return Matrix(broker, token, reviewer)


def once(what: str) -> dict[str, int]:
    return {f"{kind.name} {what}": 1 for kind in KINDS}


def counted(book: Ledger, what: str) -> dict[str, int]:
    return {to: count for to, count in book.counts().items() if to.endswith(what)}


async def test_a_decision_after_one_second_answers_the_first_call(matrix: Matrix, book: Ledger) -> None:
    with anyio.fail_after(110):
        ends = await matrix.ends("soon", lambda kind: 1)
    assert ends == {kind.name: [f"moved 1 to {kind.name} soon"] for kind in KINDS}
    assert counted(book, "soon") == once("soon")


@pytest.mark.slow
async def test_a_decision_after_eight_seconds_answers_the_first_call_of_those_who_say_who_they_are(
    matrix: Matrix, book: Ledger
) -> None:
    with anyio.fail_after(110):
        ends = await matrix.ends("later", lambda kind: 8)
    assert {name: got[-1] for name, got in ends.items()} == {kind.name: f"moved 1 to {kind.name} later" for kind in KINDS}
    early = {name: got[0][:7] for name, got in ends.items() if len(got) > 1}
    assert early == {kind.name: "PENDING" for kind in KINDS if kind.shared}
    assert counted(book, "later") == once("later")


async def test_a_decision_after_the_clients_own_timer_answers_the_second_call(matrix: Matrix, book: Ledger) -> None:
    """The timer of OpenAI's SDK is short enough as it is: its user reads PENDING before it ends."""
    with anyio.fail_after(110):
        ends = await matrix.ends(
            "late", lambda kind: 3 * SHORT, timer=lambda kind: 0 if kind.name == "openai-agents" else SHORT
        )  # fmt: skip
    assert {name: got[-1] for name, got in ends.items()} == {kind.name: f"moved 1 to {kind.name} late" for kind in KINDS}
    waited = {name for name, got in ends.items() if len(got) == 1}
    assert waited <= {"typescript-progress"}  # the only one whose timer starts anew with each sign of life
    assert ends["openai-agents"][0].startswith("PENDING")
    assert counted(book, "late") == once("late")


@pytest.mark.slow
async def test_a_decision_after_the_real_timers_answers_the_second_call(matrix: Matrix, book: Ledger) -> None:
    with anyio.fail_after(390):
        ends = await matrix.ends("at last", lambda kind: (kind.timer or 60) + 2)
    assert {name: got[-1] for name, got in ends.items()} == {kind.name: f"moved 1 to {kind.name} at last" for kind in KINDS}
    assert counted(book, "at last") == once("at last")

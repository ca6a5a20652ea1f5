"""The registry in a whole broker: what another replica enrols is routed here at once, and what is not approved is not."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest

from broker.domain.events import CallDecided
from broker.domain.terms import Actor, Slot, SlotState
from broker.registered import house_of, resolve
from broker.registry.addresses import objection
from broker.registry.enrolling import Enrolling
from broker.registry.roster import Roster
from broker.running import Running, running
from broker.settings import Settings
from tests.conftest import empty
from tests.fakes.ledger_server import Ledger, ledger
from tests.fakes.server_json import server_json
from tests.gateway.wire import call, modern

POLICY = {
    "servers.yaml": "servers:\n  files: {url: 'http://127.0.0.1:9/mcp', tools: {read: {}}}\n",
    "people.yaml": "people: {olga@example.com: {}, eve@example.com: {}}\n"
    "groups: {payments: [olga@example.com], support: [eve@example.com], finance: [dana@example.com]}\n",
    "rules.yaml": "defaults: {unmatched: allow, unknown_tool: deny}\nrules: []\n",
}
OLGA = Actor("olga@example.com", ("payments",))
NAME = "com.example/payments"


@pytest.fixture(scope="module")
def upstream(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ledger]:
    with ledger(tmp_path_factory.mktemp("ledger") / "effects") as one:
        yield one


@pytest.fixture
async def served(store_url: str, tmp_path: Path) -> AsyncIterator[Running]:
    await empty(store_url)
    folder = tmp_path / "policies"
    folder.mkdir()
    for name, text in POLICY.items():
        (folder / name).write_text(text)
    settings = Settings(redis_url=store_url, policies=folder, data=tmp_path / "data", port=0, enrol_networks=("127.0.0.0/8",))
    async with running(settings) as broker:
        yield broker


@pytest.fixture
def elsewhere(served: Running) -> Enrolling:
    """The registry of another broker on the same store."""
    store, groups = served.broker.store, {slot.value: (slot.value,) for slot in Slot}
    house = house_of(Settings(review_groups=groups, enrol_networks=("127.0.0.0/8",)))
    return Enrolling(store.enrolled, Roster(store.enrolled, clock=store.clock), house, declared=dict, resolve=resolve)


async def asked(served: Running, user: str, message: dict[str, Any]) -> httpx2.Response:
    token = await served.broker.identity.agents.add(f"{user}-bot", owner=user, user=user, lasts=timedelta(hours=1))
    headers = {
        "authorization": f"Bearer {token}", "accept": "application/json, text/event-stream", "mcp-method": message["method"],
        "mcp-protocol-version": "2026-07-28", **({"mcp-name": message["params"]["name"]} if "name" in message["params"] else {}),
    }  # fmt: skip
    async with httpx2.AsyncClient() as http:
        return await http.post(f"{served.url}/mcp/payments", json=message, headers=headers, timeout=10)


async def until(served: Running, user: str, status: int) -> httpx2.Response:
    """Ask until the broker has heard of what another one did."""
    with anyio.fail_after(5):
        while (answer := await asked(served, user, modern("tools/list"))).status_code != status:  # noqa: ASYNC110
            await anyio.sleep(0.05)
    return answer


async def test_a_server_that_another_broker_enrols_is_routed_here_and_follows_its_lifecycle(
    served: Running, elsewhere: Enrolling, upstream: Ledger
) -> None:
    assert (await asked(served, "olga@example.com", modern("tools/list"))).status_code == 404
    await elsewhere.publish(server_json(url=upstream.url), OLGA)
    await until(served, "olga@example.com", 200)
    assert (await asked(served, "eve@example.com", modern("tools/list"))).status_code == 403
    await elsewhere.submit(NAME, OLGA)
    await until(served, "olga@example.com", 404)
    for slot in Slot:
        by = Actor(f"{slot}@example.com", (slot.value,))
        await elsewhere.change(
            NAME, lambda known, now, slot=slot, by=by: (known[NAME] or 0).reviewed(  # type: ignore[misc, union-attr]
                slot, SlotState.APPROVED, by, now, reviewers=elsewhere.house.reviewers
            ),
        )  # fmt: skip
    await until(served, "eve@example.com", 200)
    assert (await asked(served, "olga@example.com", modern("tools/list"))).status_code == 403  # the review granted support alone
    await elsewhere.suspend(NAME, OLGA, "it leaks")
    await until(served, "eve@example.com", 404)


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1/mcp", "http://[::1]/mcp", "http://2130706433/mcp", "http://0x7f.1/", "http://localhost/"]
)
async def test_every_spelling_of_this_machine_is_refused(url: str) -> None:
    assert "private network" in await objection(url, resolve, house_of(Settings()).fit)


async def test_a_call_to_a_server_that_is_not_approved_is_refused_and_nothing_reaches_it(
    served: Running, elsewhere: Enrolling, upstream: Ledger
) -> None:
    before = upstream.effects()
    await elsewhere.publish(server_json(url=upstream.url), OLGA)
    await until(served, "olga@example.com", 200)
    move = call("transfer", {"to": "eve", "amount": 1})
    assert (await asked(served, "eve@example.com", move)).status_code == 403
    unknown = await asked(served, "olga@example.com", move)  # nobody has accepted the tool
    assert unknown.json()["result"]["_meta"]["approval-broker/code"] == "denied"
    decided = [e.event for e in await served.broker.store.audit.read(0, 100) if isinstance(e.event, CallDecided)]
    assert [(event.server, event.effect, event.rules) for event in decided] == [("payments", "deny", ("unknown_tool",))]
    assert upstream.effects() == before

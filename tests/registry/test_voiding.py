"""A real server changes a tool under requests that wait for it in a real store: they are voided, and others are not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import anyio
import pytest

from broker.approvals.ports import Query
from broker.domain.calls import Caller, ToolCall
from broker.domain.decisions import ApprovalPlan, Requirement, RuleApproval
from broker.domain.requests import ApprovalRequest, Change, RequestId, RequestState, opened
from broker.domain.reviews import Review, Verdict
from broker.domain.servers import Server, ToolDefinition
from broker.registry.catalogue import Catalogue
from broker.registry.pins import Pins
from broker.registry.ports import Listing
from broker.registry.voiding import Voiding
from broker.store import keys
from broker.store.open import Store
from broker.upstream import eras
from tests.fakes.probing import probing
from tests.fakes.stdio_bench import tools_server

PLAN = ApprovalPlan("Do it", (RuleApproval("rule", (Requirement("ops"),)),), timedelta(hours=1))


class Waiting:
    """The requests of the store, as the wiring gives them."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def waiting(self, server: str) -> Sequence[ApprovalRequest]:
        states = (RequestState.PENDING, RequestState.APPROVED)
        return (await self._store.requests.find(Query(states=states, server=server))).requests

    async def update(self, request_id: RequestId, change: Callable[[ApprovalRequest, datetime], Change]) -> ApprovalRequest:
        return await self._store.requests.update(request_id, change)


class Entries:
    def __init__(self, *servers: Server) -> None:
        self._servers = {server.name: server for server in servers}

    def server(self, name: str) -> Server | None:
        return self._servers.get(name)

    def names(self) -> tuple[str, ...]:
        return tuple(self._servers)


async def parked(store: Store, tool: str, definition: str, server: str = "tools") -> RequestId:
    call = ToolCall(server, tool, {"name": tool, "arguments": {"text": "x"}}, Caller(agent="bot"))

    def draft(now: datetime) -> Change:
        return opened(
            ApprovalRequest(
                id=keys.new_id(), version=1, state=RequestState.PENDING, call=call, digest=call.digest(), plan=PLAN,
                policy="sha256:p", definition=definition, rules=("rule",), reasons=(), opened_at=now,
                expires_at=now + timedelta(hours=1),
            )
        )  # fmt: skip

    return (await store.requests.open(f"{server}/{tool}", draft))[0].id


async def test_a_changed_tool_voids_what_waits_for_it_with_what_changed(store: Store) -> None:
    server, pins = tools_server("tools"), Pins(store.servers)
    voiding = Voiding(Waiting(store), pins)
    async with probing({"tools": server}) as ready:
        catalogue = Catalogue(Entries(server), ready.prober, pins, listed=voided(voiding), every=timedelta(seconds=60))
        tools = {tool.name: tool for tool in (await catalogue.listing("tools")).tools}
        await pins.accept(tools["echo"], "jane", datetime.now(UTC), instead_of=None)
        echo = await parked(store, "echo", tools["echo"].digest())
        others = [await parked(store, "pid", tools["pid"].digest()), await parked(store, "echo", "sha256:other", "elsewhere")]
        async with catalogue.running():
            peer = await ready.stdio.peer("tools")
            await peer.ask(redefine("Does something else."), lambda message: None)
            with anyio.fail_after(10), store.changes.watch(echo) as watch:
                await catalogue.listing("tools", fresh=True)
                assert await watch.wait(10)
        assert (await catalogue.look("tools", "echo")).known is False
    ended = await store.requests.get(echo)
    assert (ended.state, ended.note) == (
        RequestState.VOIDED,
        "the tool's definition changed after people were asked: description",
    )
    assert [(await store.requests.get(other)).state for other in others] == [RequestState.PENDING] * 2


async def test_an_approved_request_is_voided_and_one_that_runs_is_left(store: Store) -> None:
    voiding = Voiding(Waiting(store), Pins(store.servers))
    approved, running = await parked(store, "echo", "sha256:old"), await parked(store, "pid", "sha256:old")
    for request in (approved, running):
        await store.requests.update(request, approve)
    await store.requests.update(
        running, lambda held, now: held.claimed("b", "n", now, lease=timedelta(minutes=1), policy="p", definition="d")
    )
    assert await voiding.listed(Listing("tools", ())) == 1
    ended = await store.requests.get(approved)
    assert (ended.state, ended.note) == (RequestState.VOIDED, "the server no longer offers this tool")
    assert (await store.requests.get(running)).state is RequestState.EXECUTING


@pytest.mark.parametrize("pinned", [True, False])
async def test_without_the_definition_that_was_shown_the_reason_says_only_that_it_changed(store: Store, pinned: bool) -> None:
    pins = Pins(store.servers)
    listing = listed_with("echo")
    if pinned:
        await pins.accept(listing.tools[0], "jane", datetime.now(UTC), instead_of=None)
    request = await parked(store, "echo", "sha256:shown")
    assert await Voiding(Waiting(store), pins).listed(listing) == 1
    assert (await store.requests.get(request)).note == "the tool's definition changed after people were asked"


def approve(held: ApprovalRequest, now: datetime) -> Change:
    review = Review("jane", Verdict.APPROVE, now, held.digest, "web", groups=("ops",))
    return held.reviewed(review, now, release_window=timedelta(minutes=5))


def voided(voiding: Voiding) -> Callable[[Listing], Any]:
    async def listed(listing: Listing) -> None:
        await voiding.listed(listing)

    return listed


def listed_with(name: str) -> Listing:
    return Listing("tools", (ToolDefinition("tools", name, {"name": name}),))


def redefine(text: str) -> dict[str, Any]:
    params = {"name": "redefine", "arguments": {"text": text}}
    return eras.enveloped({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}, {}, eras.US)

"""Socket Mode: the same dispatch over a WebSocket that the broker opens, with a spare one and no address of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import anyio
import msgspec
import pytest

from broker.domain.requests import RequestState
from broker.store.open import Store
from tests.channels.slack.bench import Bench, bench_on
from tests.fakes.slack_faults import Fault
from tests.fakes.slack_front import SlackFront


@pytest.fixture
async def socketed(store: Store, front: SlackFront, tmp_path: Path) -> AsyncIterator[Bench]:
    yield await bench_on(store, front, tmp_path / "policies", signing_secret="", app_token="xapp-test")


async def connected(bench: Bench, count: int = 1) -> None:
    with anyio.fail_after(10):
        await bench.slack.until(lambda: len(bench.slack.sockets) == count)


async def test_the_whole_loop_goes_over_a_socket(socketed: Bench) -> None:
    bench = socketed
    async with bench.running():
        assert bench.channel is not None
        assert bench.channel.http is None
        await connected(bench)
        request = await bench.parked()
        card = await bench.card()
        click = await bench.slack.click("refunds", card["ts"], "approve", await bench.slack.user("dana"))
        assert "payload" not in await bench.slack.envelope("interactive", click)
        await bench.reached(request, RequestState.COMPLETED)
        await bench.card(says="Approved and ran")
        assert len(bench.ledger.rows) == 1
    assert bench.slack.sockets == []


async def test_forms_commands_and_events_come_over_a_socket_as_well(socketed: Bench) -> None:
    bench = socketed
    dana = await bench.slack.user("dana")
    async with bench.running():
        await connected(bench)
        request = await bench.parked()
        card = await bench.card()
        await bench.slack.envelope("interactive", await bench.slack.click("refunds", card["ts"], "reject", dana))
        await bench.slack.until(lambda: bench.slack.modals)
        refused = await bench.slack.envelope("interactive", bench.slack.submission(dana))
        assert refused["payload"]["response_action"] == "errors"
        await bench.slack.envelope("interactive", bench.slack.submission(dana, words="no"))
        await bench.reached(request, RequestState.REJECTED)
        bench.slack.events = "socket"
        await bench.slack.event({"type": "app_home_opened", "user": dana})
        await bench.slack.until(lambda: dana in bench.slack.homes)
        command = {"team_id": "T000000001", "user_id": dana, "text": "list", "response_url": answer_url(bench)}
        await bench.slack.envelope("slash_commands", command)
        await bench.slack.until(lambda: any("What waits" in str(said["text"]) for said in bench.slack.answers_said))


def answer_url(bench: Bench) -> str:
    return f"http://{bench.slack.answers}/actions/x"


@pytest.mark.parametrize(
    ("kind", "payload"), [("interactive", {"type": 5}), ("slash_commands", {}), ("hello", {}), ("events_api", {"event": []})]
)
async def test_what_can_not_be_read_is_acknowledged_and_forgotten(socketed: Bench, kind: str, payload: dict[str, Any]) -> None:
    async with socketed.running():
        await connected(socketed)
        assert set(await socketed.slack.envelope(kind, payload)) == {"envelope_id"}
        await socketed.slack.sockets[0].send_str("no json at all")
        assert set(await socketed.slack.envelope(kind, payload)) == {"envelope_id"}


async def test_slack_announces_the_end_of_a_socket_and_the_next_is_there_first(socketed: Bench) -> None:
    async with socketed.running():
        await connected(socketed)
        first = socketed.slack.sockets[0]
        await first.send_json({"type": "disconnect", "reason": "warning"})
        await connected(socketed, 2)
        await first.close()
        await connected(socketed, 1)
        assert socketed.slack.sockets[0] is not first


async def test_a_socket_that_breaks_is_opened_again(socketed: Bench) -> None:
    async with socketed.running():
        await connected(socketed)
        first = socketed.slack.sockets[0]
        await first.close()
        with anyio.fail_after(10):
            await socketed.slack.until(lambda: socketed.slack.sockets and socketed.slack.sockets[0] is not first)


async def test_two_brokers_hold_one_socket_each_and_a_third_stands_by(
    socketed: Bench, open_another: Callable[[str], AbstractAsyncContextManager[Store]], tmp_path: Path
) -> None:
    first = socketed
    async with open_another("broker-2") as two, open_another("broker-3") as three:
        second, third = [copied(first, store, name) for store, name in ((two, "broker-2"), (three, "broker-3"))]
        async with first.running(), second.running():
            await connected(first, 2)
            async with third.running():
                with anyio.move_on_after(1):
                    await first.slack.until(lambda: len(first.slack.sockets) > 2)
                assert len(first.slack.sockets) == 2


def copied(bench: Bench, store: Store, broker: str) -> Bench:
    return Bench(store, bench.slack, bench.policies, bench.config, broker=broker)


async def test_a_wrong_app_token_is_a_trouble_and_not_a_storm(socketed: Bench) -> None:
    bench = socketed
    bench.slack.faults.append(Fault("apps.connections.open", "invalid_auth", times=-1))
    bench.config = msgspec.structs.replace(bench.config, app_token="xapp-wrong")
    async with bench.running():
        assert bench.channel is not None
        with anyio.fail_after(10):
            while not (troubles := await bench.channel.troubles()):
                await bench.slack.next_call()
        assert [(trouble.place, trouble.reason) for trouble in troubles] == [("the app token", "invalid_auth")]
        with anyio.move_on_after(0.5):
            await bench.slack.until(lambda: bench.slack.counted()["apps.connections.open"] > 1)
        assert bench.slack.counted()["apps.connections.open"] == 1

"""A tracker is told of each move, signed, until it takes it, in their order."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import anyio
import pytest
from aiohttp import web

from broker.channels.webhook.notices import Notices, Tracker
from broker.outgoing import Reach, client
from broker.registry.tracker import Notice, signed, verified
from broker.store.open import Store

SECRET = b"a tracker's secret, long enough"


class Listener:
    """A tracker that keeps what it was told. `status` is what it answers."""

    def __init__(self) -> None:
        self.url, self.status = "", 200
        self.told: list[tuple[str, Any]] = []

    async def take(self, request: web.Request) -> web.Response:
        body = await request.read()
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.told.append((verified(SECRET, headers, body, float(headers["webhook-timestamp"])), json.loads(body)))
        return web.Response(status=self.status)


@pytest.fixture
async def listener() -> AsyncIterator[Listener]:
    made, app = Listener(), web.Application()
    app.router.add_post("/hook", made.take)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    made.url = f"http://127.0.0.1:{runner.addresses[0][1]}/hook"
    yield made
    await runner.cleanup()


@pytest.fixture
async def notices(store: Store, listener: Listener) -> AsyncIterator[Notices]:
    async def write(notice: Notice) -> bytes:
        return json.dumps({"step": notice.step}).encode()

    async with client(Reach([listener.url])) as http:
        yield Notices(
            store.enrolled, store.leases, http, Tracker(listener.url, SECRET), write, broker="broker-1", clock=store.clock
        )


async def written(store: Store, *steps: str) -> None:
    for number, step in enumerate(steps):
        held = await store.enrolled.read()
        body = json.dumps({"server": "com.example/p", "step": step, "by": "olga@example.com"}).encode()
        assert await store.enrolled.write("com.example/p", f"{number}".encode(), held, None, (f"{held.count + 1}", body))


async def test_what_is_written_is_told_once_signed_and_in_order(store: Store, listener: Listener, notices: Notices) -> None:
    await written(store, *[f"step {number}" for number in range(11)])
    async with notices.running():
        with anyio.fail_after(5):
            while await store.enrolled.notices():  # noqa: ASYNC110 - it tells by itself
                await anyio.sleep(0.01)
    assert listener.told == [(f"notice_{number + 1}", {"step": f"step {number}"}) for number in range(11)]


async def test_what_is_not_taken_is_told_again_and_nothing_before_it(store: Store, listener: Listener, notices: Notices) -> None:
    await written(store, "one", "two")
    listener.status = 500
    assert await notices.round() == 0
    assert len(await store.enrolled.notices()) == 2
    listener.status = 204
    assert await notices.round() == 2
    assert [told["step"] for _, told in listener.told] == ["one", "one", "two"]


async def test_one_broker_tells_while_others_wait(store: Store, listener: Listener, notices: Notices) -> None:
    await written(store, "one")
    assert await store.leases.lease("registry-webhook", "broker-2", timedelta(seconds=30))
    assert await notices.round() == 0
    assert listener.told == []


async def test_a_tracker_that_is_away_or_elsewhere_holds_nothing_up(store: Store, listener: Listener, notices: Notices) -> None:
    await written(store, "one")
    notices._tracker = Tracker("http://169.254.169.254/hook", SECRET)
    assert await notices.round() == 0
    assert signed(SECRET, "notice_1", 0, b"")["webhook-id"] == "notice_1"
    assert len(await store.enrolled.notices()) == 1

"""Devices are told that something waits: who may answer, once, an id and a severity. Nobody chooses whom the broker speaks to."""

from __future__ import annotations

import json
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import Any

import anyio
import httpx2
import pytest
from joserfc import jwt
from joserfc.jwk import ECKey

from broker.channels.push.devices import MOST, SERVICES, Device
from broker.channels.push.sending import Fate, Sender, ServerKey
from broker.domain.requests import RequestState
from broker.outgoing import Reach, client
from tests.channels.push.conftest import KEY, Phone, Pushing, told_by
from tests.channels.web.conftest import ANN, BO, CY, DANA, EVE


async def test_who_may_answer_is_told_an_id_and_a_severity_and_nothing_else(pushing: Pushing) -> None:
    phone, answer = await pushing.subscribed(ANN)
    assert (answer.status_code, answer.headers["location"]) == (303, "/account")
    for person in (DANA, EVE):
        assert (await pushing.subscribed(person, person))[1].status_code == 303
    request = await pushing.site.park("Refund 900 EUR to Acme", severity="critical")
    assert await pushing.service.arrived(1) == ["phone"]
    other = await pushing.site.park("Refund 901 EUR to Acme", {"amount": 901}, severity="low")
    assert await pushing.service.arrived(2) == ["phone", "phone"]
    told = [json.loads(phone.opened(body)) for _, _, body in pushing.service.messages]
    assert told == [{"id": request.id, "severity": "critical"}, {"id": other.id, "severity": "low"}]
    assert [heads["urgency"] for _, heads, _ in pushing.service.messages] == ["high", "normal"]


async def test_a_message_is_signed_as_this_broker_for_this_service_and_ends_with_the_request(pushing: Pushing) -> None:
    await pushing.subscribed(ANN)
    await pushing.site.park(timeout=timedelta(minutes=10))
    await pushing.service.arrived(1)
    _, heads, _ = pushing.service.messages[0]
    token, key = (part.split("=", 1)[1] for part in heads["authorization"].removeprefix("vapid ").split(","))
    assert key == pushing.devices.key
    claims = jwt.decode(token, ECKey.import_key(KEY.private.public_key()), algorithms=["ES256"]).claims  # type: ignore[arg-type]
    assert (claims["aud"], claims["sub"]) == (pushing.service.url, "https://approvals.example.com")
    assert 0 < claims["exp"] - pushing.site.store.clock().timestamp() <= 86_400
    assert (heads["content-encoding"], 0 < int(heads["ttl"]) <= 600) == ("aes128gcm", True)


async def test_nobody_is_told_twice_and_who_has_answered_not_at_all(pushing: Pushing) -> None:
    for person in (ANN, BO):
        await pushing.subscribed(person, person)
    request = await pushing.site.park(asks=[("finance", 3)])
    assert sorted(await pushing.service.arrived(2)) == [ANN, BO]
    await pushing.site.review(await pushing.site.visitor(BO), request, "approve")
    await pushing.subscribed(CY, CY)
    await pushing.site.review(await pushing.site.visitor(ANN), request, "approve")
    assert await pushing.service.arrived(3) == [*[name for name, *_ in pushing.service.messages[:2]], CY]
    last = await pushing.site.park("Another", {"n": 1})
    await pushing.service.arrived(6)
    assert (await pushing.site.state(request), await pushing.site.state(last)) == (RequestState.PENDING, RequestState.PENDING)
    assert len(pushing.service.messages) == 6


@pytest.mark.parametrize("answers", [[(500, {})] * 2, [(429, {"retry-after": "0"})], [(503, {"retry-after": "soon"})]], ids=str)
async def test_a_service_that_fails_is_asked_again_and_tells_once(pushing: Pushing, answers: list[tuple[int, Any]]) -> None:
    await pushing.subscribed(ANN)
    pushing.service.answers = list(answers)
    await pushing.site.park()
    await pushing.service.arrived(1)
    await pushing.site.park("Another", {"n": 1})
    await pushing.service.arrived(2)
    assert (len(pushing.service.messages), pushing.service.refused) == (2, len(answers))


@pytest.mark.parametrize("status", [404, 410])
async def test_a_device_that_is_gone_is_forgotten(pushing: Pushing, status: int) -> None:
    await pushing.subscribed(ANN)
    pushing.service.answers = [(status, {})]
    await pushing.site.park()
    with anyio.fail_after(10):
        while await pushing.devices.of(ANN):
            await pushing.service.told.wait()
            await anyio.sleep(0.01)


async def test_what_was_decided_while_the_service_was_away_is_told_to_nobody(pushing: Pushing) -> None:
    phone, _ = await pushing.subscribed(ANN)
    pushing.service.answers = [(503, {})] * 3
    request = await pushing.site.park()
    await pushing.service.told.wait()
    await pushing.site.review(await pushing.site.visitor(BO), request, "reject", "no")
    pushing.service.answers = []
    other = await pushing.site.park("Another", {"n": 1})
    await pushing.service.arrived(1)
    assert [json.loads(phone.opened(body))["id"] for _, _, body in pushing.service.messages] == [other.id]


async def test_two_brokers_tell_once(pushing: Pushing) -> None:
    await pushing.subscribed(ANN)
    async with AsyncExitStack() as rooms:
        await told_by(rooms, pushing.site, pushing.devices, broker="broker-2")
        for number in range(5):
            await pushing.site.park(f"Refund {number}", {"n": number})
        await pushing.service.arrived(5)
        await pushing.site.park("The last", {"n": 9})
        await pushing.service.arrived(6)
    assert len(pushing.service.messages) == 6


@pytest.mark.parametrize(
    "endpoint",
    [
        "http://fcm.googleapis.com/to/x",
        "https://127.0.0.1/to/x",
        "https://169.254.169.254/latest",
        "https://evil.example/to/x",
        "https://fcm.googleapis.com.evil.example/x",
        "https://fcm.googleapis.com@evil.example/x",
        "https://evil.example\\@fcm.googleapis.com/x",
        "https://fcm.googleapis.com:8443/x",
        "https://x.push.apple.com.evil.example/",
        "https://push.apple.com/x",
        "https://[::1/x",
        "file:///etc/passwd",
        "",
    ],
)
async def test_no_address_but_a_known_push_service_is_kept(pushing: Pushing, endpoint: str) -> None:
    pushing.devices._services = SERVICES
    _, answer = await pushing.subscribed(ANN, endpoint=endpoint)
    assert answer.status_code == 403
    assert await pushing.devices.all() == {}


async def test_the_services_of_browsers_are_known(pushing: Pushing) -> None:
    pushing.devices._services = SERVICES
    hosts = ("fcm.googleapis.com", "updates.push.services.mozilla.com", "web.push.apple.com", "wns2-am3p.notify.windows.com")
    for host in hosts:
        assert (await pushing.subscribed(ANN, endpoint=f"https://{host}/to/x"))[1].status_code == 303
    assert len(await pushing.devices.of(ANN)) == len(hosts)


@pytest.mark.parametrize(
    "changes",
    [
        {"endpoint": "http://127.0.0.1:1/" + "x" * 1_000},
        {"endpoint": 5},
        {"keys": {}},
        {"keys": {"p256dh": "AAAA", "auth": "AAAA"}},
        {"keys": {"p256dh": "BA" + "A" * 85, "auth": "A" * 22}},
        {"keys": {"p256dh": "é" * 87, "auth": "A" * 22}},
    ],
    ids=lambda changes: str(changes)[:40],
)
async def test_what_no_browser_made_is_no_subscription(pushing: Pushing, changes: dict[str, Any]) -> None:
    assert (await pushing.subscribed(ANN, **changes))[1].status_code == 400
    assert await pushing.devices.all() == {}


async def test_a_person_has_so_many_devices_and_none_of_others(pushing: Pushing) -> None:
    for number in range(MOST):
        assert (await pushing.subscribed(ANN, f"phone-{number}"))[1].status_code == 303
    assert (await pushing.subscribed(ANN, "phone-0"))[1].status_code == 303  # the same once more is no other
    assert (await pushing.subscribed(ANN, "one more"))[1].status_code == 429
    first = (await pushing.devices.of(ANN))[0]
    for person, left in ((EVE, MOST), (ANN, MOST - 1)):
        visitor = await pushing.site.visitor(person)
        form = {"csrf": await pushing.site.csrf(visitor), "device": first.id}
        assert (await visitor.post("/account/devices/remove", data=form)).status_code == 303
        assert len(await pushing.devices.of(ANN)) == left


async def test_a_service_whose_name_leads_inside_is_not_spoken_to(pushing: Pushing) -> None:
    phone = Phone(pushing.service.url.replace("127.0.0.1", "localhost"))
    keys = phone.subscription["keys"]
    device = Device(ANN, phone.subscription["endpoint"], keys["p256dh"], keys["auth"], pushing.site.store.clock())
    async with client(Reach()) as session:
        sender = Sender(KEY, session, contact="https://approvals.example.com", clock=pushing.site.store.clock)
        told = await sender.send(device, b"{}", urgent=False, lasts=timedelta(minutes=1))
    assert (told.fate, pushing.service.messages) == (Fate.LATER, [])


async def test_the_worker_and_what_makes_it_an_app_are_there_for_everybody(pushing: Pushing) -> None:
    stranger: httpx2.AsyncClient = pushing.site.stranger()
    worker = await stranger.get("/sw.js")
    assert (worker.status_code, worker.headers["cache-control"]) == (200, "no-cache")
    assert worker.headers["content-type"].startswith("text/javascript")
    manifest = (await stranger.get("/static/app.webmanifest")).json()
    assert (manifest["start_url"], manifest["display"]) == ("/", "standalone")
    for icon in manifest["icons"]:
        assert (await stranger.get(icon["src"])).headers["content-type"] == icon["type"]


def test_the_key_is_the_same_on_all_brokers_of_a_store() -> None:
    assert ServerKey(b"k" * 32).public == KEY.public != ServerKey(b"l" * 32).public
    assert len({ServerKey(bytes([first]) * 32).public for first in (0, 255)}) == 2

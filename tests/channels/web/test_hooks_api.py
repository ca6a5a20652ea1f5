"""A tracker's answers: signed, once each, in the name of somebody who may review."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from broker.domain.enrolment import Lifecycle
from broker.domain.terms import Actor, Slot
from broker.registry.tracker import signed
from broker.store.open import Store
from tests.channels.web.conftest import Site
from tests.channels.web.test_official_api import FILES, NAME, OLGA
from tests.channels.web.test_servers_page import Toys, with_servers
from tests.fakes.server_json import server_json

SECRET = b"a tracker's secret, long enough"
PATH = "/api/hooks/reviews"


@pytest.fixture
async def bench(store: Store, tmp_path: Path) -> AsyncIterator[tuple[Site, Toys]]:
    async with with_servers(store, tmp_path, FILES, registry={"secret": SECRET, "once": store.once}) as (site, toys, _):
        toys.offers |= {"payments@1.0.0": [{"name": "balance"}]}
        by = Actor(OLGA, ("payments",))
        await site.parts.registry.enrolling.publish(server_json(), by)
        await site.parts.registry.enrolling.submit(NAME, by)
        yield site, toys


async def answer(site: Site, slot: str, message: str, **changed: Any) -> httpx2.Response:
    headers: dict[str, str] = changed.pop("headers", {})
    sheet = await site.parts.registry.reviewing.sheet(site.parts.registry.roster.enrolments[NAME])
    told = {
        "server": NAME, "slot": slot, "state": "approved", "by": f"{slot}@example.com", "ticket": "https://tracker.example.com/7",
        "digest": sheet.digest if sheet else "",
    } | changed  # fmt: skip
    body = json.dumps(told).encode()
    sent = signed(SECRET, message, int(site.web.now().timestamp()), body) | headers
    return await site.stranger().post(PATH, content=body, headers=sent)


async def test_a_tracker_brings_the_three_answers_and_the_server_is_approved(bench: Any) -> None:
    site, _ = bench
    for number, slot in enumerate(Slot):
        told = await answer(site, slot.value, f"msg_{number}")
        assert told.status_code == 200, told.text
    found = site.parts.registry.roster.enrolments[NAME]
    assert (told.json(), found.lifecycle) == ({"server": NAME, "lifecycle": "approved"}, Lifecycle.APPROVED)
    assert {review.ticket for review in found.grant.slots.values()} == {"https://tracker.example.com/7"}


async def test_a_message_that_comes_again_is_refused(bench: Any) -> None:
    site, _ = bench
    assert (await answer(site, "security", "msg_1")).status_code == 200
    again = await answer(site, "security", "msg_1", state="rejected", reason="no")
    assert (again.status_code, again.json()["detail"]) == (409, "this message was taken before")
    assert site.parts.registry.roster.enrolments[NAME].proposal.missing[0] == "legal_privacy pending"


async def test_a_message_of_which_nothing_came_may_come_again(bench: Any) -> None:
    site, toys = bench
    offered, toys.offers["payments@1.0.0"] = toys.offers["payments@1.0.0"], None
    assert (await answer(site, "security", "msg_1")).status_code == 502
    toys.offers["payments@1.0.0"] = offered
    assert (await answer(site, "security", "msg_1")).status_code == 200


@pytest.mark.parametrize(
    ("changed", "status"),
    [
        ({"headers": {"webhook-signature": "v1,AAAA"}}, 401),
        ({"headers": {"webhook-timestamp": "1"}}, 401),
        ({"by": "eve@example.com"}, 403),
        ({"by": OLGA}, 403),
        ({"by": "nobody@example.com"}, 403),
        ({"digest": "sha256:0"}, 409),
        ({"server": "com.example/nothing"}, 404),
        ({"state": "fine"}, 400),
        ({"extra": 1}, 400),
    ],
)
async def test_what_is_not_signed_or_not_allowed_changes_nothing(bench: Any, changed: dict[str, Any], status: int) -> None:
    site, _ = bench
    before = site.parts.registry.roster.enrolments[NAME]
    assert (await answer(site, "security", "msg_1", **changed)).status_code == status
    assert site.parts.registry.roster.enrolments[NAME] == before


async def test_without_a_secret_no_answer_is_taken(store: Store, tmp_path: Path) -> None:
    async with with_servers(store, tmp_path, FILES) as (site, _, _):
        headers = signed(b"", "msg_1", int(site.web.now().timestamp()), b"{}")
        assert (await site.stranger().post(PATH, content=b"{}", headers=headers)).status_code == 401

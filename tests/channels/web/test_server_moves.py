"""What people do with servers on their pages: enrol, review, suspend, accept a tool; and what they may not."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import msgspec
import pytest

from broker.domain.enrolment import Lifecycle
from broker.domain.events import Noted
from broker.domain.servers import ToolDefinition
from broker.domain.terms import Slot
from broker.registry.catalogue import Catalogue
from broker.store.open import Store
from tests.channels.web.conftest import Site
from tests.channels.web.test_official_api import FILES, NAME, OLGA
from tests.channels.web.test_servers_page import Toys, text_of, with_servers
from tests.fakes.server_json import server_json

TOOLS = [{"name": "balance", "description": "How much."}, {"name": "transfer", "description": "Moves money."}]
EVE, SECURITY = "eve@example.com", "security@example.com"


@pytest.fixture
async def bench(store: Store, tmp_path: Path) -> AsyncIterator[tuple[Site, Toys, Catalogue]]:
    async with with_servers(store, tmp_path, FILES) as made:
        made[1].offers |= {"payments@1.0.0": TOOLS, "payments": TOOLS}
        yield made


async def send(site: Site, who: httpx2.AsyncClient, path: str, **form: str) -> httpx2.Response:
    return await who.post(path, data={"csrf": await site.csrf(who), **form})


def digest_on(page: str) -> str:
    found = re.search(r'name="digest" value="(sha256:[0-9a-f]+)"', page)
    assert found is not None, text_of(page)
    return found[1]


async def enrolled(site: Site, **changed: Any) -> httpx2.AsyncClient:
    """Enrol the server as its owner's person, who asks for its reviews."""
    olga = await site.visitor(OLGA)
    document = msgspec.json.encode(server_json(**changed)).decode()
    answer = await send(site, olga, "/enrol", document=document)
    assert (answer.status_code, answer.headers.get("location")) == (303, "/servers/payments"), answer.text
    return olga


async def approved(site: Site) -> httpx2.AsyncClient:
    olga = await enrolled(site)
    await send(site, olga, "/servers/payments/moves", move="submit")
    for slot in Slot:
        reviewer = await site.visitor(f"{slot}@example.com")
        digest = digest_on((await reviewer.get("/servers/payments")).text)
        await send(site, reviewer, "/servers/payments/reviews", slot=slot, state="approved", digest=digest)
    return olga


def state(site: Site) -> Any:
    return site.parts.registry.roster.enrolments[NAME]


async def test_a_server_is_enrolled_submitted_reviewed_and_suspended_on_its_page(bench: Any) -> None:
    site: Site = bench[0]
    olga = await enrolled(site)
    eve, security = await site.visitor(EVE), await site.visitor(SECURITY)
    assert (await eve.get("/servers/payments")).status_code == 404
    assert "payments" not in text_of((await eve.get("/servers")).text).split("Show")[-1]
    await send(site, olga, "/servers/payments/moves", move="submit")
    told = text_of((await olga.get("/servers/payments")).text)
    assert "You answer for this server: somebody else has to review it." in told
    assert "Not approved: security pending, legal and privacy pending, GenAI pending" in told
    page = (await security.get("/servers/payments")).text
    assert "This widens access by support and 1 person of people.yaml." in text_of(page)
    assert "transfer new What it says of itself Moves money." in text_of(page)
    digest = digest_on(page)
    assert (
        await send(site, olga, "/servers/payments/reviews", slot="security", state="approved", digest=digest)
    ).status_code == 403
    for slot in Slot:
        reviewer = await site.visitor(f"{slot}@example.com")
        form = {"slot": slot.value, "state": "approved", "digest": digest, "ticket": "https://tracker.example.com/7"}
        assert (await send(site, reviewer, "/servers/payments/reviews", **form)).status_code == 303
    assert state(site).lifecycle is Lifecycle.APPROVED
    shown = text_of((await eve.get("/servers/payments")).text)
    assert "payments Approved" in shown
    assert "Approved Security by security@example.com" in shown
    assert "support with every accepted tool" in shown
    assert "https://payments.example.com/mcp" not in (await eve.get("/servers/payments")).text
    assert f"{site.url}/mcp/payments" in (await eve.get("/servers/payments")).text
    await send(site, olga, "/servers/payments/moves", move="suspend", why="it <b>leaks</b>")
    assert state(site).lifecycle is Lifecycle.SUSPENDED
    assert "Suspended: it &lt;b&gt;leaks&lt;/b&gt;" in text_of((await olga.get("/servers/payments")).text)
    assert (await eve.get("/servers/payments")).status_code == 200  # it was approved once, so it is known, as suspended


async def test_what_is_wrong_with_a_server_json_stands_beside_it_and_nothing_is_enrolled(bench: Any) -> None:
    site: Site = bench[0]
    olga = await site.visitor(OLGA)
    document = msgspec.json.encode(server_json(command=["sh", "-c", "id"], url="env:HOME")).decode()
    answer = await send(site, olga, "/enrol", document=document)
    assert answer.status_code == 422
    assert "command is not taken: a command would be run on this machine" in text_of(answer.text)
    assert (await send(site, olga, "/enrol", document="{")).status_code == 422
    assert (await olga.post("/enrol", data={"document": "{}"})).status_code == 403  # without the session's own token
    assert site.parts.registry.roster.enrolments == {}


async def test_a_review_of_what_has_changed_since_is_refused(bench: Any) -> None:
    site, toys, _ = bench
    olga = await enrolled(site)
    await send(site, olga, "/servers/payments/moves", move="submit")
    security = await site.visitor(SECURITY)
    digest = digest_on((await security.get("/servers/payments")).text)
    toys.offers["payments@1.0.0"] = [*TOOLS, {"name": "drop_everything"}]
    answer = await send(site, security, "/servers/payments/reviews", slot="security", state="approved", digest=digest)
    assert (answer.status_code, state(site).proposal.missing[0]) == (409, "security pending")


async def test_a_changed_tool_is_accepted_by_security_as_it_was_shown_and_its_calls_stop_until_then(bench: Any) -> None:
    site, toys, catalogue = bench
    olga = await approved(site)
    entry = site.parts.registry.roster.servers()["payments"]
    toys._servers = {**toys._servers, "payments": entry}
    assert (await catalogue.look("payments", "transfer", fresh=True)).known
    toys.offers["payments"] = [TOOLS[0], {"name": "transfer", "description": "Moves money to anybody."}]
    assert not (await catalogue.look("payments", "transfer", fresh=True)).known
    security = await site.visitor(SECURITY)
    page = (await security.get("/servers/payments?groups=support")).text
    assert "description before: Moves money. now: Moves money to anybody." in text_of(page)
    digest = ToolDefinition("payments", "transfer", toys.offers["payments"][1]).digest()
    form = {"tool": "transfer", "digest": digest}
    for who in (olga, await site.visitor(EVE)):
        assert (await send(site, who, "/servers/payments/tools", verdict="accept", **form)).status_code == 403
    assert (await send(site, security, "/servers/payments/tools", verdict="refuse", why="no", **form)).status_code == 303
    assert "Refused by security@example.com" in text_of((await security.get("/servers/payments")).text)
    assert not (await catalogue.look("payments", "transfer", fresh=True)).known
    stale = {**form, "digest": "sha256:" + "0" * 64}
    assert (await send(site, security, "/servers/payments/tools", verdict="accept", **stale)).status_code == 409
    assert (await send(site, security, "/servers/payments/tools", verdict="accept", **form)).status_code == 303
    assert (await catalogue.look("payments", "transfer")).known
    events = [entry.event for entry in await site.store.audit.read(0, 100) if isinstance(entry.event, Noted)]
    assert [(event.what, event.who) for event in events if event.what.startswith("tool.")] == [
        ("tool.refused", SECURITY), ("tool.pinned", SECURITY),
    ]  # fmt: skip


async def test_names_that_hide_what_they_are_stand_out_to_a_reviewer(bench: Any) -> None:
    site, toys, _ = bench
    toys.offers["payments@1.0.0"] = [{"name": "pay\u202etac", "description": "x\u200by"}]
    olga = await enrolled(site, groups={"support": ["pay\u202etac"]}, support=["\u202ehelp"], team="Pay\u202ements")
    await send(site, olga, "/servers/payments/moves", move="submit")
    page = (await (await site.visitor(SECURITY)).get("/servers/payments")).text
    assert not {"\u202e", "\u200b"} & set(page)
    assert page.count("\\u{202e}") >= 4


async def test_a_link_or_a_name_of_an_owner_cannot_become_a_script(bench: Any) -> None:
    site: Site = bench[0]
    olga = await enrolled(site, support=["javascript:alert(1)", "https://help.example.com/<b>", "help@example.com"], team="<i>P")
    page = (await olga.get("/servers/payments")).text
    assert "<b>" not in page.replace("<b></b>", "")
    assert "<i>P" not in page
    assert 'href="javascript' not in page
    assert 'href="mailto:help@example.com"' in page


async def test_who_is_asked_about_a_call_reads_where_to_ask_about_its_server(bench: Any) -> None:
    site: Site = bench[0]
    request = await site.park(server="files", tool="read", asks=(("finance", 1),))
    page = (await (await site.visitor("dana@example.com")).get(f"/r/{request.id}")).text
    assert "Questions about files: #f" in text_of(page)

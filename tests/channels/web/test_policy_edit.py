"""A rule changed for trial in its page: what it would have done, for whom, and the patch that git takes."""

from __future__ import annotations

import html
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import anyio
import msgspec
import pytest

from broker.channels.web import rehearsing
from broker.channels.web.charts import asks, changes, effects
from broker.channels.web.past_calls import past_calls
from broker.domain.calls import Caller, ToolCall
from broker.domain.servers import ToolDefinition
from broker.policy.cases import load_cases
from broker.policy.load import files, load
from broker.policy.rehearsal import Order
from broker.policy.replay import Change, Load, Recorded, Replay, Was
from broker.policy.suite import run
from broker.registry.ports import Listing
from broker.store.open import Store
from tests.channels.web.conftest import ANN, CY, DANA, EVE, Policies, Site, served
from tests.channels.web.test_about_the_broker import PEOPLE, RULES, SERVERS, TESTS, text_of

LOOSER = """  - id: large
    title: "Refund {args.amount}"
    match: {server: payments, tool: refund_create}
    when: args.amount > 1000
    effect: require_approval
    approval: {all_of: [{group: finance}], timeout: 15m}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    people = PEOPLE.replace("support:", "security: [cy@example.com], strangers: [eve@example.com], support:")
    for name, text in (("people", people), ("servers", SERVERS), ("rules", RULES), ("rules.test", TESTS)):
        (tmp_path / f"{name}.yaml").write_text(text)
    return tmp_path


@asynccontextmanager
async def policed(store: Store, folder: Path, **parts: Any) -> AsyncIterator[Site]:
    policies = Policies()
    policies.current = load(folder)
    async with served(store, policies=policies, policy_folder=folder, recordings=store.recordings, **parts) as site:
        yield site


async def sent(site: Site, person: str, text: str, path: str = "", **fields: str) -> Any:
    client = await site.visitor(person)
    form = {"csrf": await site.csrf(client), "digest": site.parts.policies.current.digest, "text": text} | fields
    return await client.post(f"/policies/rules/large{path}", data=form)


async def test_the_page_shows_the_rule_as_it_is_written(store: Store, folder: Path) -> None:
    async with policed(store, folder) as site:
        page = (await (await site.visitor(ANN)).get("/policies/rules/large")).text
        assert "Lines 5 to 10 of rules.yaml" in text_of(page)
        written = html.unescape(re.findall(r"<textarea[^>]*>([^<]*)</textarea>", page)[0])
        assert written == (folder / "rules.yaml").read_text().split("\n", 4)[4].rsplit("\n", 2)[0]


async def test_a_change_is_replayed_drawn_and_offered_as_a_patch_with_a_test(store: Store, folder: Path) -> None:
    async with policed(store, folder) as site:
        small = await site.park("Refund 900", {"amount": 900, "currency": "EUR"})
        await site.park("Refund 5000", {"amount": 5000, "currency": "EUR"})
        ann = await site.visitor(ANN)
        await site.review(ann, small, "reject", "no")
        answer = await sent(site, ANN, LOOSER)
        page = text_of(answer.text)
        assert answer.status_code == 200
        assert "Of 2 past calls over 1 day, 2 would be decided otherwise, 1 more loosely" in page
        assert page.index("Fewer approvers: 1") < page.index("Newly denied: 1") < page.index("Change Calls By")
        assert "finance 4.0 1.0" not in page
        assert "Only requests that you may see are counted." in page
        patch = await sent(site, ANN, LOOSER, "/patch")
        assert patch.headers["content-disposition"] == 'attachment; filename="large.patch"'
    await anyio.run_process(["git", "apply", "-"], input=patch.content, cwd=folder)
    cases = load_cases(folder, load(folder))
    assert len(cases) == 3
    assert [failure.name for failure in run(load(folder), cases).failures] == ["wrong on purpose"]


async def test_nobody_asks_a_rule_about_calls_that_are_not_theirs_to_read(store: Store, folder: Path) -> None:
    call = ToolCall(
        "payments", "refund_create", {"name": "refund_create", "arguments": {"amount": 7}}, Caller(user="x@example.com")
    )
    allowed = msgspec.json.encode(Recorded(datetime.now(UTC), call, was=Was("allow", ("small",))))
    async with policed(store, folder, observers=("security",)) as site:
        await site.park("Refund 900", {"amount": 900, "api_key": "sk-live-abcdefghijklmnopqrstuv"})
        store.recordings.put(allowed)
        await store.recordings.flush()
        found = {}
        for person in (ANN, EVE, CY):
            who = await site.sessions.find((await site.visitor(person)).cookies["broker"])
            assert who is not None
            found[person] = await past_calls(site.web, who)
    assert {who: (len(past.lines), past.all) for who, past in found.items()} == {
        ANN: (1, False), EVE: (0, False), CY: (2, True),
    }  # fmt: skip
    assert b"sk-live" not in b"".join(found[CY].lines)


@pytest.mark.parametrize(
    ("text", "fields", "told"),
    [
        ("  - {id: large, effect: alow}", {}, "This can't be loaded rules.yaml:5:"),
        (LOOSER, {"digest": "sha256:old"}, "The policy has changed since you opened this page"),
        (LOOSER, {"server": "payments", "tool": "refund_create", "arguments": "{"}, "The arguments are no JSON"),
    ],
)
async def test_what_can_not_be_rehearsed_comes_back_with_the_text(
    store: Store, folder: Path, text: str, fields: dict[str, str], told: str
) -> None:
    async with policed(store, folder) as site:
        answer = await sent(site, ANN, text, **fields)
    assert (answer.status_code, told in text_of(answer.text)) == (422, True)
    assert html.escape(text.strip().split("\n")[0], quote=False) in answer.text


async def test_a_request_tells_what_every_rule_says_about_it_with_secrets_covered(store: Store, folder: Path) -> None:
    async with policed(store, folder, offers=Offers()) as site:
        request = await site.park(
            "Refund", {"amount": 900, "currency": "EUR", "key": "sk-live-abcdefghijklmnopqrstuv"}, owner=DANA
        )
        ann = await site.visitor(ANN)
        assert f"/r/{request.id}/why" in (await ann.get(f"/r/{request.id}")).text
        page = text_of((await ann.get(f"/r/{request.id}/why")).text)
        refused = await (await site.visitor(DANA)).get(f"/r/{request.id}/why")
    for told in (
        "People are asked by large", "args.amount is 900", "small allow · does not hold: when is false",
        "it was another one, and refund-large decided", "Listed in servers.yaml inputSchema", "note", "\\u{202e}",
    ):  # fmt: skip
        assert told in page
    assert "sk-live" not in page
    assert (refused.status_code, "large" in refused.text) == (403, False)


async def test_a_rule_that_is_not_there_and_files_that_are_not_in_force_are_told(store: Store, folder: Path) -> None:
    async with policed(store, folder) as site:
        ann = await site.visitor(ANN)
        assert (await ann.get("/policies/rules/none")).status_code == 404
        (folder / "rules.yaml").write_text("rules: [")
        changed = await ann.get("/policies/rules/large")
    assert (changed.status_code, "The files are not those in force" in text_of(changed.text)) == (403, True)


async def test_a_rehearsal_stops_no_page_and_is_ended_when_it_takes_too_long(
    store: Store, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rehearsing, "LONGEST", 1.0)
    call = ToolCall("payments", "refund_create", {"name": "refund_create", "arguments": {"amount": 7}}, Caller())
    line = msgspec.json.encode(Recorded(datetime.now(UTC), call))
    policy = load(folder)
    order = Order(files(folder), {}, "large", LOOSER, policy.servers, lines=[line] * 50_000)
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await anyio.sleep(0.01)
            ticks += 1

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(tick)
        with pytest.raises(rehearsing.NotRehearsed, match="longer than"):
            await rehearsing.Rehearser().run(order)
        tasks.cancel_scope.cancel()
    assert ticks >= 10


def test_the_picture_says_what_the_report_says() -> None:
    report = Replay(
        4, 0, 1.0, {"allow": {"allow": 2, "require_approval": 1}, "deny": {"deny": 1}}, 1,
        {"newly_allowed": Change(1, {}, ()), "newly_asked": Change(4, {}, ())}, {"finance": Load(2.0, 4.0, None)},
    )  # fmt: skip
    assert [(bar.of, bar.kind, bar.x, bar.width) for bar in effects(report).bars] == [
        ("before", "allow", 0, 75), ("before", "require_approval", 75, 0), ("before", "deny", 75, 25),
        ("after", "allow", 0, 50), ("after", "require_approval", 50, 25), ("after", "deny", 75, 25),
    ]  # fmt: skip
    assert [(bar.kind, bar.width) for bar in changes(report).bars] == [("newly_allowed", 25), ("newly_asked", 100)]
    assert [(bar.kind, bar.width) for bar in asks(report).bars] == [("before", 50), ("after", 100)]


class Offers:
    """A server that describes its tool."""

    def last(self, server: str) -> tuple[Listing, float] | None:
        schema = {
            "type": "object", "required": ["amount"],
            "properties": {
                "amount": {"type": "number"}, "currency": {"enum": ["EUR", "USD"]}, "lines": {"type": "array"},
                "note": {"type": "string", "description": "<b>\u202e"},
            },
        }  # fmt: skip
        tool = ToolDefinition("payments", "refund_create", {"name": "refund_create", "inputSchema": schema})
        return (Listing("payments", (tool,)), 1.0) if server == "payments" else None

    def problem(self, server: str) -> str:
        return ""


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ("", "amount (needed) currency (left out) &#34;EUR&#34; &#34;USD&#34; lines note &lt;b&gt; \\u{202e} As JSON instead"),
        ("&arg.amount=40&arg.currency=&arg.note=", "Allowed by small"),
        ("&arg.amount=900&arg.currency=%22EUR%22&arg.lines=[1]", "People are asked by large"),
        ("&arg.amount=many", "Denied by arguments"),
        ("&arg.amount=1&arg.lines=[", "`lines` is no JSON"),
        ("&arg.amount=1&arguments={%22amount%22:900,%22currency%22:%22EUR%22}", "People are asked by large"),
    ],
)
async def test_a_tool_is_tried_by_a_form_of_its_own_schema(store: Store, folder: Path, query: str, told: str) -> None:
    async with policed(store, folder, offers=Offers()) as site:
        page = text_of((await (await site.visitor(ANN)).get(f"/policies?server=payments&tool=refund_create{query}")).text)
    assert told in page

"""How a server comes to be approved: three reviews by others than its owners, and nothing granted that they were not shown."""

from __future__ import annotations

import json
from typing import Any

import anyio

from tests.company.bench import Bench
from tests.company.enrolling import READS, another, enrolled, published, review, submitted, until_listed
from tests.company.files import ANN, FIN, OLGA, SAM, SLOTS


async def answered(bench: Bench, server: str, who: str = ANN) -> int:
    return (await bench.call(bench.token(who), server, "search", {"question": f"{server} of {who}"})).status_code


async def told(bench: Bench, name: str, version: str = "latest", who: str = "security@example.com") -> dict[str, Any]:
    """What the registry tells a reviewer of the terms of a version."""
    answer = await bench.api(who, "GET", f"/v0.1/servers/com.example/{name}/versions/{version}")
    assert answer.status_code == 200, answer.text
    return dict(answer.json()["_meta"]["approval-broker/governance"])


async def test_two_reviews_of_three_let_nobody_in_and_the_third_does(bench: Bench) -> None:
    async with another(bench, "team-three") as toy:
        assert (await published(bench, toy)).status_code == 200
        await submitted(bench, "team-three")
        owner = await review(bench, "team-three", "security", OLGA)
        assert owner.status_code == 403
        for slot in ("security", "legal_privacy"):
            assert (await review(bench, "team-three", slot, ticket="https://tracker.example.com/1")).status_code == 200
            assert await answered(bench, "team-three") == 404
        silent = await review(bench, "team-three", "genai", state="n/a")
        assert (silent.status_code, "needs a reason" in silent.text) == (409, True)
        assert await answered(bench, "team-three") == 404
        assert toy.ran == []
        assert (await review(bench, "team-three", "genai", state="n/a", reason="no model is in it")).status_code == 200
        await until_listed(bench, bench.token(), "team-three")
        assert await answered(bench, "team-three") == 200
        reviews = (await told(bench, "team-three"))["reviews"]
    assert {slot: (one["state"], one.get("ticket", ""), one.get("reason", "")) for slot, one in reviews.items()} == {
        "security": ("approved", "https://tracker.example.com/1", ""),
        "legalPrivacy": ("approved", "https://tracker.example.com/1", ""), "genai": ("n/a", "", "no model is in it"),
    }  # fmt: skip


async def test_whoever_owns_a_server_does_not_review_it_though_they_are_a_reviewer_too(bench: Bench) -> None:
    held = json.loads((bench.folder / "policies" / "people.yaml").read_text())
    held["groups"]["security"].append(OLGA)
    async with another(bench, "team-own") as toy, bench.changed(people=json.dumps(held)):
        assert (await published(bench, toy)).status_code == 200
        await submitted(bench, "team-own")
        refused = await review(bench, "team-own", "security", OLGA)
        assert (refused.status_code, "somebody else has to decide" in refused.text) == (403, True)


async def test_what_a_review_granted_is_a_numbered_record_and_nothing_else_changes_it(bench: Bench) -> None:
    async with another(bench, "team-record") as toy:
        await enrolled(bench, toy)
        await until_listed(bench, bench.token(), "team-record")
        first = await told(bench, "team-record")
        assert (first["grant"], first["allowedGroups"]) == (1, {"ads-eng": ["*"]})
        assert {one["by"] for one in first["reviews"].values()} == {f"{slot}@example.com" for slot in SLOTS}
        wider = {"groups": ["ads-eng", "finance"], "version": "1.1.0"}
        assert (await published(bench, toy, FIN, **wider)).status_code == 403
        assert (await published(bench, toy, **wider)).status_code == 200
        await submitted(bench, "team-record")
        assert [await answered(bench, "team-record", who) for who in (ANN, FIN)] == [200, 403]
        for slot in SLOTS:
            assert (await told(bench, "team-record", "1.0.0"))["allowedGroups"] == {"ads-eng": ["*"]}
            assert await answered(bench, "team-record", FIN) == 403
            assert (await review(bench, "team-record", slot)).status_code == 200
        await until_listed(bench, bench.token(FIN), "team-record")
        second = await told(bench, "team-record", "1.1.0")
        assert (second["grant"], second["allowedGroups"]) == (2, {"ads-eng": ["*"], "finance": ["*"]})
        assert (await told(bench, "team-record", "1.0.0"))["grant"] == 1  # what was granted before is kept


async def test_the_minutes_that_a_tool_saves_are_its_owners_to_say_and_what_was_said_before_is_kept(bench: Bench) -> None:
    async with another(bench, "team-minutes") as toy:
        await enrolled(bench, toy)
        more = {"version": "1.1.0", "tools": {"search": READS | {"minutes_saved": 90}}}
        for who in (ANN, SAM):
            assert (await published(bench, toy, who, **more)).status_code == 403
        await enrolled(bench, toy, **more)
        with anyio.fail_after(10):
            while (await told(bench, "team-minutes"))["inForce"] is not True:  # noqa: ASYNC110 - it is known within a moment
                await anyio.sleep(0.05)
        minutes = {version: (await told(bench, "team-minutes", version))["tools"] for version in ("1.0.0", "1.1.0")}
    said = {version: [tool["minutesSaved"] for tool in tools] for version, tools in minutes.items()}
    assert said == {"1.0.0": [4], "1.1.0": [90]}

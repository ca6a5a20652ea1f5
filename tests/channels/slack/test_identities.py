"""Who may decide from Slack: known members of this workspace who are asked, and nobody else; every refusal says why."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from broker.channels.slack import identities
from broker.channels.slack.identities import unfit
from broker.domain.requests import ApprovalRequest, RequestState
from broker.errors import ChannelAway
from tests.channels.slack.bench import ALICE, Bench
from tests.fakes.slack_faults import Fault

HOME = "T000000001"
GOOD = {"id": "U1", "team_id": HOME}


@pytest.mark.parametrize(
    ("account", "team", "why"),
    [
        (GOOD, HOME, ""),
        ({**GOOD, "deleted": True}, HOME, "switched off"),
        ({}, HOME, "switched off"),
        ({**GOOD, "is_bot": True}, HOME, "Bots"),
        ({**GOOD, "is_workflow_bot": True}, HOME, "Bots"),
        ({**GOOD, "id": "USLACKBOT"}, HOME, "Bots"),
        ({**GOOD, "is_restricted": True}, HOME, "Guests"),
        ({**GOOD, "is_ultra_restricted": True}, HOME, "Guests"),
        ({**GOOD, "is_stranger": True}, HOME, "another"),
        ({**GOOD, "team_id": "T2"}, HOME, "another"),
        (GOOD, "T2", "another"),
        (GOOD, "", "another"),
    ],
)
def test_which_accounts_are_fit(account: dict[str, Any], team: str, why: str) -> None:
    told = unfit(account, team, HOME)
    assert (why in told) if why else told == ""
    assert unfit(account, team, "") != ""


async def press(bench: Bench, user: str, **changes: Any) -> str:
    """Press Approve on the latest card and return the answer."""
    card = await bench.card()
    click = await bench.slack.click("refunds", card["ts"], "approve", user)
    click["user"].update(changes)
    await bench.slack.interact(click)
    return await bench.told()


async def nothing_was_counted(bench: Bench, request_id: str) -> bool:
    found = await bench.desk.look(request_id)  # type: ignore[arg-type]
    return found.state is RequestState.PENDING and not found.reviews


@pytest.mark.parametrize(
    ("account", "answer"),
    [
        ({"is_restricted": True}, "Guests can't decide."),
        ({"is_stranger": True}, "Only members of the workspace"),
        ({"team_id": "T0OTHER"}, "Only members of the workspace"),
        ({"deleted": True}, "switched off"),
        ({"is_bot": True}, "Bots can't decide."),
    ],
)
async def test_guests_bots_strangers_and_other_teams_are_refused(bench: Bench, account: dict[str, Any], answer: str) -> None:
    dana = await bench.slack.user("dana")
    bench.slack.accounts[dana] = account
    async with bench.running():
        request = await bench.parked()
        assert answer in await press(bench, dana)
        assert await nothing_was_counted(bench, request.id)


async def test_a_click_from_another_workspace_is_refused_whatever_the_account_says(bench: Bench) -> None:
    async with bench.running():
        request = await bench.parked()
        assert "Only members of the workspace" in await press(bench, await bench.slack.user("dana"), team_id="T0OTHER")
        assert await nothing_was_counted(bench, request.id)


async def test_who_is_asked_nowhere_and_who_asked_are_refused(bench: Bench) -> None:
    mallory, alice = await bench.slack.user("mallory"), await bench.slack.user("alice")
    async with bench.running():
        request = await bench.parked()
        assert "Type `/approvals link`" in await press(bench, mallory)
        assert "You asked for this call, or your agent did" in await press(bench, alice)
        assert await nothing_was_counted(bench, request.id)


async def test_a_known_person_outside_the_groups_is_refused(bench: Bench) -> None:
    mallory = await bench.slack.user("mallory")
    async with bench.running():
        assert bench.channel is not None
        await bench.channel.linking._identities.link(HOME, mallory, "someone@example.com")
        request = await bench.parked()
        assert "Only members of finance may review this request" in await press(bench, mallory)
        assert await nothing_was_counted(bench, request.id)


async def test_slack_not_saying_who_it_was_is_a_refusal(bench: Bench) -> None:
    dana = await bench.slack.user("dana")
    bench.slack.faults.append(Fault("users.info", "500", times=-1))
    async with bench.running():
        request = await bench.parked()
        assert "Slack does not say who you are" in await press(bench, dana)
        assert await nothing_was_counted(bench, request.id)


async def test_an_email_address_is_believed_only_where_that_is_switched_on(bench: Bench) -> None:
    bench.policies.write(people="people: {mallory@example.com: {}}\ngroups: {finance: [mallory@example.com]}")
    bench.policies.rules()
    mallory = await bench.slack.user("mallory")
    async with bench.running():
        request = await bench.parked()
        assert "Type `/approvals link`" in await press(bench, mallory)
        assert await nothing_was_counted(bench, request.id)
    bench.config = msgspec.structs.replace(bench.config, by_email=True)
    async with bench.running():
        assert "last one needed" in await press(bench, mallory)
        (review,) = (await bench.desk.look(request.id)).reviews
        assert (review.reviewer, review.view.endswith(":e-mail")) == ("mallory@example.com", True)


async def test_an_address_that_slack_has_not_confirmed_is_nobodys(bench: Bench) -> None:
    bench.policies.write(people="people: {mallory@example.com: {}}\ngroups: {finance: [mallory@example.com]}")
    bench.policies.rules()
    bench.config = msgspec.structs.replace(bench.config, by_email=True)
    mallory = await bench.slack.user("mallory")
    bench.slack.accounts[mallory] = {"is_email_confirmed": False}
    async with bench.running():
        await bench.parked()
        assert "Type `/approvals link`" in await press(bench, mallory)


async def test_one_slack_id_for_two_persons_is_nobodys(bench: Bench) -> None:
    dana = await bench.slack.user("dana")
    twice = f"people: {{a@x.com: {{slack_id: {dana}}}, b@x.com: {{slack_id: {dana}}}}}"
    bench.policies.write(people=f"{twice}\ngroups: {{finance: [a@x.com, b@x.com]}}")
    bench.policies.rules()
    async with bench.running():
        await bench.parked()
        assert "Type `/approvals link`" in await press(bench, dana)


async def test_a_slack_user_group_makes_its_members_approvers(bench: Bench) -> None:
    """Of people.yaml's `leads`, only the Slack group holds Dana."""
    dana, fay = await bench.slack.user("dana"), await bench.slack.user("fay")
    bench.slack.usergroups["S0LEADS"] = [dana]
    bench.policies.write(rules=LEADS)
    bench.policies.load()
    async with bench.running():
        request = await bench.parked(ALICE)
        assert "Only members of leads" in await press(bench, fay)
        assert "last one needed" in await press(bench, dana)
        (review,) = (await bench.desk.look(request.id)).reviews
        assert review.groups == ("finance", "leads")


async def approved_by_a_lead(bench: Bench) -> ApprovalRequest:
    """Dana, whom only Slack's user group makes a lead, approves; what is released meanwhile waits."""
    dana = await bench.slack.user("dana")
    bench.slack.usergroups["S0LEADS"] = [dana]
    bench.policies.write(rules=LEADS)
    bench.policies.load()
    request = await bench.parked(ALICE)
    assert "last one needed" in await press(bench, dana)
    return await bench.desk.look(request.id)


async def test_who_left_the_user_group_between_click_and_release_counts_no_more(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(identities, "RELEASE", 0.0)
    async with bench.running(release=False):
        request = await approved_by_a_lead(bench)
        bench.slack.usergroups["S0LEADS"] = []
        await bench.releaser.release(request.id)
        after = await bench.desk.look(request.id)
        assert (after.state, [review.groups for review in after.reviews]) == (RequestState.PENDING, [("finance",)])
        assert bench.ledger.rows == []


async def test_nothing_is_released_while_slack_does_not_say_who_is_in_a_group(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(identities, "RELEASE", 0.0)
    async with bench.running(release=False):
        request = await approved_by_a_lead(bench)
        silent = Fault("usergroups.users.list", "500", times=-1)
        bench.slack.faults.append(silent)
        for _ in range(3):
            with pytest.raises(ChannelAway):
                await bench.releaser.release(request.id)
        assert (await bench.desk.look(request.id), bench.ledger.rows, silent.struck) == (request, [], 1)
        silent.left = 0
        assert bench.channel is not None
        bench.channel.linking._identities._failed.clear()  # as five seconds do
        await bench.releaser.release(request.id)
        await bench.reached(request, RequestState.COMPLETED)


async def test_once_slack_is_off_its_user_groups_count_no_more(bench: Bench) -> None:
    async with bench.running(release=False):
        request = await approved_by_a_lead(bench)
        bench.groups.slack = None
        await bench.releaser.release(request.id)
        assert (await bench.desk.look(request.id)).state is RequestState.PENDING


LEADS = """
defaults: {unmatched: deny}
rules:
  - id: refunds
    title: "Refund"
    match: {server: payments, tool: refund_create}
    effect: require_approval
    approval: {all_of: [{group: leads}], timeout: 2h, channels: ["slack:#refunds"]}
"""


async def test_an_account_is_connected_by_a_person_signed_in_on_the_web(bench: Bench) -> None:
    mallory = await bench.slack.user("mallory")
    async with bench.running():
        assert bench.channel is not None
        linking = bench.channel.linking
        request = await bench.parked()
        await bench.slack.command("link", mallory)
        words = await bench.told()
        assert words.startswith("Open https://approvals.example.com/slack/link/")
        code = words.split("/slack/link/")[1].split(" ")[0]
        account = await linking.look(code)
        assert account is not None
        assert (account.user, account.name) == (mallory, "Mallory, mallory, mallory@example.com")
        assert await linking.confirm(code, "fay@example.com") == account
        assert await linking.confirm(code, "fay@example.com") is None
        assert await linking.look(code) is None
        assert "last one needed" in await press(bench, mallory)
        (review,) = (await bench.desk.look(request.id)).reviews
        assert (review.reviewer, review.view.endswith(":link")) == ("fay@example.com", True)


async def test_a_person_has_one_slack_account(bench: Bench) -> None:
    async with bench.running():
        assert bench.channel is not None
        identities = bench.channel.linking._identities
        await identities.link(HOME, "U1", "dana@example.com")
        await identities.link(HOME, "U2", "dana@example.com")
        assert (await identities.slack_ids())["dana@example.com"] == "U2"
        assert len(await bench.store.slack.links.all()) == 1


@pytest.mark.parametrize("code", ["", "x", "../../etc", "a" * 43, "a" * 5_000])
async def test_what_is_no_code_connects_nobody(bench: Bench, code: str) -> None:
    async with bench.running(serve=False):
        assert bench.channel is not None
        assert await bench.channel.linking.look(code) is None
        assert await bench.channel.linking.confirm(code, "dana@example.com") is None

"""From an empty workspace to the first approval: the manifest, the check with its mends, and a whole broker with Slack on."""

from __future__ import annotations

import json
from pathlib import Path

import anyio
import pytest

from broker.channels.slack.api import slack_session
from broker.channels.slack.channel import SlackConfig
from broker.channels.slack.check import Found, checked
from broker.channels.slack.manifest import SCOPES, manifest
from broker.cli.main import main
from broker.domain.people import Group, People, Person
from broker.errors import ConfigInvalid
from broker.inward import slack_config
from broker.settings import Settings
from tests.fakes.slack_faults import Fault
from tests.fakes.slack_front import SlackFront


def test_the_manifest_asks_for_least_and_reads_no_history() -> None:
    made = manifest()
    assert made["oauth_config"]["scopes"]["bot"] == list(SCOPES)
    assert not [scope for scope in SCOPES if "history" in scope or "customize" in scope or "public" in scope]
    assert made["settings"]["socket_mode_enabled"] is True
    assert made["settings"]["event_subscriptions"] == {
        "bot_events": ["app_home_opened", "message_metadata_posted"],
        "metadata_subscriptions": [{"app_id": "*", "event_type": "approval_card"}],
    }
    assert "url" not in made["features"]["slash_commands"][0]


def test_the_manifest_for_http_names_every_address() -> None:
    made = manifest("https://approvals.example.com/")
    told = json.dumps(made)
    for path in ("/slack/commands", "/slack/events", "/slack/interactions"):
        assert f'"https://approvals.example.com{path}"' in told
    assert made["settings"]["socket_mode_enabled"] is False


def test_the_command_prints_a_manifest(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert main(["slack", "manifest"]) == 0
    assert json.loads(capsys.readouterr().out) == manifest()
    assert main(["slack", "manifest", "--http"]) == 2
    monkeypatch.setenv("BROKER_PUBLIC_URL", "https://approvals.example.com")
    assert main(["slack", "manifest", "--http"]) == 0
    assert json.loads(capsys.readouterr().out) == manifest("https://approvals.example.com")


def test_half_a_setup_is_refused() -> None:
    assert slack_config(Settings()) is None
    with pytest.raises(ConfigInvalid):
        slack_config(Settings(slack_bot_token="xoxb-x"))
    assert slack_config(Settings(slack_bot_token="xoxb-x", slack_app_token="xapp-x")) == SlackConfig("xoxb-x", app_token="xapp-x")


async def found(
    front: SlackFront, people: People = People(), *places: str, app_token: str = "", pages: str = "http://127.0.0.1:8450"  # noqa: B008
) -> list[Found]:  # fmt: skip
    config = SlackConfig("xoxb-test", signing_secret="s", app_token=app_token, url=front.url)
    async with slack_session() as session:
        return [one async for one in checked(config, people, places, session, pages=pages)]


async def mends(front: SlackFront, *, pages: str = "https://approvals.example.com", people: People = People()) -> dict[str, str]:  # noqa: B008
    """What is wrong, and the mend for each."""
    return {one.about: one.mend for one in await found(front, people, "#ops", pages=pages) if not one.fine}


async def test_a_good_setup_has_nothing_to_mend_and_leaves_nothing_behind(front: SlackFront) -> None:
    front.usergroups["S0LEADS"] = ["U1"]
    dana = await front.user("dana")
    people = People({"dana@example.com": Person("dana@example.com", "Dana", dana)}, {"leads": Group("leads", slack="S0LEADS")})
    told = await found(front, people, "#refunds", "#refunds", "#ops", app_token="xapp-test")
    assert [one for one in told if not one.fine] == []
    about = [one.about for one in told]
    assert about == [
        "bot token", "scopes", "clock", "pages", "app token", "#refunds", "#ops", "group leads", "dana@example.com",
    ]  # fmt: skip
    assert await front.messages("refunds") == []


async def test_each_finding_has_its_mend(front: SlackFront) -> None:
    people = People({"x@example.com": Person("x@example.com", "X", "U0NOBODY")}, {"leads": Group("leads", slack="S0NONE")})
    front.faults.append(Fault("apps.connections.open", "invalid_auth"))
    told = {one.about: one for one in await found(front, people, "#nowhere", app_token="xapp-wrong")}
    wrong = {about: one.mend for about, one in told.items() if not one.fine}
    assert set(wrong) == {"app token", "#nowhere", "group leads", "x@example.com"}
    assert all(wrong.values())


@pytest.mark.parametrize(
    ("method", "kind", "about", "mend"),
    [
        ("auth.test", "invalid_auth", "bot token", "set BROKER_SLACK_BOT_TOKEN"),
        ("auth.test", "token_revoked", "bot token", "install the app again"),
        ("auth.test", "account_inactive", "bot token", "install the app again"),
        ("auth.test", "gone", "bot token", "reaches slack.com"),
        ("api.test", "gone", "clock", "reaches slack.com"),
        ("chat.scheduleMessage", "not_in_channel", "#ops", "/invite @Approvals"),
        ("chat.scheduleMessage", "channel_not_found", "#ops", "invite the app"),
        ("chat.scheduleMessage", "is_archived", "#ops", "unarchive"),
        ("chat.scheduleMessage", "restricted_action", "#ops", "posting permissions"),
        ("chat.scheduleMessage", "missing_scope", "#ops", "broker slack manifest"),
    ],
)
async def test_what_slack_refuses_has_its_mend(front: SlackFront, method: str, kind: str, about: str, mend: str) -> None:
    front.faults.append(Fault(method, kind, times=-1))
    wrong = await mends(front)
    assert list(wrong) == [about]
    assert mend in wrong[about]


async def test_what_the_answers_give_away_has_its_mend(front: SlackFront) -> None:
    assert await mends(front) == {}
    front.heads = {"x-oauth-scopes": "chat:write,commands", "Date": "Tue, 24 Nov 2026 12:00:00 GMT"}
    front.usergroups["S0EMPTY"] = []
    dana = await front.user("dana")
    front.accounts[dana] = {"deleted": True}
    wrong = await mends(front, pages="http://approvals.example.com", people=People(
        {"dana@example.com": Person("dana@example.com", "Dana", dana)}, {"leads": Group("leads", slack="S0EMPTY")},
    ))  # fmt: skip
    assert wrong == {
        "scopes": "install the app again with the manifest of `broker slack manifest`",
        "clock": "run a time service: signatures would be refused",
        "pages": "set BROKER_PUBLIC_URL to the address by which people reach the broker, with https://",
        "group leads": "add members to the user group",
        "dana@example.com": "the account can't decide",
    }
    front.heads = {}
    assert list(await mends(front, pages="")) == ["pages"]


async def test_the_command_checks_what_settings_and_rules_name(
    front: SlackFront, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("BROKER_SLACK_BOT_TOKEN", "xoxb-test")
    monkeypatch.setenv("BROKER_SLACK_SIGNING_SECRET", "s")
    monkeypatch.setenv("BROKER_SLACK_URL", front.url)
    monkeypatch.setenv("BROKER_SLACK_CONVERSATION", "#ops")
    monkeypatch.setenv("BROKER_POLICIES", str(tmp_path))
    (tmp_path / "servers.yaml").write_text('servers: {pay: {url: "http://127.0.0.1:9/mcp", tools: {t: {}}}}')
    (tmp_path / "people.yaml").write_text("people: {d@example.com: {}}\ngroups: {g: [d@example.com]}")
    rule = 'match: {server: pay}, effect: require_approval, approval: {all_of: [{group: g}], channels: ["slack:#nowhere"]}'
    (tmp_path / "rules.yaml").write_text(f"defaults: {{unmatched: deny}}\nrules: [{{id: pay-asks, {rule}}}]")
    assert await anyio.to_thread.run_sync(main, ["slack", "check"]) == 1
    said = capsys.readouterr().out
    assert "ok    #ops: the app may post" in said
    assert "BAD   #nowhere: chat.scheduleMessage was refused: channel_not_found" in said
    monkeypatch.delenv("BROKER_SLACK_BOT_TOKEN")
    assert await anyio.to_thread.run_sync(main, ["slack", "check"]) == 2

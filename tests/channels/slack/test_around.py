"""Around the card: App Home, the command, direct messages, reminders, escalation, the requester, cards of all kinds of places."""

from __future__ import annotations

import anyio
import msgspec

from broker.domain.requests import RequestState
from broker.domain.reviews import Verdict
from tests.channels.slack.bench import ALICE, Bench, text
from tests.fakes.slack_faults import Fault
from tests.fakes.slack_front import TEAM


async def opened_home(bench: Bench, user: str) -> None:
    await bench.slack.event({"type": "app_home_opened", "user": user, "tab": "home"})


async def home(bench: Bench, user: str, says: str) -> str:
    """Wait until somebody's App Home says something."""
    with anyio.fail_after(10):
        await bench.slack.until(lambda: says in text(bench.slack.homes.get(user, {})))
    return text(bench.slack.homes[user])


async def test_app_home_is_a_personal_inbox_that_is_kept_up_to_date(bench: Bench) -> None:
    dana, alice, mallory = [await bench.slack.user(name) for name in ("dana", "alice", "mallory")]
    async with bench.running():
        for user in (dana, alice, mallory):
            await opened_home(bench, user)
        await home(bench, dana, "Nothing waits for you")
        await home(bench, mallory, "Type `/approvals link`")
        request = await bench.parked()
        assert "Refund 40 to A-1" in await home(bench, dana, "1 request waits for you")
        await bench.slack.interact(await bench.slack.click_home("approve", dana))
        await bench.reached(request, RequestState.COMPLETED)
        await home(bench, dana, "Nothing waits for you")
        assert "Nothing waits for you" in text(bench.slack.homes[alice])  # it was her agent's call
        await bench.card(says="Approved and ran")


async def test_a_refusal_in_app_home_comes_as_a_direct_message(bench: Bench) -> None:
    dana = await bench.slack.user("dana")
    async with bench.running():
        await opened_home(bench, dana)
        request = await bench.parked()
        await home(bench, dana, "1 request waits for you")
        click = await bench.slack.click_home("approve", dana)
        await bench.review(request, "fay@example.com", Verdict.REJECT, reason="no")
        await bench.slack.interact(click)
        await bench.slack.until(lambda: [fields for method, fields, _ in bench.slack.calls if fields.get("channel") == dana])
        said = [fields for method, fields, _ in bench.slack.calls if fields.get("channel") == dana]
        assert said[0]["text"] == "The request is already rejected by fay@example.com."


async def test_the_command_lists_shows_and_explains_itself(bench: Bench) -> None:
    dana, alice, mallory = [await bench.slack.user(name) for name in ("dana", "alice", "mallory")]
    async with bench.running():
        request = await bench.parked()
        answers = bench.slack.answers_said

        async def asked(words: str, user: str) -> str:
            await bench.slack.command(words, user)
            await bench.slack.until(lambda: answers)
            return text(answers.pop(0))

        assert "1 request waits for you" in await asked("", dana)
        assert "Refund 40 to A-1" in await asked("list", dana)
        assert "Nothing waits for you" in await asked("list", alice)
        assert '"customer": "A-1"' in await asked(f"show {request.id}", dana)
        assert '"customer": "A-1"' in await asked(f"show {request.id}", alice)
        assert await asked("show apr_0_nonsense", dana) == "There is no such request for you."
        assert "/approvals link" in await asked("list", mallory)
        assert "`/approvals show ID`" in await asked("help me", dana)
        assert bench.slack.accounts == {}


async def test_somebody_else_can_not_look_at_a_request_by_its_id(bench: Bench) -> None:
    mallory = await bench.slack.user("mallory")
    async with bench.running():
        assert bench.channel is not None
        await bench.channel.linking._identities.link(TEAM, mallory, "someone@example.com")
        request = await bench.parked()
        await bench.slack.command(f"show {request.id}", mallory)
        assert await bench.told() == "There is no such request for you."
        card = await bench.card()
        await bench.slack.interact(await bench.slack.click("refunds", card["ts"], "details", mallory))
        assert await bench.told() == "Only those who are asked can do this."


async def test_a_rule_can_ask_each_approver_directly_but_never_the_requester(bench: Bench) -> None:
    bench.policies.rules(channels='["slack:approvers"]')
    dana, fay, alice = [await bench.slack.user(name) for name in ("dana", "fay", "alice")]
    async with bench.running():
        request = await bench.parked()
        for name in ("dana", "fay"):
            assert "Refund 40 to A-1" in text(await bench.card(name))
        posted = {fields["channel"] for method, fields, _ in bench.slack.calls if method == "chat.postMessage"}
        assert posted == {dana, fay}
        card = await bench.card("dana")
        await bench.slack.interact(await bench.slack.click("dana", card["ts"], "approve", dana))
        await bench.reached(request, RequestState.COMPLETED)
        for name in ("dana", "fay"):
            await bench.card(name, says="Approved and ran")
        assert alice not in posted


async def test_the_person_for_whom_it_was_asked_is_told_the_outcome_once(bench: Bench) -> None:
    async with bench.running():
        request = await bench.parked()
        await bench.card()
        await bench.review(request, "fay@example.com", Verdict.REJECT, reason="no")
        told = await bench.card("alice", says="Nothing ran")
        assert "Refund 40 to A-1" in text(told)
        await bench.store.slack.wanted.want(f"card:{request.id}")
        other = await bench.parked(amount=41)
        await bench.card(says="Refund 41")
        assert len(await bench.slack.messages("alice")) == 1
        assert other.state is RequestState.PENDING


async def test_reminders_come_at_half_and_at_nine_tenths_of_the_time(bench: Bench) -> None:
    bench.policies.rules(timeout="2s")
    async with bench.running(), bench.janitor.running():
        request = await bench.parked()
        card = await bench.card()
        await bench.reached(request, RequestState.EXPIRED)
        said = await bench.thread(card, "Nothing ran")
        assert said.count("left to decide: 0 of 1 from finance") == 2


async def test_an_escalation_is_told_in_the_thread_and_reaches_the_next_group(bench: Bench) -> None:
    bench.policies.rules(more=", escalate: [{after: 1s, to: [{group: leads}, {group: managers}]}]")
    async with bench.running(), bench.janitor.running():
        request = await bench.parked()
        card = await bench.card()
        said = await bench.thread(card, "managers can decide as well")
        assert "Nobody has decided yet. Now can decide as well." in said  # `leads` is mentioned by its Slack group
        replies = await bench.slack.thread("refunds", card["ts"])
        assert "S0LEADS" in str(replies)
        direct = await bench.card("fay", says="Refund 40 to A-1")  # Slack has no group of managers: each is told directly
        await bench.slack.interact(await bench.slack.click("fay", direct["ts"], "approve", await bench.slack.user("fay")))
        await bench.reached(request, RequestState.COMPLETED)


async def test_a_rule_without_channels_uses_the_default_conversation_and_one_with_others_none(bench: Bench) -> None:
    bench.config = msgspec.structs.replace(bench.config, default="#ops")
    bench.policies.rules(channels='["web:inbox"]')
    async with bench.running():
        await bench.parked(amount=1)
        bench.policies.rules(channels="")
        await bench.parked(ALICE, amount=2)
        assert "Refund 2" in text(await bench.card("ops"))
        assert len(await bench.slack.messages("ops")) == 1
        assert await bench.slack.messages("refunds") == []


async def test_an_archived_conversation_is_a_trouble_with_a_mend_and_the_card_goes_to_the_fallback(bench: Bench) -> None:
    bench.config = msgspec.structs.replace(bench.config, fallback="#ops")
    refunds = await bench.slack.channel("refunds")
    assert (await bench.slack.call("conversations.archive", token="test-dana", channel=refunds))["ok"]
    async with bench.running():
        assert bench.channel is not None
        request = await bench.parked()
        card = await bench.card("ops")
        (trouble,) = await bench.channel.troubles()
        assert (trouble.place, trouble.reason) == ("#refunds", "is_archived")
        assert trouble.mend.startswith("unarchive the conversation")
        await bench.slack.interact(await bench.slack.click("ops", card["ts"], "approve", await bench.slack.user("dana")))
        await bench.reached(request, RequestState.COMPLETED)
        await bench.card("ops", says="Approved and ran")
        await bench.slack.call("conversations.unarchive", token="test-dana", channel=refunds)
        await bench.parked(amount=2)
        await bench.card("refunds", says="Refund 2")
        with anyio.fail_after(10):
            while await bench.channel.troubles():
                await bench.slack.next_call()


async def test_a_conversation_that_takes_too_long_is_replaced_by_the_fallback(bench: Bench) -> None:
    bench.config = msgspec.structs.replace(bench.config, fallback="#ops")
    bench.slack.faults.append(Fault("chat.postMessage", "429", times=1, wait=30))
    async with bench.running():
        await bench.parked()
        assert "Refund 40 to A-1" in text(await bench.card("ops"))
        assert await bench.slack.messages("refunds") == []

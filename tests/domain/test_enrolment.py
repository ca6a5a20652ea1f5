"""The states of an enrolled server: every move, who may make it, and what it grants."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from broker.domain.enrolment import Enrolment, Lifecycle, begun, proposal_digest
from broker.domain.servers import Owner, Server, ToolFacts, Trust
from broker.domain.terms import Actor, Grant, Keeper, Slot, SlotReview, SlotState, Step, Terms, Version
from broker.errors import BrokerError, Forbidden, SelfReview, WrongMove
from tests.fakes.server_json import server_json

NOON = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
OWNER = Actor("olga@example.com", ("payments",))
STRANGER = Actor("eve@example.com", ("strangers",))
REVIEWERS = {Slot.SECURITY: ("security",), Slot.LEGAL_PRIVACY: ("legal",), Slot.GENAI: ("genai",)}
SEC, LEGAL, GENAI = (
    Actor("sue@example.com", ("security",)),
    Actor("leo@example.com", ("legal",)),
    Actor("gil@example.com", ("genai",)),
)
TERMS = Terms({"support": ("balance",)}, {"balance": ToolFacts(read_only=True)}, "any")


def version(number: str, by: str = OWNER.person, at: datetime = NOON) -> Version:
    return Version(number, server_json(version=number), by, at, at)


def experiment() -> Enrolment:
    keeper = Keeper("payments", "Payments", ("slack:#payments-help",))
    return begun("com.example/payments", keeper, version("1.0.0"), OWNER, timedelta(days=14))


def in_review() -> Enrolment:
    return experiment().submitted("1.0.0", TERMS, OWNER, NOON)


def passed(before: Enrolment, slot: Slot, by: Actor, state: SlotState = SlotState.APPROVED, reason: str = "") -> Enrolment:
    return before.reviewed(slot, state, by, NOON, reviewers=REVIEWERS, reason=reason)


def approved() -> Enrolment:
    after = passed(passed(in_review(), Slot.SECURITY, SEC), Slot.LEGAL_PRIVACY, LEGAL)
    return passed(after, Slot.GENAI, GENAI, SlotState.NOT_APPLICABLE, "no model inside")


def test_an_experiment_is_for_its_owners_people_until_its_time_is_over() -> None:
    assert experiment().server() == Server(
        name="payments", url="https://payments.example.com/mcp", owner=Owner("Payments", "slack:#payments-help"),
        trust=Trust.UNTRUSTED, groups={"payments": ("*",)}, until=NOON + timedelta(days=14),
        enrolled=True, release="com.example/payments 1.0.0", where="enrolled: com.example/payments 1.0.0",
    )  # fmt: skip


def test_only_the_people_who_answer_for_a_server_enrol_it() -> None:
    with pytest.raises(Forbidden):
        begun("com.example/payments", Keeper("payments"), version("1.0.0"), STRANGER, timedelta(days=1))


def test_what_is_in_review_gets_no_call_whatever_part_of_it_is_done() -> None:
    stages = [in_review()]
    stages.append(passed(stages[-1], Slot.SECURITY, SEC))
    stages.append(passed(stages[-1], Slot.LEGAL_PRIVACY, LEGAL))
    assert [stage.server() for stage in stages] == [None, None, None]
    assert [stage.proposal.missing if stage.proposal else () for stage in stages][-1] == ("genai pending",)


def test_the_last_review_writes_what_it_grants_numbered_and_attributed() -> None:
    after = approved()
    reviewed = {
        Slot.SECURITY: SlotReview(SlotState.APPROVED, SEC.person, NOON),
        Slot.LEGAL_PRIVACY: SlotReview(SlotState.APPROVED, LEGAL.person, NOON),
        Slot.GENAI: SlotReview(SlotState.NOT_APPLICABLE, GENAI.person, NOON, "no model inside"),
    }
    assert (after.lifecycle, after.proposal) == (Lifecycle.APPROVED, None)
    assert after.grants == (Grant(1, "1.0.0", TERMS, GENAI.person, NOON, reviewed),)
    server = after.server()
    assert server is not None
    assert (server.groups, server.tools, server.trust, server.until) == (TERMS.groups, TERMS.tools, Trust.REVIEWED, None)


def test_a_new_version_is_reviewed_while_the_old_one_serves_and_then_takes_its_place() -> None:
    wider = msgspec.structs.replace(TERMS, groups={"support": ("*",), "finance": ("*",)})
    waiting = approved().published(version("1.1.0"), OWNER).submitted("1.1.0", wider, OWNER, NOON)
    held = waiting.server()
    assert held is not None
    assert (held.release, held.groups) == ("com.example/payments 1.0.0", TERMS.groups)
    after = passed(passed(passed(waiting, Slot.SECURITY, SEC), Slot.LEGAL_PRIVACY, LEGAL), Slot.GENAI, GENAI)
    server = after.server()
    assert server is not None
    assert (server.release, server.groups) == ("com.example/payments 1.1.0", wider.groups)
    assert [grant.number for grant in after.grants] == [1, 2]


def test_a_new_proposal_begins_every_review_anew() -> None:
    after = passed(in_review(), Slot.SECURITY, SEC).submitted("1.0.0", TERMS, OWNER, NOON)
    assert after.proposal is not None
    assert after.proposal.slots == dict.fromkeys(Slot, SlotReview())


def test_a_deleted_version_gets_no_call_and_a_restored_one_does() -> None:
    deleted = approved().marked(("1.0.0",), "deleted", "a leak", OWNER, NOON)
    assert deleted.server() is None
    assert deleted.marked(("1.0.0",), "active", "", OWNER, NOON).server() is not None


REFUSED: dict[str, tuple[Callable[[], Enrolment], type[BrokerError]]] = {
    "a stranger publishes": (lambda: experiment().published(version("1.1.0"), STRANGER), Forbidden),
    "a stranger submits": (lambda: experiment().submitted("1.0.0", TERMS, STRANGER, NOON), Forbidden),
    "a version twice": (lambda: experiment().published(version("1.0.0"), OWNER), WrongMove),
    "a version that is not there": (lambda: experiment().submitted("9.0.0", TERMS, OWNER, NOON), WrongMove),
    "a stranger reviews": (lambda: passed(in_review(), Slot.SECURITY, STRANGER), Forbidden),
    "a reviewer of another slot": (lambda: passed(in_review(), Slot.SECURITY, LEGAL), Forbidden),
    "an owner reviews": (
        lambda: passed(in_review(), Slot.SECURITY, Actor("olga@example.com", ("payments", "security"))), SelfReview,
    ),
    "an owner's colleague reviews": (
        lambda: passed(in_review(), Slot.SECURITY, Actor("otto@example.com", ("payments", "security"))), SelfReview,
    ),
    "the publisher reviews, after leaving the team": (
        lambda: passed(in_review(), Slot.SECURITY, Actor("olga@example.com", ("security",))), SelfReview,
    ),
    "n/a without a reason": (lambda: passed(in_review(), Slot.GENAI, GENAI, SlotState.NOT_APPLICABLE, " "), WrongMove),
    "rejected without a reason": (lambda: passed(in_review(), Slot.GENAI, GENAI, SlotState.REJECTED), WrongMove),
    "a review of an experiment": (lambda: passed(experiment(), Slot.SECURITY, SEC), WrongMove),
    "a review of what is approved": (lambda: passed(approved(), Slot.SECURITY, SEC), WrongMove),
    "nobody reviews that slot": (
        lambda: in_review().reviewed(Slot.SECURITY, SlotState.APPROVED, SEC, NOON, reviewers={}), Forbidden,
    ),
    "a stranger suspends": (lambda: approved().suspended(STRANGER, NOON, "", ("security",)), Forbidden),
    "suspending an experiment": (lambda: experiment().suspended(OWNER, NOON, "", ("security",)), WrongMove),
    "an owner resumes": (
        lambda: approved().suspended(SEC, NOON, "", ("security",)).resumed(OWNER, NOON, "", ("security",)), Forbidden,
    ),
    "resuming what is not suspended": (lambda: approved().resumed(SEC, NOON, "", ("security",)), WrongMove),
    "a stranger retires": (lambda: approved().retired(STRANGER, NOON, "", ("security",)), Forbidden),
    "retiring twice": (lambda: approved().retired(OWNER, NOON, "", ()).retired(OWNER, NOON, "", ()), WrongMove),
    "publishing what is retired": (lambda: approved().retired(OWNER, NOON, "", ()).published(version("2.0.0"), OWNER), WrongMove),
    "reviewing what is retired": (
        lambda: passed(in_review().retired(OWNER, NOON, "", ()), Slot.SECURITY, SEC), WrongMove,
    ),
    "a status that is there already": (lambda: approved().marked(("1.0.0",), "active", "", OWNER, NOON), WrongMove),
    "a message beside active": (lambda: approved().marked(("1.0.0",), "active", "hi", OWNER, NOON), WrongMove),
    "a stranger's status": (lambda: approved().marked(("1.0.0",), "deleted", "", STRANGER, NOON), Forbidden),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_moves_that_are_refused(name: str) -> None:
    move, error = REFUSED[name]
    with pytest.raises(error) as caught:
        move()
    assert type(caught.value) is error


def test_suspending_stops_calls_and_resuming_brings_back_the_same_terms() -> None:
    suspended = approved().suspended(OWNER, NOON, "it leaks", ("security",))
    assert (suspended.server(), suspended.lifecycle) == (None, Lifecycle.SUSPENDED)
    resumed = suspended.resumed(SEC, NOON, "mended", ("security",))
    assert (resumed.server(), resumed.steps[-1]) == (approved().server(), Step("resumed", SEC.person, NOON, "mended"))


def test_what_a_reviewer_is_shown_has_another_digest_once_anything_of_it_changes() -> None:
    one = in_review()
    digests = {
        proposal_digest(one, {"balance": "sha256:1"}),
        proposal_digest(one, {"balance": "sha256:2"}),
        proposal_digest(one.submitted("1.0.0", Terms({"support": ("*",)}), OWNER, NOON), {"balance": "sha256:1"}),
        proposal_digest(one.published(version("1.1.0"), OWNER).submitted("1.1.0", TERMS, OWNER, NOON), {"balance": "sha256:1"}),
    }
    assert len(digests) == 4

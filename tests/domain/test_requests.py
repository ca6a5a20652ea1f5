"""The moves of a request: from every state, with everything that they leave behind."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from broker.domain import events
from broker.domain.decisions import ApprovalPlan, Reason, RequireApproval, Requirement, RuleApproval
from broker.domain.requests import ApprovalRequest, Change, RequestState
from broker.domain.reviews import Review, Verdict
from broker.errors import (
    AlreadyResolved,
    AlreadyReviewed,
    BrokerError,
    NotAnApprover,
    SelfReview,
    StepUpNeeded,
    WrongMove,
)

Make = Callable[..., ApprovalRequest]
S = RequestState
NOON = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
SOON = NOON + timedelta(minutes=1)
LATE = NOON + timedelta(hours=2)
WINDOW = timedelta(minutes=10)
LEASE = timedelta(seconds=30)
STAMP: dict[str, Any] = {"request": "r1", "version": 4, "trace": "t1"}

STRICTER = RequireApproval(
    policy="sha256:new",
    rules=("large", "night"),
    reasons=(Reason("night"),),
    plan=ApprovalPlan("Refund 9", (RuleApproval("night", (Requirement("on-call"),)),), timedelta(minutes=30)),
)


def a_review(request: ApprovalRequest, who: str, *groups: str, verdict: Verdict = Verdict.APPROVE, **changes: Any) -> Review:
    review = Review(who, verdict, SOON, request.digest, "web", groups)
    return msgspec.structs.replace(review, **changes)


def reviewed(request: ApprovalRequest, who: str, *groups: str, **changes: Any) -> Change:
    return request.reviewed(a_review(request, who, *groups, **changes), SOON, release_window=WINDOW)


# -- every move from every state --------------------------------------------------------------------------

Move = Callable[[ApprovalRequest], Change]

MOVES: dict[str, tuple[Move, dict[RequestState, RequestState]]] = {
    "one approval of three": (lambda r: reviewed(r, "dana@x", "finance"), {S.PENDING: S.PENDING}),
    "a veto": (lambda r: reviewed(r, "dana@x", "finance", verdict=Verdict.REJECT), {S.PENDING: S.REJECTED}),
    "escalation": (lambda r: r.asked_further(("managers",), SOON), {S.PENDING: S.PENDING}),
    "expiry": (lambda r: r.expired(LATE), {S.PENDING: S.EXPIRED, S.APPROVED: S.EXPIRED}),
    "withdrawal": (lambda r: r.cancelled(SOON), {S.PENDING: S.CANCELLED, S.APPROVED: S.CANCELLED}),
    "change of the tool": (lambda r: r.voided(SOON, "changed"), {S.PENDING: S.VOIDED, S.APPROVED: S.VOIDED}),
    "a policy that denies": (lambda r: r.forbidden(SOON, "no"), {S.PENDING: S.REJECTED, S.APPROVED: S.REJECTED}),
    "a stricter policy": (lambda r: r.reopened(STRICTER, (), SOON), {S.APPROVED: S.PENDING}),
    "claim": (lambda r: r.claimed("b", "n", SOON, lease=LEASE, policy="p", definition="d"), {S.APPROVED: S.EXECUTING}),
    "renewal": (lambda r: r.renewed(1, SOON, lease=LEASE), {S.EXECUTING: S.EXECUTING}),
    "answer": (lambda r: r.completed(1, SOON, b"{}", "sha256:a"), {S.EXECUTING: S.COMPLETED, S.UNKNOWN: S.COMPLETED}),
    "failure": (lambda r: r.failed(1, SOON, "no"), {S.EXECUTING: S.FAILED, S.UNKNOWN: S.FAILED}),
    "lease that ran out": (lambda r: r.lost(SOON), {S.EXECUTING: S.UNKNOWN}),
    "record that it ran": (lambda r: r.recorded(True, "dana@x", SOON, "seen"), {S.UNKNOWN: S.COMPLETED}),
    "record that it did not run": (lambda r: r.recorded(False, "dana@x", SOON, "seen"), {S.UNKNOWN: S.FAILED}),
    "delivery": (lambda r: r.delivered(SOON), {s: s for s in S if s.answered}),
}


@pytest.mark.parametrize("state", S)
@pytest.mark.parametrize("name", MOVES)
def test_each_move_leads_only_where_the_design_lets_it(make: Make, name: str, state: RequestState) -> None:
    move, table = MOVES[name]
    request = make(state)
    if state in table:
        change = move(request)
        assert (change.after.state, change.after.version) == (table[state], request.version + 1)
        assert change.event is None or (change.event.request, change.event.state) == ("r1", table[state].value)  # type: ignore[union-attr]
    else:
        with pytest.raises((AlreadyResolved, WrongMove)):
            move(request)


def test_an_answered_request_never_opens_again() -> None:
    assert not [name for name, (_, table) in MOVES.items() for old, new in table.items() if old.answered and new.open]


def test_a_call_starts_from_an_approval_alone() -> None:
    assert [
        (name, old) for name, (_, table) in MOVES.items() for old, new in table.items() if new is S.EXECUTING and old is not new
    ] == [("claim", S.APPROVED)]


# -- people decide ----------------------------------------------------------------------------------------


def test_an_approval_that_is_not_enough_leaves_it_pending(make: Make) -> None:
    request = make()
    review = a_review(request, "dana@x", "finance", reason="ok", view="v1", evidence={"k": 1})
    assert request.reviewed(review, SOON, release_window=WINDOW) == Change(
        msgspec.structs.replace(request, version=4, reviews=(review,)),
        events.Reviewed(
            at=SOON, **STAMP, state="pending", reviewer="dana@x", verdict="approve", channel="web", digest=request.digest,
            groups=("finance",), reason="ok", view="v1", evidence={"k": 1},
        ),
    )  # fmt: skip


def test_the_last_missing_approval_approves_and_opens_the_release_window(make: Make) -> None:
    request = make()
    earlier = (a_review(request, "dana@x", "finance"), a_review(request, "eve@x", "finance", "leads"))
    review = a_review(request, "fay@x", "finance")
    change = msgspec.structs.replace(request, reviews=earlier).reviewed(review, SOON, release_window=WINDOW)
    assert change.after == msgspec.structs.replace(
        request, version=4, state=S.APPROVED, reviews=(*earlier, review), release_by=SOON + WINDOW, decided_by="fay@x"
    )


def test_one_veto_ends_it_whatever_was_approved(make: Make) -> None:
    request = make()
    earlier = (a_review(request, "dana@x", "finance"),)
    veto = a_review(request, "eve@x", "leads", verdict=Verdict.REJECT, reason="too much")
    change = msgspec.structs.replace(request, reviews=earlier).reviewed(veto, SOON, release_window=WINDOW)
    assert change.after == msgspec.structs.replace(
        request, version=4, state=S.REJECTED, reviews=(*earlier, veto), ended_at=SOON, note="too much", decided_by="eve@x"
    )


def test_a_late_approval_cannot_undo_a_rejection(make: Make) -> None:
    with pytest.raises(AlreadyResolved) as raised:
        reviewed(make(S.REJECTED), "eve@x", "leads")
    assert (raised.value.state, raised.value.by) == ("rejected", "dana@x")


def test_a_review_at_the_deadline_comes_too_late_even_before_the_janitor_looked(make: Make) -> None:
    request = make()
    with pytest.raises(AlreadyResolved) as raised:
        request.reviewed(a_review(request, "dana@x", "finance"), request.expires_at, release_window=WINDOW)
    assert raised.value.state == "expired"


REFUSED: list[tuple[str, dict[str, Any], type[BrokerError]]] = [
    ("al@x", {}, SelfReview),
    ("AL@X", {}, SelfReview),
    ("ow@x", {}, SelfReview),
    ("dana@x", {"groups": ()}, NotAnApprover),
    ("dana@x", {"groups": ("managers", "other")}, NotAnApprover),
    ("dana@x", {"digest": "sha256:other"}, WrongMove),
    ("zoe@x", {}, AlreadyReviewed),
    ("Zoe@x", {"verdict": Verdict.REJECT}, AlreadyReviewed),
]


@pytest.mark.parametrize("verdict", Verdict)
@pytest.mark.parametrize(("who", "changes", "error"), REFUSED)
def test_who_may_not_review(make: Make, who: str, changes: dict[str, Any], error: type[BrokerError], verdict: Verdict) -> None:
    request = make()
    held = msgspec.structs.replace(request, reviews=(a_review(request, "zoe@x", "finance"),))
    with pytest.raises(error):
        reviewed(held, who, **{"groups": ("finance",), "verdict": verdict, **changes})


def test_members_of_an_escalation_group_may_fill_any_slot_but_only_one(make: Make) -> None:
    request = make(escalated=("managers",))
    one = reviewed(request, "m1@x", "managers").after
    two = reviewed(one, "m2@x", "managers").after
    assert two.state is S.PENDING
    assert reviewed(two, "m3@x", "managers").after.state is S.APPROVED


def test_a_step_up_is_needed_to_approve_and_not_to_reject(make: Make) -> None:
    request = make(plan=msgspec.structs.replace(make().plan, step_up=True))
    with pytest.raises(StepUpNeeded):
        reviewed(request, "dana@x", "finance")
    assert reviewed(request, "dana@x", "finance", verdict=Verdict.REJECT).after.state is S.REJECTED
    assert reviewed(request, "dana@x", "finance", evidence={"passkey": "x"}).after.state is S.PENDING


def test_an_escalation_adds_its_groups_once(make: Make) -> None:
    request = make(escalated=("a",))
    assert request.asked_further(("a", "b"), SOON) == Change(
        msgspec.structs.replace(request, version=4, escalated=("a", "b")),
        events.Escalated(at=SOON, **STAMP, state="pending", groups=("a", "b")),
    )


# -- it ends without a call -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "limit", "why"),
    [
        (S.PENDING, NOON + timedelta(hours=2), "nobody decided in time"),
        (S.APPROVED, NOON + timedelta(minutes=10), "it was approved, but could not be released in time"),
    ],
)
def test_silence_expires_it_at_its_limit_and_not_before(make: Make, state: RequestState, limit: datetime, why: str) -> None:
    request = make(state)
    with pytest.raises(WrongMove):
        request.expired(limit - timedelta(microseconds=1))
    assert request.expired(limit) == Change(
        msgspec.structs.replace(request, version=4, state=S.EXPIRED, ended_at=limit, note=why, decided_by=""),
        events.Ended(at=limit, **STAMP, state="expired", why=why),
    )


@pytest.mark.parametrize(
    ("move", "state", "why", "by"),
    [
        (lambda r: r.cancelled(SOON), S.CANCELLED, "the agent withdrew it", "bot"),
        (lambda r: r.voided(SOON, "the tool changed"), S.VOIDED, "the tool changed", ""),
        (lambda r: r.forbidden(SOON, "denied now"), S.REJECTED, "denied now", ""),
    ],
)
def test_an_approved_request_that_ends_is_not_said_to_have_been_ended_by_its_approver(
    make: Make, move: Move, state: RequestState, why: str, by: str
) -> None:
    request = make(S.APPROVED)
    assert move(request) == Change(
        msgspec.structs.replace(request, version=4, state=state, ended_at=SOON, note=why, decided_by=by),
        events.Ended(at=SOON, **STAMP, state=state.value, why=why, by=by),
    )


def test_a_stricter_policy_asks_again_and_keeps_what_still_counts(make: Make) -> None:
    request = make(S.APPROVED)
    kept = (a_review(request, "dana@x", "finance"),)
    assert request.reopened(STRICTER, kept, SOON) == Change(
        msgspec.structs.replace(
            request, version=4, state=S.PENDING, plan=STRICTER.plan, reviews=kept, policy="sha256:new", rules=("large", "night"),
            reasons=(Reason("night"),), release_by=None, decided_by="", expires_at=SOON + timedelta(minutes=30),
        ),
        events.Reopened(at=SOON, **STAMP, state="pending", policy="sha256:new", rules=("large", "night")),
    )  # fmt: skip


def test_a_policy_that_now_demands_a_passkey_lets_people_approve_again_with_one(make: Make) -> None:
    request = make(S.APPROVED)
    without, having = a_review(request, "dana@x", "on-call"), a_review(request, "eve@x", "on-call", evidence={"passkey": "x"})
    decision = msgspec.structs.replace(STRICTER, plan=msgspec.structs.replace(STRICTER.plan, step_up=True))
    after = request.reopened(decision, (without, having), SOON).after
    assert after.reviews == (having,)
    assert reviewed(after, "dana@x", "on-call", evidence={"passkey": "y"}).after.state is S.APPROVED


# -- when somebody has to look ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "changes", "due"),
    [
        (S.PENDING, {}, NOON + timedelta(minutes=30)),
        (S.PENDING, {"escalated": ("managers",)}, NOON + timedelta(hours=2)),
        (S.PENDING, {"expires_at": NOON + timedelta(minutes=5)}, NOON + timedelta(minutes=5)),
        (S.APPROVED, {}, NOON + timedelta(minutes=10)),
        (S.EXECUTING, {}, NOON + timedelta(minutes=5)),
        (S.EXECUTING, {"claim": None}, None),
        *[(state, {}, None) for state in S if state.answered],
    ],
)
def test_when_the_janitor_has_to_look(make: Make, state: RequestState, changes: dict[str, Any], due: datetime | None) -> None:
    assert make(state, **changes).due_at == due


def test_a_request_survives_the_wire(make: Make) -> None:
    request = make(S.EXECUTING, reviews=(a_review(make(), "dana@x", "finance"),))
    assert msgspec.json.decode(msgspec.json.encode(request), type=ApprovalRequest) == request

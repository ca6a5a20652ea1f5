"""The one execution of a request: claims, leases, fences, and how it is closed."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from broker.domain import events
from broker.domain.requests import ApprovalRequest, Change, Claim, RequestState, opened
from broker.errors import AlreadyResolved, StaleFence

Make = Callable[..., ApprovalRequest]
Move = Callable[[ApprovalRequest], Change]
S = RequestState
NOON = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
SOON = NOON + timedelta(minutes=1)
LATE = NOON + timedelta(hours=2)
WINDOW = timedelta(minutes=10)
LEASE = timedelta(seconds=30)
STAMP: dict[str, Any] = {"request": "r1", "version": 4, "trace": "t1"}


def test_a_claim_is_written_with_what_was_in_force(make: Make) -> None:
    request = make(S.APPROVED)
    change = request.claimed("broker-b", "n2", SOON, lease=LEASE, policy="sha256:p2", definition="sha256:d2")
    assert change == Change(
        msgspec.structs.replace(request, version=4, state=S.EXECUTING, claim=Claim(1, "broker-b", "n2", SOON + LEASE)),
        events.Claimed(at=SOON, **STAMP, state="executing", fence=1, policy="sha256:p2", definition="sha256:d2"),
    )


def test_each_claim_has_a_higher_fence(make: Make) -> None:
    held = make(S.APPROVED, claim=Claim(7, "a", "n", NOON))
    claim = held.claimed("b", "n", SOON, lease=LEASE, policy="", definition="").after.claim
    assert claim == Claim(8, "b", "n", SOON + LEASE)


def test_a_claim_after_the_release_window_comes_too_late(make: Make) -> None:
    request = make(S.APPROVED)
    with pytest.raises(AlreadyResolved):
        request.claimed("b", "n", NOON + WINDOW, lease=LEASE, policy="", definition="")


def test_a_lease_is_renewed_silently_and_never_revived(make: Make) -> None:
    request = make(S.EXECUTING)
    assert request.claim is not None
    longer = msgspec.structs.replace(request.claim, lease_until=SOON + LEASE)
    assert request.renewed(1, SOON, lease=LEASE) == Change(msgspec.structs.replace(request, version=4, claim=longer), None)
    with pytest.raises(StaleFence):
        request.renewed(1, request.claim.lease_until, lease=LEASE)


@pytest.mark.parametrize("state", [S.EXECUTING, S.UNKNOWN])
def test_the_right_fence_closes_it_also_late(make: Make, state: RequestState) -> None:
    request = make(state)
    assert request.completed(1, SOON, b'{"result":{}}', "sha256:a") == Change(
        msgspec.structs.replace(request, version=4, state=S.COMPLETED, ended_at=SOON, note=""),
        events.Finished(at=SOON, **STAMP, state="completed", fence=1, result="sha256:a"),
        b'{"result":{}}',
    )
    assert request.completed(1, SOON, b"{}", "sha256:b", "the tool failed") == Change(
        msgspec.structs.replace(request, version=4, state=S.COMPLETED, ended_at=SOON, note="the tool failed"),
        events.Finished(at=SOON, **STAMP, state="completed", fence=1, result="sha256:b", why="the tool failed"),
        b"{}",
    )
    assert request.failed(1, SOON, "refused", b'{"error":{}}') == Change(
        msgspec.structs.replace(request, version=4, state=S.FAILED, ended_at=SOON, note="refused"),
        events.Finished(at=SOON, **STAMP, state="failed", fence=1, why="refused"),
        b'{"error":{}}',
    )


@pytest.mark.parametrize(
    "move", [lambda r: r.completed(2, SOON, b"", ""), lambda r: r.failed(0, SOON, ""), lambda r: r.renewed(2, SOON, lease=LEASE)]
)
@pytest.mark.parametrize("claim", [None, Claim(1, "a", "n", LATE)])
def test_a_stale_fence_closes_nothing(make: Make, move: Move, claim: Claim | None) -> None:
    with pytest.raises(StaleFence):
        move(make(S.EXECUTING, claim=claim))


def test_a_lost_call_is_unknown_and_only_a_person_says_what_happened(make: Make) -> None:
    request = make(S.EXECUTING)
    lost = request.lost(SOON, "gone")
    assert lost == Change(
        msgspec.structs.replace(request, version=4, state=S.UNKNOWN, ended_at=SOON, note="gone"),
        events.Lost(at=SOON, **STAMP, state="unknown", fence=1, why="gone"),
    )
    recorded = lost.after.recorded(True, "eve@x", LATE, "the ledger has it")
    assert recorded == Change(
        msgspec.structs.replace(
            request, version=5, state=S.COMPLETED, ended_at=LATE, note="the ledger has it", decided_by="eve@x"
        ),
        events.Recorded(at=LATE, **{**STAMP, "version": 5}, state="completed", by="eve@x", why="the ledger has it"),
    )


def test_an_answer_is_delivered_once(make: Make) -> None:
    request = make(S.COMPLETED)
    change = request.delivered(SOON)
    assert change == Change(
        msgspec.structs.replace(request, version=4, delivered_at=SOON), events.Delivered(at=SOON, **STAMP, state="completed")
    )
    with pytest.raises(AlreadyResolved):
        change.after.delivered(LATE)


def test_the_first_commit_tells_what_was_opened(make: Make) -> None:
    request = make()
    call = request.call
    assert opened(request) == Change(
        request,
        events.Opened(
            at=NOON, **{**STAMP, "version": 3}, state="pending", caller=call.caller, server="payments", tool="refund",
            digest=request.digest, definition="sha256:tool", policy="sha256:policy", rules=("large",),
            expires_at=request.expires_at,
        ),
    )  # fmt: skip

"""How far a task has come: its first request, the latest one, and what that one's server asks before it goes on."""

from __future__ import annotations

import msgspec

from broker.domain.outcomes import Code, Outcome, Refused, Released, StillPending
from broker.domain.requests import ApprovalRequest, RequestId
from broker.domain.rounds import AskedBack, asked_back


class Stand(msgspec.Struct, frozen=True):
    """`root` is the task's own request, `latest` the one that brought the newest answers, the `number`-th after it."""

    root: ApprovalRequest
    latest: ApprovalRequest
    outcome: Outcome
    number: int = 0
    asked: AskedBack | None = None

    @property
    def missing(self) -> dict[str, str]:
        """The questions without an answer, by the names that they have in the task: none ever comes twice (tasks, update)."""
        questions = self.asked.questions if self.asked is not None else {}
        return {f"{self.number}.{key}" if self.number else key: key for key in questions if key not in self.latest.round.given}

    @property
    def ended(self) -> RequestId | None:
        """The request whose end its agent knows once this was told."""
        return None if self.asked is not None or isinstance(self.outcome, StillPending) else self.latest.id


def stand_of(root: ApprovalRequest, latest: ApprovalRequest, number: int, outcome: Outcome) -> Stand:
    if latest.round.over:
        outcome = Refused(Code(latest.round.over), latest.round.why, request=latest.id)
    elif isinstance(outcome, Released):
        result = msgspec.json.decode(outcome.answer).get("result")
        return Stand(root, latest, outcome, number, asked_back(result, latest.origin.capabilities))
    return Stand(root, latest, outcome, number)

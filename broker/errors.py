"""The tree of mistakes. An answer is a value (`domain.outcomes`); a mistake is one of these.

BrokerError
├── StoreUnavailable       the store can't be reached: nothing was decided, no call leaves
├── VersionConflict        somebody else committed first: read again
├── RequestError
│   ├── UnknownRequest     no such request, or not yours: both read alike
│   ├── AlreadyResolved    the move comes too late; carries the state and who decided
│   ├── AlreadyReviewed    one person, one review
│   ├── StaleFence         the claim is no longer yours
│   ├── WrongMove          the state does not allow this move
│   ├── Outdated           it has changed since it was shown
│   └── KeyReused          an idempotency key came back with another call
├── NotPermitted
│   ├── Unauthenticated    nobody is known behind the credentials
│   ├── Forbidden          known, but not allowed here
│   ├── SelfReview         the requester or the agent's owner
│   ├── NotAnApprover      outside the groups that are asked
│   └── StepUpNeeded       the rule demands a passkey, and there was none
├── Malformed              a message or argument that is refused before anyone judges it
├── PolicyInvalid          the policy folder can't be used; carries every problem
├── ConfigInvalid          a setting or file of the operator is wrong
├── TooMany                a limit of the broker is reached
├── RegistryError
│   ├── NotEnrolled        no such server or version in the registry
│   ├── EnrolmentRefused   a server.json that can't be enrolled; carries every problem
│   └── ShownAnother       what is confirmed is no longer what was shown
├── ChannelError
│   ├── ChannelBusy        asked to wait; carries how long
│   ├── ChannelAway        not reached, or no sure answer: it may have been carried out
│   └── ChannelRefused     refused for good; carries the reason's own code
└── UpstreamError
    ├── UnknownServer      not in the catalogue, or not for this caller
    ├── UpstreamUntouched  the call was not sent: it may be told so
    └── OutcomeLost        it was sent, and nobody knows what happened
"""

from __future__ import annotations

from typing import Any

import msgspec

UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""What msgspec raises for bytes that are not what was expected: also for what is no UTF-8, and for depth without end."""


class BrokerError(Exception):
    """A mistake with a stable `code`, one sentence, and its fields."""

    code = "broker_error"

    def __init__(self, message: str, **fields: Any) -> None:
        super().__init__(message)
        self.message = message
        self.fields = fields


class StoreUnavailable(BrokerError):
    code = "store_unavailable"


class VersionConflict(BrokerError):
    code = "version_conflict"


class RequestError(BrokerError):
    code = "request_error"


class UnknownRequest(RequestError):
    code = "unknown_request"

    def __init__(self, request_id: str) -> None:
        super().__init__("there is no such request", request=request_id)


class RecordUnreadable(RequestError):
    code = "record_unreadable"


class AlreadyResolved(RequestError):
    """Carries `state`, and `by`: who decided, empty where nobody did."""

    code = "already_resolved"

    def __init__(self, request_id: str, state: str, by: str = "") -> None:
        decided = f"already {state} by {by}" if by else f"already {state}"
        super().__init__(f"the request is {decided}", request=request_id, state=state, by=by)
        self.state = state
        self.by = by


class AlreadyReviewed(RequestError):
    """Carries `verdict`: what this person said before."""

    code = "already_reviewed"

    def __init__(self, request_id: str, reviewer: str, verdict: str) -> None:
        super().__init__(f"{reviewer} has reviewed this request: {verdict}", request=request_id, verdict=verdict)
        self.verdict = verdict


class StaleFence(RequestError):
    code = "stale_fence"


class WrongMove(RequestError):
    code = "wrong_move"


class Outdated(RequestError):
    code = "outdated"


class KeyReused(RequestError):
    code = "idempotency_key_reused"


class NotPermitted(BrokerError):
    code = "not_permitted"


class Unauthenticated(NotPermitted):
    code = "unauthenticated"


class Forbidden(NotPermitted):
    code = "forbidden"


class SelfReview(NotPermitted):
    code = "self_review"


class NotAnApprover(NotPermitted):
    code = "not_an_approver"


class StepUpNeeded(NotPermitted):
    code = "step_up_needed"


class Malformed(BrokerError):
    code = "malformed"


class PolicyInvalid(BrokerError):
    """Carries `problems`: every mistake with its file, line, column and mend."""

    code = "policy_invalid"

    def __init__(self, problems: tuple[Any, ...]) -> None:
        super().__init__(f"the policy has {len(problems)} problem(s)", problems=problems)
        self.problems = problems


class ConfigInvalid(BrokerError):
    code = "config_invalid"


class TooMany(BrokerError):
    code = "too_many"


class RegistryError(BrokerError):
    code = "registry_error"


class NotEnrolled(RegistryError):
    code = "not_enrolled"


class EnrolmentRefused(RegistryError):
    """Carries `problems`: one sentence each."""

    code = "enrolment_refused"

    def __init__(self, *problems: str) -> None:
        super().__init__("; ".join(problems), problems=problems)
        self.problems = problems


class ShownAnother(RegistryError):
    code = "shown_another"


class ChannelError(BrokerError):
    code = "channel_error"


class ChannelBusy(ChannelError):
    """Carries `after`: the seconds to wait."""

    code = "channel_busy"

    def __init__(self, after: float) -> None:
        super().__init__(f"the channel asks to wait {after:g} s", after=after)
        self.after = after


class ChannelAway(ChannelError):
    code = "channel_away"


class ChannelRefused(ChannelError):
    """Carries `reason`: the other side's own code."""

    code = "channel_refused"

    def __init__(self, reason: str, what: str = "") -> None:
        super().__init__(f"{what} was refused: {reason}" if what else f"refused: {reason}", reason=reason, what=what)
        self.reason = reason


class UpstreamError(BrokerError):
    code = "upstream_error"


class UnknownServer(UpstreamError):
    code = "unknown_server"


class UpstreamUntouched(UpstreamError):
    code = "upstream_untouched"


class OutcomeLost(UpstreamError):
    code = "outcome_lost"

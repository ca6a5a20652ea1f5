"""What Slack sends, as values: clicks, submitted forms, an opened home, commands, cards that were posted. Pure.

Payloads are read leniently where Slack may add things, and refused where something is missing that we act on.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar
from urllib.parse import parse_qs

import msgspec

from broker.channels.slack.batch import BATCH, choices_of
from broker.channels.slack.modals import REJECTION, reason_of
from broker.domain.reviews import Verdict
from broker.errors import UNREADABLE, Malformed

CARD_EVENT = "approval_card"
# How deep and long what people type may be.
WORDS = 200


class Press(msgspec.Struct, frozen=True, tag="press"):
    """A button was pressed, in a message or (`channel` empty) in App Home or in an answer that one person alone sees."""

    team: str
    user: str
    action: str
    value: str
    channel: str = ""
    ts: str = ""
    answer_url: str = ""
    trigger: str = ""


class Form(msgspec.Struct, frozen=True, tag="form"):
    """A modal was submitted. `value` is what the button carried that opened it, `answer_url` where its person is answered.

    `choices` are those of a batch: what each item's block carries, and the verdict.
    """

    team: str
    user: str
    form: str
    value: str
    reason: str
    answer_url: str = ""
    choices: tuple[tuple[str, str], ...] = ()


class Home(msgspec.Struct, frozen=True, tag="home"):
    """Somebody opened App Home."""

    team: str
    user: str


class Command(msgspec.Struct, frozen=True, tag="command"):
    team: str
    user: str
    text: str
    answer_url: str
    trigger: str = ""


class Carded(msgspec.Struct, frozen=True, tag="carded"):
    """A card appeared, posted `by` a bot: the address of ours reaches us even where the reply to our post was lost."""

    team: str
    by: str
    request: str
    place: str
    channel: str
    ts: str


Arrival = Press | Form | Home | Command | Carded

encode = msgspec.json.Encoder().encode
decode = msgspec.json.Decoder(Arrival).decode


class _Id(msgspec.Struct):
    id: str = ""
    team_id: str = ""


class _Action(msgspec.Struct):
    action_id: str = ""
    value: str | None = ""


class _Container(msgspec.Struct):
    message_ts: str = ""
    channel_id: str = ""
    is_ephemeral: bool = False


class _View(msgspec.Struct):
    callback_id: str = ""
    private_metadata: str = ""
    state: dict[str, Any] = {}


class _Interaction(msgspec.Struct):
    type: str
    user: _Id
    team: _Id | None = None
    channel: _Id | None = None
    container: _Container = msgspec.field(default_factory=_Container)
    actions: list[_Action] = []
    view: _View | None = None
    response_url: str = ""
    trigger_id: str = ""


class _Metadata(msgspec.Struct):
    event_type: str = ""
    event_payload: dict[str, Any] = {}


class _Event(msgspec.Struct):
    type: str = ""
    user: str = ""
    user_id: str = ""
    channel_id: str = ""
    message_ts: str = ""
    metadata: _Metadata = msgspec.field(default_factory=_Metadata)


class _Callback(msgspec.Struct):
    type: str = ""
    team_id: str = ""
    challenge: str = ""
    event: _Event | None = None


def interaction(payload: bytes) -> Arrival | None:
    """Return what an interaction payload says, None for what is none of ours. Raises `Malformed`."""
    told = _read(payload, _Interaction)
    team = told.user.team_id or (told.team.id if told.team else "")
    if told.type == "view_submission" and told.view is not None:
        values = told.view.state.get("values") or {}
        value, _, answer_url = told.view.private_metadata.partition("\n")
        return Form(team, told.user.id, told.view.callback_id, value, reason_of(values), answer_url, choices_of(values))
    if told.type != "block_actions" or not told.actions:
        return None
    action = told.actions[0]
    channel, ts = told.container.channel_id or (told.channel.id if told.channel else ""), told.container.message_ts
    channel, ts = ("", "") if told.container.is_ephemeral else (channel, ts)
    return Press(team, told.user.id, action.action_id, action.value or "", channel, ts, told.response_url, told.trigger_id)


def event(body: bytes) -> Arrival | str | None:
    """Return what an event says; a string is the challenge of the first contact, to be sent back. Raises `Malformed`."""
    told = _read(body, _Callback)
    if told.type == "url_verification":
        return told.challenge
    happened = told.event
    if happened is None:
        return None
    if happened.type == "app_home_opened":
        return Home(told.team_id, happened.user)
    if happened.type == "message_metadata_posted" and happened.metadata.event_type == CARD_EVENT:
        payload = happened.metadata.event_payload
        request, place = str(payload.get("request", "")), str(payload.get("place", ""))
        return Carded(told.team_id, happened.user_id, request, place, happened.channel_id, happened.message_ts)
    return None


def command(form: Mapping[str, str]) -> Command:
    """Return what a slash command says. Raises `Malformed`."""
    if not form.get("user_id") or not form.get("team_id"):
        raise Malformed("a command without a user")
    return Command(
        form["team_id"], form["user_id"], form.get("text", "")[:WORDS], form.get("response_url", ""), form.get("trigger_id", "")
    )


def form_of(body: bytes) -> dict[str, str]:
    """Return the fields of a URL-encoded body, the first of each. Raises `Malformed`."""
    try:
        fields = parse_qs(body.decode("ascii"), strict_parsing=True, max_num_fields=50, errors="strict") if body else {}
    except (UnicodeError, ValueError):
        raise Malformed("the body is no form") from None
    return {name: values[0] for name, values in fields.items()}


def complaint(arrival: Arrival | None) -> dict[str, Any] | None:
    """Return what a form answers at once instead of being accepted: a rejection needs a reason, a batch a choice."""
    if isinstance(arrival, Form) and arrival.form == REJECTION and not arrival.reason:
        return _wrong("Choose a reason, or say it in your words.")
    if isinstance(arrival, Form) and arrival.form == BATCH:
        verdicts = {verdict for _, verdict in arrival.choices}
        if not verdicts:
            return _wrong("Choose approve or reject for at least one.")
        if Verdict.REJECT in verdicts and not arrival.reason:
            return _wrong("Say why some are rejected: their agent reads it.")
    return None


def _wrong(words: str) -> dict[str, Any]:
    return {"response_action": "errors", "errors": {"words": words}}


T = TypeVar("T")


def _read(body: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(body, type=kind)
    except UNREADABLE as error:
        raise Malformed(f"Slack sent what can't be read: {error}") from None

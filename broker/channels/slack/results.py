"""After a result: the person for whom a call ran is asked how long it would have taken by hand, in a message to them alone.

It is asked once, only of calls that ran, and only as often as the operator wants; nothing hangs on the answer.
"""

from __future__ import annotations

import re

import structlog

from broker.channels.slack import blocks
from broker.channels.slack.arrivals import Press
from broker.channels.slack.blocks import Block
from broker.channels.slack.face import Face
from broker.channels.slack.parts import SlackParts
from broker.channels.slack.postman import Message, Sent
from broker.channels.slack.troubles import TOKEN_DEAD
from broker.domain.redaction import shown_call
from broker.domain.requests import ApprovalRequest, RequestId, RequestState
from broker.errors import ChannelError, ChannelRefused, Malformed, UnknownRequest
from broker.insights.feedback import CHOICES, words

log = structlog.get_logger()

SUBJECT, ACTION = "result:", "feedback:"
QUESTION = "How long would this have taken you by hand?"
# After everything that is said of open requests.
URGENCY = 3.0
_VALUE = re.compile(r"([0-9]{1,4}|skip|never) (apr_[0-9a-z_]{1,40})", re.ASCII)


class Results:
    def __init__(self, parts: SlackParts) -> None:
        self._parts = parts

    async def moved(self, request: ApprovalRequest) -> None:
        """Ask soon, where a request has just led to a result."""
        if request.state is RequestState.COMPLETED and request.delivered_at is None:
            await self._parts.wanted.want(SUBJECT + request.id)

    async def bring(self, request_id: RequestId) -> None:
        """Ask, if it is this person's turn. Raises `ChannelError` where Slack has to be tried again."""
        try:
            request = await self._parts.requests.get(request_id)
        except UnknownRequest:
            return
        person = request.call.caller.user or request.call.caller.owner
        user = (await self._parts.identities.slack_ids()).get(person, "")
        if user and await self._parts.feedback.take_turn(request, person):
            try:
                await self._ask(request, user)
            except ChannelError:
                await self._parts.feedback.give_turn(request, person)
                raise

    async def _ask(self, request: ApprovalRequest, user: str) -> None:
        message = Message(f"It ran. {QUESTION}", question(request, await self._parts.face()))

        async def made() -> Message:
            return message

        try:
            await self._parts.postman.post(f"@{user}", (URGENCY, self._parts.clock().timestamp()), made, _nothing_more)
        except ChannelRefused as refused:
            if refused.reason in TOKEN_DEAD:
                raise
            log.info("slack.result.not_asked", request=request.id, reason=refused.reason)

    async def pressed(self, press: Press, person: str) -> str:
        """Count an answer, and return what its person is told. Raises `RequestError`, `Malformed`."""
        carried = _VALUE.fullmatch(press.value)
        if carried is None:
            raise Malformed("the button carries no answer")
        if carried[1] == "never":
            await self._parts.feedback.hush(person, True)
            return "You are not asked any more. Your account page on the web turns it on again."
        request = await self._parts.desk.look(RequestId(carried[2]))
        minutes = None if carried[1] == "skip" else int(carried[1])
        await self._parts.feedback.give(request, person, minutes, "slack")
        return "Skipped." if minutes is None else f"Thank you, counted: {words(minutes)}."


def question(request: ApprovalRequest, face: Face) -> list[Block]:
    """Return the message: what ran, the question, and its answers as buttons."""
    title = shown_call(request.call, request.plan, face.key).title
    said = blocks.section(blocks.line(f"{title}: ", 200, bold=True), blocks.text(f"it ran. {QUESTION}"))
    choices = [blocks.button(f"{ACTION}{minutes}", words(minutes), f"{minutes} {request.id}") for minutes in CHOICES]
    ways = (("skip", "Skip"), ("never", "Don't ask me"))
    rest = [blocks.button(f"{ACTION}{way}", label, f"{way} {request.id}") for way, label in ways]
    return [blocks.rich(said), blocks.actions(f"q:{request.id}", *choices, *rest)]


async def _nothing_more(_: Sent) -> None:
    return None

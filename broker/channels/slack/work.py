"""What happens with what arrived: clicks become reviews, commands are answered, addresses are kept. Any broker may do it."""

from __future__ import annotations

from functools import partial
from typing import assert_never

import anyio.to_thread

from broker.channels.slack import blocks
from broker.channels.slack.arrivals import Arrival, Carded, Command, Form, Home, Press
from broker.channels.slack.batch import BATCH, TOGETHER, batch_form
from broker.channels.slack.card import APPROVE, DETAILS, REJECT, card, may_approve_here, view_of
from broker.channels.slack.cards import Cards
from broker.channels.slack.digests import SUBJECT as DIGEST
from broker.channels.slack.digests import Digests
from broker.channels.slack.face import Pressed, pressed
from broker.channels.slack.home import listing
from broker.channels.slack.homes import Homes
from broker.channels.slack.identities import Known, Stranger, signed
from broker.channels.slack.linking import Linking
from broker.channels.slack.modals import REJECTION, details, rejection
from broker.channels.slack.parts import SlackParts
from broker.channels.slack.places import Post
from broker.channels.slack.results import ACTION as RESULT
from broker.channels.slack.results import Results
from broker.channels.slack.status import may_see, needed_words
from broker.channels.slack.together import Together
from broker.domain.people import Reviewer
from broker.domain.redaction import shown_call
from broker.domain.requests import ApprovalRequest, RequestId, RequestState
from broker.domain.reviews import Verdict
from broker.domain.text import sentence
from broker.errors import ChannelError, Malformed, NotPermitted, RequestError

CARD = "card:"
HELP = "`/approvals` lists what waits for you, `/approvals show ID` shows one request, `/approvals link` connects your account."
STALE = "What is asked has changed since this card was made. Look at the card again: it is being renewed."
ELSEWHERE = "This one can't be approved here. Open its page."


class Work:
    """Handles one arrival at a time, any number beside each other. Doing one twice does no harm."""

    def __init__(
        self, parts: SlackParts, cards: Cards, digests: Digests, homes: Homes, linking: Linking, results: Results
    ) -> None:  # fmt: skip
        self._parts = parts
        self._cards = cards
        self._digests = digests
        self._homes = homes
        self._linking = linking
        self._results = results
        self._together = Together(parts)

    async def handle(self, arrival: Arrival) -> None:
        """Raises `StoreUnavailable`: then it has to be handled again."""
        match arrival:
            case Press():
                await self._press(arrival)
            case Form():
                await self._form(arrival)
            case Home():
                await self._homes.opened(arrival.user)
            case Command():
                await self._command(arrival)
            case Carded():
                await self._carded(arrival)
            case never:
                assert_never(never)

    # -- clicks -------------------------------------------------------------------------------------------

    async def _press(self, press: Press) -> None:
        if press.action.startswith(RESULT):
            return await self._answered(press)
        carried = pressed(press.value)
        if carried is None or not (press.action in (APPROVE, REJECT, DETAILS) or press.action.startswith(TOGETHER)):
            return None
        await self._remember(press, carried)
        known = await self._parts.identities.who(press.team, press.user)
        if isinstance(known, Stranger):
            return await self._tell(press, known.why)
        try:
            request = await self._parts.desk.look(carried.request)
            await self._pressed(press, carried, known, request)
        except (RequestError, NotPermitted) as error:
            await self._look_again(carried.request)
            await self._tell(press, _sentence(error.message))

    async def _answered(self, press: Press) -> None:
        """Somebody says what a result saved them."""
        known = await self._parts.identities.who(press.team, press.user)
        if isinstance(known, Stranger):
            return await self._tell(press, known.why)
        try:
            return await self._tell(press, await self._results.pressed(press, known.person))
        except (RequestError, Malformed) as error:
            return await self._tell(press, _sentence(error.message))

    async def _pressed(self, press: Press, carried: Pressed, known: Known, request: ApprovalRequest) -> None:
        face = await self._parts.face()
        if press.action == APPROVE:
            await self._decide(press, carried, known, Verdict.APPROVE)
        elif not self._may_see(request, known):
            await self._tell(press, "Only those who are asked can do this.")
        elif press.action.startswith(TOGETHER):
            batch = await self._together.batch(request, known)
            form = await anyio.to_thread.run_sync(batch_form, batch, face, known.person, carried, press.answer_url)
            await self._open(press, form)
        elif press.action == REJECT:
            await self._open(press, rejection(request, face, carried, press.answer_url))
        else:
            await self._open(press, details(request, face))

    async def _form(self, form: Form) -> None:
        carried = pressed(form.value)
        whole = form.choices if form.form == BATCH else form.form == REJECTION and form.reason
        if carried is None or not whole:
            return None
        known = await self._parts.identities.who(form.team, form.user)
        if isinstance(known, Stranger):
            return await self._tell(form, known.why)
        try:
            if form.form == BATCH:
                return await self._decide_batch(form, carried, known)
            await self._decide(form, carried, known, Verdict.REJECT, form.reason)
        except (RequestError, NotPermitted, Malformed) as error:
            await self._look_again(carried.request)
            await self._tell(form, _sentence(error.message))

    async def _decide(self, said: Press | Form, carried: Pressed, known: Known, verdict: Verdict, reason: str = "") -> None:
        """Count a review, of exactly what the card showed that was pressed."""
        request = await self._parts.desk.look(carried.request)
        shown = shown_call(request.call, request.plan, self._parts.mask_key)
        if request.state is RequestState.PENDING and (carried.digest, carried.view) != (request.digest, view_of(request, shown)):
            await self._look_again(request.id)
            return await self._tell(said, STALE)
        if verdict is Verdict.APPROVE and request.state is RequestState.PENDING and not may_approve_here(request, shown):
            return await self._tell(said, ELSEWHERE)
        by = Reviewer(known.person, "slack", known.groups)
        view = signed(carried.view, said.team, said.user, known.how)
        after = await self._parts.desk.review(request.id, by, verdict, digest=carried.digest, reason=reason, view=view)
        return await self._tell(said, _counted(after, verdict))

    async def _decide_batch(self, form: Form, carried: Pressed, known: Known) -> None:
        """Count each choice, and say what became of each."""
        told = await self._together.decide(form, await self._parts.desk.look(carried.request), known)
        await self._tell(form, "What became of your answers", told)

    def _may_see(self, request: ApprovalRequest, known: Known) -> bool:
        return may_see(request, known.person, self._parts.desk.groups_of(Reviewer(known.person, "slack", known.groups)))

    async def _remember(self, press: Press, carried: Pressed) -> None:
        """A click on a card whose address got lost brings it back."""
        if press.channel and press.ts and carried.place:
            post = Post(press.channel, press.ts, at=self._parts.clock().timestamp())
            if await self._cards.adopt(carried.request, carried.place, post):
                await self._look_again(carried.request)

    async def _look_again(self, request_id: RequestId) -> None:
        await self._parts.wanted.want(CARD + request_id)

    # -- commands and events ------------------------------------------------------------------------------

    async def _command(self, command: Command) -> None:
        verb, _, rest = command.text.strip().partition(" ")
        if verb == "link":
            return await self._link(command)
        known = await self._parts.identities.who(command.team, command.user)
        if isinstance(known, Stranger):
            return await self._tell(command, known.why)
        if verb in ("", "list"):
            waiting, more = await self._homes.waiting(known)
            parts = await anyio.to_thread.run_sync(partial(listing, waiting, await self._parts.face(), more=more))
            return await self._tell(command, "What waits for you", parts)
        if verb == "show":
            return await self._reveal(command, known, rest.strip())
        return await self._tell(command, HELP)

    async def _link(self, command: Command) -> None:
        workspace = (await self._parts.api.workspace()).team
        url = await self._linking.offer(command.team, command.user) if command.team == workspace else ""
        words = f"Open {url} within ten minutes, signed in as yourself, to decide from this account." if url else (
            "This account can't be connected: the broker has no pages, or this is another workspace."
        )  # fmt: skip
        await self._tell(command, words)

    async def _reveal(self, command: Command, known: Known, request_id: str) -> None:
        try:
            request = await self._parts.desk.look(RequestId(request_id))
        except RequestError:
            return await self._tell(command, "There is no such request for you.")
        if not self._may_see(request, known):
            return await self._tell(command, "There is no such request for you.")
        made = card(request, await self._parts.face())
        return await self._tell(command, made.text, made.parts)

    async def _carded(self, carded: Carded) -> None:
        """Keep the address of a card of ours. Others may post the same metadata: only our own bot's count."""
        if not carded.request or not carded.place or carded.by != (await self._parts.api.workspace()).bot_user:
            return
        if carded.request.startswith(DIGEST):
            await self._digests.heard(carded.request, carded.channel, carded.ts)
            return
        try:
            request = await self._parts.desk.look(RequestId(carded.request))
        except RequestError:
            return
        post = Post(carded.channel, carded.ts, at=self._parts.clock().timestamp())
        if await self._cards.adopt(request.id, carded.place, post):
            await self._look_again(request.id)

    # -- answers ------------------------------------------------------------------------------------------

    async def _open(self, press: Press, view: blocks.Block) -> None:
        """Open a modal. A trigger lives for 3 seconds: after a restart it is too late, and the click has to be repeated."""
        try:
            await self._parts.api.write("views.open", trigger_id=press.trigger, view=view)
        except ChannelError:
            await self._tell(press, "That took too long. Please press the button again.")

    async def _tell(self, said: Press | Form | Command, words: str, parts: list[blocks.Block] | None = None) -> None:
        """Say something to this person alone: where they pressed, or else in a direct message. Nothing hangs on it."""
        if said.answer_url and await self._parts.api.answer(said.answer_url, words, parts):
            return
        try:
            await self._parts.api.write("chat.postMessage", channel=said.user, text=words, **({"blocks": parts} if parts else {}))
        except ChannelError as error:
            await self._parts.troubles.note(f"answer to {said.user}", error.code)


def _counted(request: ApprovalRequest, verdict: Verdict) -> str:
    if verdict is Verdict.REJECT:
        return "Rejected."
    if request.state is RequestState.PENDING:
        return f"Your approval counts: {blocks.mrkdwn(needed_words(request))}."
    return "Approved: that was the last one needed."


def _sentence(message: str) -> str:
    return sentence(blocks.mrkdwn(message))

"""The registry, wired: enrolled servers beside those of servers.yaml, who may move them, and who may use them."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import datetime

from broker.approvals.ports import PolicySource
from broker.channels.web.parts import RegistryParts
from broker.channels.webhook.notices import Notices, Tracker
from broker.domain.calls import Caller
from broker.domain.servers import Server
from broker.domain.terms import Slot
from broker.errors import ConfigInvalid, PolicyInvalid
from broker.joined import Joined
from broker.outgoing import Reach, client
from broker.policy.access import refusal, standing_of
from broker.registry.accepting import Accepting
from broker.registry.catalogue import Catalogue
from broker.registry.declared import Declarations
from broker.registry.enrolling import Enrolling, House
from broker.registry.pins import Pins
from broker.registry.reviewing import Reviewing
from broker.registry.roster import Roster
from broker.registry.tracker import Notice, notice_of, told_of
from broker.registry.widened import Widenings
from broker.reload import PolicyFolder
from broker.settings import Settings
from broker.store.open import Store

# Seconds that a name may take to be resolved when a server is enrolled.
RESOLVED_WITHIN = 5.0
LEAST_SECRET = 24


@dataclass(frozen=True)
class Registry:
    """`joined` is the one catalogue; `enrolling` moves what is enrolled."""

    joined: Joined
    roster: Roster
    enrolling: Enrolling
    declarations: Declarations

    def served(self, settings: Settings, tools: Catalogue, pins: Pins, store: Store) -> RegistryParts:
        """What pages and API need of it, on what this broker asks its servers."""
        return RegistryParts(
            reviewing=Reviewing(self.enrolling, tools, pins, self.joined, store.clock),
            accepting=Accepting(self.enrolling, tools, pins, store.refused, store.audit, store.clock),
            declarations=self.declarations, widenings=Widenings(store.widened),
            read=settings.registry_read, namespace=settings.registry_namespace,
            secret=secret_of(settings), once=store.once,
        )  # fmt: skip

    async def tells(self, settings: Settings, parts: RegistryParts, store: Store, broker: str, rooms: AsyncExitStack) -> None:
        """Tell the tracker that the settings name of every move."""
        if not settings.review_webhook:
            return
        http = client(Reach([settings.review_webhook], settings.private_networks))
        rooms.push_async_callback(http.close)

        async def write(notice: Notice) -> bytes:
            found = self.roster.enrolments.get(notice.server)
            if found is None:  # this broker has not read what another one wrote
                await self.roster.look()
                found = self.roster.enrolments[notice.server]
            page = f"{settings.public_url.rstrip('/')}/servers/{found.local}"
            return told_of(notice, found, await parts.reviewing.sheet(found), page)

        notices = Notices(
            store.enrolled, store.leases, http, Tracker(settings.review_webhook, secret_of(settings)), write, broker=broker,
            clock=store.clock,
        )  # fmt: skip
        await rooms.enter_async_context(notices.running())


async def registry_of(
    settings: Settings, store: Store, folder: PolicyFolder, broker: str, rooms: AsyncExitStack
) -> Registry:  # fmt: skip
    """Open the registry; `rooms` closes it. Raises `ConfigInvalid`, `StoreUnavailable`."""
    roster = Roster(store.enrolled, clock=store.clock)
    await rooms.enter_async_context(roster.running())
    joined = Joined(folder, roster)
    enrolling = Enrolling(
        store.enrolled, roster, house_of(settings), declared=joined.declared, resolve=resolve, broker=broker,
        tell=notice_of if settings.review_webhook else None,
    )  # fmt: skip
    return Registry(joined, roster, enrolling, Declarations(store.enrolled, roster, lambda: folder.current.servers))


def secret_of(settings: Settings) -> bytes:
    """The webhooks' secret, empty where there is none. Raises `ConfigInvalid` for one that could be guessed, or is missing."""
    secret = settings.review_webhook_secret.get_secret_value().encode() if settings.review_webhook_secret else b""
    if len(secret) < LEAST_SECRET and (secret or settings.review_webhook):
        raise ConfigInvalid(f"review_webhook_secret: set one of at least {LEAST_SECRET} characters")
    return secret


def house_of(settings: Settings) -> House:
    """What the settings say about enrolling. Raises `ConfigInvalid`."""
    reach = Reach(always=settings.enrol_networks)
    reviewers = {Slot(slot): groups for slot, groups in settings.review_groups.items()}
    return House(lambda address: reach.permits("", address), reviewers, settings.experiments_last)


def barred(policies: PolicySource, clock: Callable[[], datetime]) -> Callable[[Server, Caller], str]:
    """Return what the gateway asks at every request: the same function that denies calls, on what is in memory."""

    def why(server: Server, caller: Caller) -> str:
        if server.groups is None and not server.sign_in and server.until is None:
            return ""
        try:
            groups = standing_of(policies.current, caller)
        except PolicyInvalid:
            return "the broker has no valid policy"
        refused = refusal(server, caller, groups, now=clock())
        return refused.text if refused else ""

    return why


async def resolve(host: str) -> Sequence[str]:
    """Return every address of a host, none where it has none or nobody answers in time."""
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(RESOLVED_WITHIN):
            found = await loop.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError, TimeoutError):
        return ()
    return tuple(dict.fromkeys(str(entry[4][0]).partition("%")[0] for entry in found))

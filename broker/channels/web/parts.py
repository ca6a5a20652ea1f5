"""What the web is built from, and how its handlers reach it and answer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, cast

from litestar import Request, Response
from litestar.enums import MediaType

from broker.approvals.desk import Desk
from broker.approvals.feedback import Feedback
from broker.approvals.forecast import Forecaster
from broker.approvals.ports import Changes, Health, PolicySource, RequestStore
from broker.approvals.stops import Stops
from broker.channels.web.archivist import Archivist, Audit
from broker.channels.web.board import Board
from broker.channels.web.bookkeeper import Bookkeeper
from broker.channels.web.devices import Devices
from broker.channels.web.intruders import Intruders
from broker.channels.web.pages import Pages
from broker.channels.web.policy_tests import PolicyTests
from broker.channels.web.ports import (
    Accepted,
    Authenticate,
    Checkup,
    Clock,
    Links,
    Note,
    Offers,
    Oidc,
    Passkeys,
    Presence,
    Problems,
    Recordings,
    Sessions,
    SignedIn,
    Timeline,
    Tokens,
    Usages,
    Vitals,
)
from broker.channels.web.projection import Projection
from broker.channels.web.proxy import NoProxy, Proxy
from broker.channels.web.rehearsing import Rehearser
from broker.channels.web.uncovered import Uncovered
from broker.channels.web.visitors import AnyRequest, CookieJar
from broker.channels.web.watchman import Watchman
from broker.domain.people import People, Reviewer
from broker.domain.requests import ApprovalRequest
from broker.errors import Forbidden, PolicyInvalid
from broker.insights.signals import Past
from broker.registry.accepting import Accepting
from broker.registry.declared import Declarations
from broker.registry.enrolling import Enrolling
from broker.registry.ports import Once
from broker.registry.reviewing import Reviewing
from broker.registry.roster import Roster
from broker.registry.widened import Widenings


@dataclass(frozen=True, kw_only=True)
class RegistryParts:
    """The registry's verbs. `read` says who reads its API, `namespace` begins the official names of servers of files.

    `secret` signs a tracker's answers, each of which counts `once`; empty: none is taken.
    """

    reviewing: Reviewing
    accepting: Accepting
    declarations: Declarations
    widenings: Widenings
    read: str = "signed_in"
    namespace: str = ""
    secret: bytes = b""
    once: Once | None = None

    @property
    def enrolling(self) -> Enrolling:
        return self.reviewing.enrolling

    @property
    def roster(self) -> Roster:
        return self.reviewing.enrolling.roster


@dataclass(frozen=True, kw_only=True)
class WebParts:
    """Everything that `web_app` is given. `templates` is the folder that holds web/ and static/.

    `mask_key` makes the fingerprints of redacted values. `public_url` is the address that people use, empty for the
    loopback only. Members of `observers` see every request. `history` is the folder of the search index (in memory if None),
    `policy_folder` that of the policy and its tests, `recordings` None where nothing is kept for replays.
    `encrypted`: the store is, so nothing of arguments goes into the index. `closing` is set when the broker stops, and
    streams end. `warning` stands on every page. `receipt` signs what became of a
    release. With `forecasts` and `callers` others may ask what a person may do.
    """

    desk: Desk
    requests: RequestStore
    changes: Changes
    policies: PolicySource
    health: Health
    sessions: Sessions
    links: Links
    tokens: Tokens
    passkeys: Passkeys
    oidc: Oidc
    proxy: Proxy = field(default_factory=NoProxy)
    devices: Devices | None = None
    timeline: Timeline
    audit: Audit
    presence: Presence
    note: Note
    problems: Problems
    checkup: Checkup
    offers: Offers
    accepted: Accepted
    vitals: Vitals
    usage: Usages
    feedback: Feedback
    registry: RegistryParts
    clock: Clock
    templates: Path
    mask_key: bytes
    public_url: str = ""
    observers: tuple[str, ...] = ()
    history: Path | None = None
    policy_folder: Path | None = None
    recordings: Recordings | None = None
    encrypted: bool = False
    closing: asyncio.Event = field(default_factory=asyncio.Event)
    forecasts: Forecaster | None = None
    callers: Authenticate | None = None
    warning: str = ""
    receipt: Callable[[ApprovalRequest], str] | None = None
    stops: Stops | None = None


class Web:
    """The parts, with what the web itself keeps in memory."""

    def __init__(self, parts: WebParts) -> None:
        self.parts = parts
        self.board = Board(parts.requests, parts.changes, mask_key=parts.mask_key, closing=parts.closing)
        self.projection = Projection(parts.history, mask_key=parts.mask_key, names_only=parts.encrypted)
        self.archivist = Archivist(self.projection, parts.requests, parts.audit, parts.changes)
        self.bookkeeper = Bookkeeper(parts.audit, parts.clock)
        self.watchman = Watchman(parts.vitals)
        self.tests = PolicyTests()
        self.rehearser = Rehearser()
        self.pages = Pages(parts.templates)
        self.jar = CookieJar(parts.public_url)
        self.uncovered = Uncovered()
        self.intruders = Intruders(parts.callers, parts.note, parts.clock)
        self.pasts: dict[str, Past] = {}

    @staticmethod
    def of(request: Request[Any, Any, Any]) -> Web:
        return cast("Web", request.app.state["web"])

    def people(self) -> People:
        """The directory in force; empty where there never was a good policy, since names are all that pages take from it."""
        try:
            return self.parts.policies.current.people
        except PolicyInvalid:
            return People()

    def groups(self, who: SignedIn) -> tuple[str, ...]:
        """The groups of a person now."""
        return self.parts.desk.groups_of(reviewer(who))

    def member(self, who: SignedIn) -> None:
        """The pages about the whole broker are for people of its groups. Raises `Forbidden`."""
        if not self.groups(who):
            raise Forbidden("this page is for members of the groups that people.yaml names")

    def now(self) -> datetime:
        return self.parts.clock()

    def page(self, request: AnyRequest, template: str, *, status: int = 200, **values: Any) -> Response[str]:
        """Return one rendered page or part of a page."""
        who: SignedIn | None = request.scope["state"].get("visitor")
        known: dict[str, Any] = {"degraded": self.watchman.told if who else ()} | values
        html = self.pages.render(
            template,
            nonce=request.scope["state"]["nonce"],
            path=request.url.path,
            now=self.now(),
            person=self.people().person(who.person) if who else None,
            csrf=who.csrf if who else "",
            problems=tuple(self.parts.problems()),
            warning=self.parts.warning,
            **known,
        )
        return Response(html, status_code=status, media_type=MediaType.HTML)


def reviewer(who: SignedIn, channel: str = "web") -> Reviewer:
    return Reviewer(person=who.person, channel=channel, groups=who.groups)


def partial(request: AnyRequest) -> bool:
    """Did htmx ask, and for a part of the page only?"""
    return request.headers.get("hx-request-type") == "partial"

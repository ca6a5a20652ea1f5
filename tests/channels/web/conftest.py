"""The web on a real store, desk and policy, served on a free port.

`site`     a `Site`: park requests, sign people in, ask the API
`browser`  a real Chromium; `site.tab(browser, person)` opens a signed-in tab
"""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import anyio
import httpx2
import msgspec
import pytest

from broker.agreement import Agreement
from broker.approvals.desk import Desk
from broker.approvals.feedback import Feedback
from broker.approvals.ports import SeenTool
from broker.approvals.stops import Stops
from broker.assets import shipped
from broker.channels.push.devices import Devices
from broker.channels.push.sending import ServerKey
from broker.channels.web.app import web_app
from broker.channels.web.headers import secured
from broker.channels.web.parts import Web, WebParts
from broker.domain.calls import Caller, ToolCall
from broker.domain.decisions import ApprovalPlan, Reason, RequireApproval, Requirement, RuleApproval, Severity
from broker.domain.people import Group, People, Person
from broker.domain.requests import ApprovalRequest, Origin, RequestState
from broker.errors import UpstreamUntouched
from broker.identity.oidc import Oidc
from broker.identity.passkeys import Passkeys
from broker.identity.people import PersonTokens, Scope, SignInLinks
from broker.identity.sessions import Sessions
from broker.policy.model import Policy, Problem
from broker.registry.catalogue import Catalogue
from broker.registry.pins import Pins
from broker.registry.ports import Listing
from broker.reload import PolicyFolder
from broker.serving import listening, server
from broker.store import keys
from broker.store.open import Store
from broker.vitals import Vitals
from tests.fakes.registry import registry_parts

ANN, BO, CY, DANA, EVE = (f"{name}@example.com" for name in ("ann", "bo", "cy", "dana", "eve"))
PEOPLE = People(
    persons={
        ANN: Person(ANN, "Ann Lindqvist"), BO: Person(BO, "Bo Tanaka"), CY: Person(CY, "Cy Osei"),
        DANA: Person(DANA, "Dana Ruiz"), EVE: Person(EVE, "Eve Stone"),
    },
    groups={name: Group(name, who) for name, who in (("finance", (ANN, BO, CY)), ("security", (CY,)), ("strangers", (EVE,)))},
)  # fmt: skip

REASONS = (Reason("refund-large", "refunds above 500", "payments.yaml:12"),)


class Found(msgspec.Struct):
    level: str
    about: str
    told: str
    mend: str = ""


async def checkup() -> AsyncIterator[Found]:
    yield Found("fine", "store", "answers")
    yield Found("warning", "deliveries", "one card was given up", "mend the channel")


class NoServers:
    """A catalogue of servers without one."""

    def server(self, name: str) -> None:
        return None

    def names(self) -> tuple[str, ...]:
        return ()

    async def probe(self, server: str) -> Listing:
        raise UpstreamUntouched(f"{server} is away")


class Policies:
    """A policy that only knows people; `problems` are those of its files."""

    current = Policy(digest="sha256:" + "5f" * 32, people=PEOPLE, servers={})
    problems: tuple[Problem, ...] = ()


@dataclass
class Site:
    """A served web app. `now` moves its clock; the store keeps its own."""

    url: str
    store: Store
    desk: Desk
    policies: Policies
    parts: WebParts
    links: SignInLinks
    sessions: Sessions
    tokens: PersonTokens
    closing: AsyncExitStack
    web: Web
    ahead: list[timedelta]

    def board_watchers(self) -> int:
        return len(self.web.board._watchers)

    async def park(
        self, title: str = "Refund 900 EUR to Acme", arguments: dict[str, Any] | None = None, *,
        asks: Sequence[tuple[str, int]] = (("finance", 1),), severity: str = "high", timeout: timedelta = timedelta(hours=1),
        owner: str = DANA, agent: str = "billing-bot", client: str = "", stated: str = "", rest: dict[str, Any] | None = None,
        server: str = "payments", tool: str = "refund_create", origin: Origin | None = None, **plan: Any,
    ) -> ApprovalRequest:  # fmt: skip
        """Park one call, as the guard would."""
        params = {
            "name": tool,
            "arguments": {"amount": 900, "customer": "Acme"} if arguments is None else arguments,
            **(rest or {}),
        }
        call = ToolCall(server, tool, params, Caller(agent=agent, owner=owner, client=client))
        needs = tuple(Requirement(group, count) for group, count in asks)
        asked = ApprovalPlan(
            title=title, asks=(RuleApproval("refund-large", needs),), timeout=timeout, severity=Severity(severity), **plan
        )
        decision = RequireApproval(policy=Policies.current.digest, rules=("refund-large",), reasons=REASONS, plan=asked)
        return (await self.desk.open(call, decision, SeenTool(True, None), origin or Origin(stated=stated))).request

    async def state(self, request: ApprovalRequest) -> RequestState:
        return (await self.store.requests.get(request.id)).state

    async def visitor(self, person: str) -> httpx2.AsyncClient:
        """Return a client with a signed-in session of `person`."""
        client = self.stranger()
        link = await self.links.add(person)
        answer = await client.post("/sign-in", data={"code": link})
        assert answer.status_code == 303, answer.text
        return client

    def stranger(self) -> httpx2.AsyncClient:
        client = httpx2.AsyncClient(base_url=self.url, timeout=10, verify=False)  # plain HTTP: no certificates to load
        self.closing.push_async_callback(client.aclose)
        return client

    async def api(self, person: str, *scopes: str) -> httpx2.AsyncClient:
        """Return a client with a personal token; all scopes if none is named."""
        chosen = tuple(Scope(scope) for scope in scopes) or (Scope.READ, Scope.REVIEW)
        secret = await self.tokens.add(person, scopes=chosen, lasts=timedelta(days=1))
        client = self.stranger()
        client.headers["authorization"] = f"Bearer {secret}"
        return client

    async def csrf(self, client: httpx2.AsyncClient) -> str:
        signed_in = await self.sessions.find(client.cookies["broker"])
        assert signed_in is not None
        return signed_in.csrf

    async def review(
        self, client: httpx2.AsyncClient, request: ApprovalRequest, verdict: str, reason: str = "", **fields: str
    ) -> httpx2.Response:
        """Send the form of a request's page."""
        form = {"csrf": await self.csrf(client), "digest": request.digest, "verdict": verdict, "reason": reason} | fields
        return await client.post(f"/r/{request.id}/review", data=form)

    async def confirm(self, client: httpx2.AsyncClient, request: ApprovalRequest, verdict: str) -> httpx2.Response:
        """Send the form by which the caller's own user answers."""
        form = {"csrf": await self.csrf(client), "digest": request.digest, "verdict": verdict}
        return await client.post(f"/r/{request.id}/confirm", data=form)

    async def listed(self, client: httpx2.AsyncClient, title: str, path: str = "/") -> str:
        """Return a page once it names `title`: the list follows the store by a moment."""
        with anyio.fail_after(5):
            while title not in (page := (await client.get(path)).text):  # noqa: ASYNC110 - a page has no event
                await anyio.sleep(0.01)
        return page

    async def tab(self, browser: Any, person: str, **context: Any) -> Any:
        """Return a tab of a fresh browser profile, signed in if a person is named."""
        profile = await browser.new_context(base_url=self.url, **context)
        page = await profile.new_page()
        if not person:
            return page
        await page.goto(f"/sign-in/{await self.links.add(person)}")
        await page.get_by_role("button", name="Sign in").click()
        await page.wait_for_url(self.url + "/")
        return page


@pytest.fixture
async def site(store: Store) -> AsyncIterator[Site]:
    async with served(store) as site:
        yield site


@asynccontextmanager
async def served(store: Store, bound: socket.socket | None = None, **changed: Any) -> AsyncIterator[Site]:
    """Serve a web app over a store, on a socket that is bound already or a fresh one. `changed` replaces parts."""
    policies, ahead = changed.get("policies") or Policies(), [timedelta()]

    def clock() -> datetime:
        return datetime.now(UTC) + ahead[0]

    desk = Desk(store.requests, store.changes, policies, new_id=keys.new_id, release_window=timedelta(minutes=10))
    links, sessions = SignInLinks(store.credentials, clock=clock), Sessions(store.credentials, clock=clock)
    tokens = PersonTokens(store.credentials, clock=clock)
    given: dict[str, Any] = {
        "desk": desk, "requests": store.requests, "changes": store.changes, "policies": policies, "health": store.health,
        "sessions": sessions, "links": links, "tokens": tokens,
        "passkeys": Passkeys(store.credentials, clock=clock),
        "devices": Devices(store.devices, ServerKey(b"k" * 32).public, clock=clock),
        "oidc": Oidc((), store.credentials, clock=clock), "timeline": store.audit.about,
        "audit": store.audit, "presence": store.presence, "note": store.audit.append,
        "problems": lambda: policies.problems, "checkup": checkup,
        "offers": Catalogue(NoServers(), NoServers(), Pins(store.servers)), "accepted": Pins(store.servers),
        "vitals": Vitals(store, Agreement(store.agreed, cast("PolicyFolder", policies), store.presence, "broker-1")),
        "usage": store.usage, "stops": Stops(store.stops),
        "feedback": Feedback(store.feedback, store.audit.append, clock, lambda server, tool: 6.0),
        "clock": clock, "templates": shipped("templates"), "mask_key": b"k" * 32,
    }  # fmt: skip
    given |= changed
    registry = registry_parts(store, given["policies"], given["offers"], **given.pop("registry", {}))
    parts = WebParts(**given, registry=registry)
    app = web_app(parts)
    listener = bound or listening("127.0.0.1", 0)
    front = server(secured(app, https=parts.public_url.startswith("https://")), parts.closing)
    async with AsyncExitStack() as closing:
        await closing.enter_async_context(app.lifespan())
        serving = asyncio.create_task(front._serve([listener]))
        with anyio.fail_after(5):
            while not front.started:  # noqa: ASYNC110 - uvicorn has no event for it
                await anyio.sleep(0.005)
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        try:
            yield Site(url, store, desk, policies, parts, links, sessions, tokens, closing, app.state["web"], ahead)
        finally:
            front.stop()
            await serving
            listener.close()


CHROMIUM = Path(os.environ.get("BROKER_TEST_CHROMIUM", "/usr/bin/chromium"))
FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
FOUND = CHROMIUM.exists()


@pytest.fixture(scope="session")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of one Chromium for the whole session: starting it takes longer than most tests."""
    if not FOUND:
        pytest.skip("no Chromium here: apt-get install chromium")
    folder = tmp_path_factory.mktemp("chromium")
    command = [str(CHROMIUM), *FLAGS, "--remote-debugging-port=0", f"--user-data-dir={folder}"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            yield f"http://127.0.0.1:{_port_of(folder / 'DevToolsActivePort')}"
        finally:
            process.terminate()
            process.wait(10)


def _port_of(file: Path) -> int:
    """Chromium writes where it listens as soon as it does."""
    until = time.monotonic() + 20
    while time.monotonic() < until:
        if file.exists() and (lines := file.read_text().splitlines()):
            return int(lines[0])
        time.sleep(0.02)
    raise TimeoutError("Chromium did not start")


@pytest.fixture(scope="module")
async def driven(chromium: str) -> AsyncIterator[Any]:
    """The browser as Playwright drives it, by a process of its own: one for all tests of a file."""
    from playwright.async_api import async_playwright  # noqa: PLC0415 - only where there is a browser

    async with async_playwright() as playwright:
        yield await playwright.chromium.connect_over_cdp(chromium)


@pytest.fixture
async def browser(driven: Any) -> AsyncIterator[Any]:
    kept = list(driven.contexts)  # the browser's first profile: it would end with that
    yield driven
    for context in (one for one in driven.contexts if one not in kept):
        await context.close()

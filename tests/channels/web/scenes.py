"""A firm with everything that a page may have to show: `async with firm(store, folder) as (site, scenes):`.

`scenes` are the pages and states by name; the accessibility test walks through them, and `pictures` draws them.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import msgspec

from broker.agreement import Agreement
from broker.channels.slack.troubles import Trouble
from broker.domain.requests import ApprovalRequest
from broker.policy.load import load
from broker.policy.model import Problem
from broker.registry.catalogue import Catalogue
from broker.registry.pins import Pins
from broker.store.open import Store
from tests.channels.web.conftest import ANN, BO, CY, DANA, Policies, Site, served
from tests.channels.web.firm import FILES, LONG_TEXT, SHELL, SQL
from tests.channels.web.past_days import past_days
from tests.channels.web.registry_scenes import Servers, about_servers, asked_often, enrolments, use_of_months
from tests.channels.web.scene import Scene

if TYPE_CHECKING:
    from broker.reload import PolicyFolder
    from broker.vitals import Vitals


@asynccontextmanager
async def firm(store: Store, folder: Path, **changed: Any) -> AsyncIterator[tuple[Site, dict[str, Scene]]]:
    """`changed` replaces parts of the web app."""
    for name, text in FILES.items():
        (folder / name).write_text(text)
    policies = Policies()
    policies.current = load(folder)
    servers, pins = Servers(policies), Pins(store.servers)
    catalogue = Catalogue(servers, servers, pins)
    await past_days(store)
    await use_of_months(store)
    async with served(
        store,
        policies=policies,
        policy_folder=folder,
        offers=catalogue,
        accepted=pins,
        recordings=store.recordings,
        observers=("security",),
        **changed,
    ) as site:
        for tool in (await servers.probe("payments")).tools:
            await pins.accept(tool, CY, site.parts.clock(), instead_of=None)
        servers.changed = True
        await enrolments(site, servers)
        await asked_often(servers, catalogue)
        await two_brokers(site)
        scenes = await _requests(site)
        yield site, scenes | _about(site) | about_servers() | await _gate(site)


async def two_brokers(site: Site) -> None:
    """Another broker runs on this store, by the same policy."""
    mine = cast("Vitals", site.parts.vitals)._agreement
    other = Agreement(site.store.agreed, cast("PolicyFolder", site.policies), site.store.presence, "broker-2")
    for agreement in (mine, other, mine):
        await agreement.look()


async def ran(site: Site, request: ApprovalRequest, by: str = BO) -> None:
    """Approve a request and let it run."""
    await site.review(await site.visitor(by), request, "approve")
    update, lease = site.store.requests.update, timedelta(minutes=1)
    await update(
        request.id, lambda r, now: r.claimed("broker-1", "n", now, lease=lease, policy=r.policy, definition=r.definition)
    )
    await update(request.id, lambda r, now: r.completed(1, now, b'{"result":{}}', "sha256:1"))


REFUND: dict[str, Any] = {
    "title": "Refund 900 EUR to Acme Lamps",
    "show": ("args.customer", "args.amount", "args.reason"),
    "severity": "high",
}


def refund(amount: int, customer: str = "Acme Lamps", reason: str = "Broken on arrival, photos attached") -> dict[str, Any]:
    return {
        "customer": customer,
        "amount": amount,
        "currency": "EUR",
        "reason": reason,
        "lines": [{"sku": "L-20", "count": amount // 90}],
    }


async def _requests(site: Site) -> dict[str, Scene]:
    for amount in (120, 240, 260):
        await ran(site, await site.park(**REFUND | {"title": f"Refund {amount} EUR to Acme Lamps"}, arguments=refund(amount)))
    await ran(site, done := await site.park(**REFUND | {"title": "Refund 310 EUR to Birch"}, arguments=refund(310, "Birch & Co")))
    lost = await site.park("Ship 40 lamps to Oslo", {"order": "A-10293"}, server="warehouse", tool="ship", agent="stock-bot")
    await site.review(await site.visitor(BO), lost, "approve")
    update, lease = site.store.requests.update, timedelta(minutes=1)
    await update(lost.id, lambda r, now: r.claimed("broker-1", "n", now, lease=lease, policy=r.policy, definition=""))
    await update(lost.id, lambda r, now: r.lost(now))
    refused = await site.park(**REFUND | {"title": "Refund 9,000 EUR to Cedar"}, arguments=refund(9000, "Cedar"))
    await site.review(await site.visitor(BO), refused, "reject", "The invoice was credited in March already")
    over = await site.park(
        "Delete the branch release/3", {"branch": "release/3"}, server="code", tool="branch_delete", severity="medium"
    )
    await update(over.id, lambda r, now: r.cancelled(now))
    named = {
        "refund": await site.park(
            **REFUND,
            arguments=refund(900),
            stated="The customer wrote twice; the lamps arrived broken.",
            timeout=timedelta(minutes=28),
            client="claude-code",
        ),
        "sql": await site.park(
            "Run SQL on the warehouse",
            {"database": "warehouse", "sql": SQL, "dry_run": False},
            server="warehouse",
            tool="sql_run",
            severity="critical",
            asks=(("finance", 2), ("security", 1)),
            agent="stock-bot",
            type_to_confirm="args.database",
            timeout=timedelta(minutes=9),
        ),
        "passkey": await site.park(
            "Pay 48,000 EUR to a new account",
            {"iban": "DE89 3704 0044 0532 0130 00", "amount": 48_000},
            tool="payout_create",
            severity="critical",
            step_up=True,
            show=("args.iban", "args.amount"),
            timeout=timedelta(minutes=50),
        ),
        "shell": await site.park(
            "Run a command on build-3",
            {"host": "build-3", "command": SHELL},
            server="code",
            tool="shell",
            agent="release-bot",
            timeout=timedelta(hours=2),
        ),
        "long": await site.park(
            "Send a mail to 3 customers",
            {"to": ["a@acme.example", "b@birch.example", "c@cedar.example"], "body": LONG_TEXT},
            server="mail",
            tool="send",
            agent="support-bot",
            severity="medium",
            timeout=timedelta(hours=4),
        ),
        "hidden": await site.park(
            "Write a file",
            {"path": "notes/\u202etxt.exe", "api_key": "sk-live-abcdefghijklmnopqrstuv"},
            server="code",
            tool="file_write",
            severity="low",
            timeout=timedelta(hours=5),
        ),
        "large": await site.park(
            "Load 60,000 rows into the warehouse",
            {"table": "orders", "csv": "2026-11-28;L-20;3;paid\n" * 60_000, "truncate": False},
            server="warehouse",
            tool="load",
            severity="medium",
            timeout=timedelta(hours=5),
        ),
        "own": await site.park(
            "Publish the price list", {"list": "2027"}, server="code", tool="publish", owner=ANN, severity="medium"
        ),
    }
    for number, item in enumerate(("L-20", "L-21", "L-30", "S-4")):
        stock = await site.park(
            f"Set the stock of {item} to {number * 12}",
            {"item": item, "count": number * 12, "reason": "count of Friday"},
            tool="stock_set",
            server="warehouse",
            severity="low",
            agent="stock-bot",
            show=("args.item", "args.count"),
            timeout=timedelta(hours=8),
        )
    await site.review(await site.visitor(BO), named["sql"], "approve", typed="warehouse")
    cy = await site.visitor(CY)
    await cy.post(
        f"/r/{named['sql'].id}/comment", data={"csrf": await site.csrf(cy), "comment": "Is this the table of the test shop?"}
    )
    await site.listed(await site.visitor(ANN), "4 alike")
    named |= {"completed": done, "unknown": lost, "rejected": refused, "withdrawn": over}
    scenes = {name: Scene(f"/r/{request.id}", shows=request.plan.title) for name, request in named.items()}
    scenes["result"] = Scene(f"/r/{done.id}", DANA, shows="How long would this have taken you by hand?")
    scenes["own of dana"] = Scene(f"/r/{named['refund'].id}", DANA)
    scenes["together"] = Scene(f"/batch/{stock.id}?tick=approve", shows="Proposed together by stock-bot")
    stale = {f"verdict.{stock.id}": "approve", f"seen.{stock.id}": "sha256:0 1"}
    scenes["answered together"] = Scene(f"/batch/{stock.id}", form=stale, shows="Not counted")
    scenes["why"] = Scene(f"/r/{named['refund'].id}/why", shows="Every rule about this call")
    scenes["rejecting"] = Scene(f"/r/{named['refund'].id}", press=("Reject…",))
    scenes["too late"] = Scene(
        f"/r/{done.id}/review",
        form={"verdict": "reject", "digest": done.digest, "reason": "Was it not credited before?"},
        shows="Your answer was not counted",
    )
    return scenes


def _about(site: Site) -> dict[str, Scene]:
    tried = "/policies?server=payments&tool=refund_create&user=sam%40example.com"
    digest = site.parts.policies.current.digest
    looser = FILES["rules.yaml"].split("\n\n")[2].strip("\n").replace("> 100", "> 250").replace("finance}", "finance, count: 2}")
    return {
        "inbox": Scene("/"),
        "alike": Scene("/?q=stock", press=("4 alike",)),
        "groups": Scene("/?view=groups"),
        "nothing found": Scene("/?q=nowhere", shows="Nothing matches"),
        "nothing waits": Scene("/", "eve@example.com", shows="Nothing waits for you"),
        "account": Scene("/account"),
        "history": Scene("/history"),
        "history found": Scene("/history?q=lamps&state=completed"),
        "policies": Scene("/policies"),
        "trying": Scene(tried, shows="as refund_create describes them"),
        "tried": Scene(f"{tried}&arg.customer=acme&arg.amount=900&arg.currency=%22EUR%22", shows="by refund-large"),
        "rule": Scene("/policies/rules/refund-large"),
        "rule replayed": Scene(
            "/policies/rules/refund-large", CY, form={"digest": digest, "text": looser}, shows="What it would have done"
        ),
        "rule broken": Scene(
            "/policies/rules/refund-large",
            form={"digest": digest, "text": looser.replace("when:", "wen:")},
            shows="can't be loaded",
        ),
        "insights": Scene("/insights"),
        "health": Scene("/health"),
        "missing": Scene("/r/apr_0_x", shows="Nothing here"),
        "forbidden": Scene("/policies", "nobody@example.com", shows="Not allowed"),
    }


async def _gate(site: Site) -> dict[str, Scene]:
    """The pages of those who are not signed in."""
    return {
        "sign in": Scene("/sign-in", "", shows="Your sign-in link"),
        "sign in with a link": Scene(f"/sign-in/{await site.links.add(ANN)}", "", shows="Sign in as"),
        "sign in refused": Scene("/sign-in/lnk_0000", "", shows="Your sign-in link"),
    }


@asynccontextmanager
async def in_trouble(site: Site) -> AsyncIterator[dict[str, Scene]]:
    """The same firm with a channel that does not deliver, and policy files with mistakes."""
    place = Trouble("#refunds", "channel_not_found", "invite the app", datetime.now(UTC).replace(hour=14, minute=2), 3)
    await site.store.slack.troubles.put(place.place, msgspec.json.encode(place))
    await site.web.watchman.look()
    policies: Any = site.parts.policies
    policies.problems = (Problem("rules.yaml", 3, 7, "unknown key `efect`", "write `effect`"),)
    object.__setattr__(site.parts, "problems", lambda: policies.problems)
    yield {"degraded": Scene("/", shows="Slack: 3 cards not delivered since 14:02")}
    await site.store.slack.troubles.delete(place.place)
    await site.web.watchman.look()
    policies.problems = ()

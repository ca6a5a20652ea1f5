"""What `broker doctor` looks at: each check returns findings, each with its mend. Nothing is changed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from enum import StrEnum
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec

from broker.audit.chain import Seal
from broker.channels.slack.troubles import Troubles
from broker.domain.people import People
from broker.errors import BrokerError, PolicyInvalid
from broker.policy.model import Policy
from broker.reload import PolicyFolder
from broker.settings import Settings
from broker.store.open import Store
from broker.upstream.references import is_command, resolved

# Clocks that differ by more make deadlines and tokens surprising.
SKEW = 5.0
# Events that may wait for their seal while a broker runs.
UNSEALED = 5_000


class Level(StrEnum):
    FINE = "fine"
    WARNING = "warning"
    WRONG = "wrong"


class Finding(msgspec.Struct, frozen=True):
    """`about` names the part, `told` what was found, `mend` what to do about it."""

    level: Level
    about: str
    told: str
    mend: str = ""


def policy_findings(policies: PolicyFolder) -> list[Finding]:
    """Is the folder in force, can everyone who is asked be reached?"""
    found = [Finding(Level.WRONG, "policy", str(problem)) for problem in policies.problems]
    try:
        policy = policies.current
    except PolicyInvalid:
        return found
    found.append(Finding(Level.FINE, "policy", f"{len(policy.servers)} servers in force, digest {policy.digest[:19]}"))
    return found + _people_findings(policy.people) + _secret_findings(policy)


def _people_findings(people: People) -> list[Finding]:
    """Unmanned gates: a rule that asks a group in which nobody can be reached lets everything expire."""
    empty = [name for name, group in people.groups.items() if not (group.members or group.idp or group.slack)]
    return [Finding(Level.WRONG, "people", f"nobody is in group {name}", "add members in people.yaml") for name in empty]


def _secret_findings(policy: Policy) -> list[Finding]:
    found = []
    for server in policy.servers.values():
        try:
            told = {**server.headers, **server.env} | ({"client_secret": server.auth.client_secret} if server.auth else {})
            resolved({name: value for name, value in told.items() if not is_command(value)})
        except BrokerError as error:
            found.append(Finding(Level.WRONG, f"server {server.name}", error.message, "set it where the broker runs"))
    return found


async def store_findings(store: Store) -> list[Finding]:
    """Does the store answer, keep what it said, and agree about the time?"""
    found = [Finding(Level.FINE, "store", f"answers at {store.url.partition('@')[2] or store.url}")]
    skew = abs((store.clock() - datetime.now(UTC)).total_seconds())
    if skew > SKEW:
        found.append(Finding(Level.WARNING, "clock", f"this machine and the store differ by {skew:.0f} s", "run a time service"))
    durability = await store.durability.told()
    if durability != ("yes", "always"):
        told = f"appendonly {durability[0]}, appendfsync {durability[1] or 'not told'}"
        found.append(Finding(Level.WARNING, "store", told, "set appendonly yes and appendfsync always"))
    for delivery, why in await store.outbox.dead(20):
        told = f"{delivery.request} was given up after {delivery.attempts} tries: {why}"
        found.append(Finding(Level.WARNING, "deliveries", told, "mend the channel; people see the request on the page"))
    for trouble in await Troubles(store.slack.troubles, store.clock).all():
        told = f"{trouble.place}: {trouble.reason}, {trouble.count} times since {trouble.since:%Y-%m-%d %H:%M} UTC"
        found.append(Finding(Level.WARNING, "slack", told, trouble.mend))
    return found


async def seal_findings(store: Store) -> list[Finding]:
    """Is the audit sealed up to now?"""
    head, last = await store.seals.head(), await store.audit.last()
    sealed = msgspec.json.decode(head, type=Seal).last if head else 0
    if last - sealed > UNSEALED:
        return [Finding(Level.WARNING, "audit", f"{last - sealed} events wait for their seal", "is a broker running?")]
    return [Finding(Level.FINE, "audit", f"{sealed} of {last} events are sealed")]


async def zone_findings() -> list[Finding]:
    try:
        ZoneInfo("Europe/Berlin")
    except ZoneInfoNotFoundError:
        return [Finding(Level.WARNING, "time zones", "there is no zone data", "pip install tzdata")]
    return []


async def settings_findings(settings: Settings) -> list[Finding]:
    found = []
    if settings.redis_url and not (settings.encryption_keys or settings.encryption_key_file):
        mend = "set BROKER_ENCRYPTION_KEY_FILE, the same key for all brokers"
        found.append(Finding(Level.WARNING, "data at rest", "arguments lie unencrypted in the store", mend))
    if settings.host not in ("127.0.0.1", "localhost", "::1") and not settings.public_url.startswith("https://"):
        mend = "put a TLS proxy in front and set BROKER_PUBLIC_URL"
        found.append(Finding(Level.WARNING, "transport", f"listens on {settings.host} without https", mend))
    return found


async def examined(
    settings: Settings, policies: PolicyFolder, opening: Callable[[], Awaitable[Store]]
) -> AsyncIterator[Finding]:  # fmt: skip
    """Yield every finding; a store that can't be opened is one."""
    for finding in (*policy_findings(policies), *await settings_findings(settings), *await zone_findings()):
        yield finding
    try:
        store = await opening()
        for finding in (*await store_findings(store), *await seal_findings(store)):
            yield finding
    except BrokerError as error:
        yield Finding(Level.WRONG, "store", error.message, "start it, or mend BROKER_REDIS_URL")

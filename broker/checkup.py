"""What `broker doctor` looks at: each check returns findings, each with its mend. Nothing is changed."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from broker.audit.chain import seal_of
from broker.audit.keys import published
from broker.channels.slack.troubles import Troubles
from broker.diagnosis import Finding, Level
from broker.errors import BrokerError, PolicyInvalid
from broker.gates import gate_findings
from broker.policy.model import Policy
from broker.reload import PolicyFolder
from broker.settings import Settings, unknown_variables
from broker.store.open import Store
from broker.upstream.references import is_command, resolved

# Clocks that differ by more make deadlines and tokens surprising.
SKEW = 5.0
# Events that may wait for their seal while a broker runs.
UNSEALED = 5_000
UNSEALED_FOR = timedelta(minutes=1)


def policy_findings(policies: PolicyFolder, settings: Settings) -> list[Finding]:
    """Is the folder in force, can everyone who is asked be reached, are the servers' secrets there?"""
    found = [Finding(Level.WRONG, "policy", str(problem)) for problem in policies.problems]
    try:
        policy = policies.current
    except PolicyInvalid:
        return found
    servers = "1 server" if len(policy.servers) == 1 else f"{len(policy.servers)} servers"
    found.append(Finding(Level.FINE, "policy", f"{servers} in force, digest {policy.digest[:19]}"))
    return found + gate_findings(policy, settings) + _secret_findings(policy)


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
    found = [Finding(Level.FINE, "store", f"answers at {_without_password(store.url)}")]
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


def _without_password(url: str) -> str:
    """A password may hold any character, and may stand behind a question mark too."""
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2].partition('?')[0]}"


async def seal_findings(store: Store, keys: Mapping[str, Any]) -> list[Finding]:
    """Is the audit sealed up to now, and by a key that is published here? `keys` is the broker's JWKS."""
    head, last = await store.seals.head(), await store.audit.last()
    seal = seal_of(head)
    sealed = seal.last if seal else 0
    if head and seal is None:
        return [Finding(Level.WRONG, "audit", "what the store keeps as the last seal can't be read: nothing is sealed any more",
                        "broker audit verify")]  # fmt: skip
    if sealed > last:
        told = f"{sealed} events were sealed, and the store holds no more than {last}: it was put back, or cut"
        return [Finding(Level.WRONG, "audit", told, "broker audit verify")]
    if last > sealed and [number for number, _ in await store.audit.raw(sealed, 1)] != [sealed + 1]:
        told = f"event {sealed + 1} is missing in the store, and nothing is sealed over a gap: the proof ends there"
        return [Finding(Level.WRONG, "audit", told, "broker audit verify")]
    if seal is not None and seal.key not in {key["kid"] for key in keys["keys"]}:
        mend = "give all brokers of a store one BROKER_SIGNING_KEY_FILE, with all keys that ever signed"
        return [Finding(Level.WARNING, "audit", "the last seal was made with a key that is not in this broker's file", mend)]
    if last - sealed > UNSEALED or await _waits(store, sealed):
        mend = "is a broker running, and can it write to its folder (`sealer.failed` in its log)?"
        return [Finding(Level.WARNING, "audit", f"{last - sealed} events wait for their seal", mend)]
    return [Finding(Level.FINE, "audit", f"{sealed} of {last} events are sealed")]


async def _waits(store: Store, sealed: int) -> bool:
    """Has the first event that is not sealed been there for longer than any sealer needs?"""
    waiting = await store.audit.read(sealed, 1)
    return bool(waiting) and store.clock() - waiting[0].event.at > UNSEALED_FOR


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
    return found + _key_findings(settings) + _caller_findings(settings) + _variable_findings(os.environ)


def _key_findings(settings: Settings) -> list[Finding]:
    """Files with private keys that others on this machine may read."""
    exposed = (path for path in (settings.key_file, settings.data_key_file) if path.is_file() and path.stat().st_mode & 0o077)
    return [Finding(Level.WARNING, "keys", f"{path} is open to other users", f"chmod 600 {path}") for path in exposed]


def _caller_findings(settings: Settings) -> list[Finding]:
    """Issuers whose keys are not there, or whose names for people may be others than those that people sign in with."""
    files = [(one.issuer, one.jwks_file) for one in settings.oauth_issuers if one.jwks_file and not one.jwks_file.is_file()]
    mend = "put its keys there; until then it lets nobody in"
    found = [Finding(Level.WRONG, f"issuer {name}", f"{file} is not there", mend) for name, file in files]
    vague = (one for one in settings.oauth_issuers if one.user_claim == "sub" and not (one.workloads or one.trust_domain))
    told = "names users by `sub`: where that is not what people sign in with, a requester may approve their own call"
    return found + [Finding(Level.WARNING, f"issuer {one.issuer}", told, "set user_claim, e.g. to email") for one in vague]


def _variable_findings(environment: Iterable[str]) -> list[Finding]:
    mend = "mend the name: README.md lists the settings"
    return [Finding(Level.WARNING, "settings", f"{name} is no setting", mend) for name in unknown_variables(environment)]


def _published(settings: Settings) -> Mapping[str, Any]:
    """Before the first start there is no key."""
    return published(settings.key_file) if settings.key_file.exists() else {"keys": []}


async def examined(
    settings: Settings, policies: PolicyFolder, opening: Callable[[], Awaitable[Store]]
) -> AsyncIterator[Finding]:  # fmt: skip
    """Yield every finding; a store that can't be opened is one."""
    for finding in (*policy_findings(policies, settings), *await settings_findings(settings), *await zone_findings()):
        yield finding
    try:
        store = await opening()
        for finding in (*await store_findings(store), *await seal_findings(store, _published(settings))):
            yield finding
    except BrokerError as error:
        yield Finding(Level.WRONG, "store", error.message, "start it, or mend BROKER_REDIS_URL")

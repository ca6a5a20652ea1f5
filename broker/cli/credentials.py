"""What the verbs that make and revoke credentials share: the store and the policy of this install, and spans of time."""

from __future__ import annotations

import argparse
import getpass
import os
import re
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from broker.errors import ConfigInvalid

if TYPE_CHECKING:
    from broker.policy.model import Policy
    from broker.settings import Settings
    from broker.store.open import Store

_SPAN = re.compile(r"(\d{1,6})(s|m|h|d)", re.ASCII)
_UNITS = {"s": timedelta(seconds=1), "m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1)}


def span(text: str) -> timedelta:
    """Read `45s`, `30m`, `12h`, `90d`, for argparse."""
    found = _SPAN.fullmatch(text)
    if found is None or int(found[1]) == 0:
        raise argparse.ArgumentTypeError("a time has to be like 45s, 30m, 12h or 90d")
    return int(found[1]) * _UNITS[found[2]]


def names(text: str) -> tuple[str, ...]:
    """Read `a,b`, for argparse."""
    return tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))


def clock() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True)
class Office:
    """The open store and the policy of this install. `who` is the user of the operating system, for the audit."""

    settings: Settings
    store: Store
    policy: Policy
    who: str

    async def note(self, what: str, **fields: str) -> None:
        """Write into the audit what was done, and by whom."""
        from broker.domain.events import Noted  # noqa: PLC0415

        await self.store.audit.append(Noted(at=self.store.clock(), what=what, who=self.who, fields=fields))

    def need_person(self, person: str, *, unlisted: bool) -> None:
        """Raises `ConfigInvalid` for somebody whom the policy does not know: a typing error would let them approve their own."""
        people = self.policy.people
        listed = person in people.persons or bool(people.groups_of(person))
        if not listed and not unlisted:
            raise ConfigInvalid(f"`{person}` is not in people.yaml: mend the name, or say --unlisted if it is right")


@asynccontextmanager
async def office() -> AsyncIterator[Office]:
    """Open the store as the broker would: the running one, or the embedded one for as long as this takes."""
    from broker.assets import shipped  # noqa: PLC0415 - the command line starts without these
    from broker.data_keys import data_keys  # noqa: PLC0415
    from broker.logs import configure  # noqa: PLC0415
    from broker.policy.load import load  # noqa: PLC0415
    from broker.settings import load_settings  # noqa: PLC0415
    from broker.store.open import open_store  # noqa: PLC0415

    settings = load_settings()
    configure("warning")
    policy = load(settings.policies or shipped("policies"), environment=settings.environment)
    url = settings.redis_url.get_secret_value() if settings.redis_url else None
    opened = open_store(
        url, data=settings.data.expanduser(), broker_id=f"cli-{os.getpid()}", redis_bin=settings.redis_bin,
        encryption=data_keys(settings),
    )  # fmt: skip
    async with opened as store:
        yield Office(settings, store, policy, f"os:{getpass.getuser()}")


def aside(text: str) -> None:
    """Print what is meant for a person's eye only: the secret alone goes to standard output."""
    print(text, file=sys.stderr)

"""The policy as loaded: everything that `evaluate` needs, frozen."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import msgspec

from broker.domain.people import People
from broker.domain.servers import Server, ToolDefinition


class CounterUse(msgspec.Struct, frozen=True):
    """One counter that one call touches. `amount` None: it can't be told, so the counter is an error for this call.

    `key` names the bucket (counter name and the values of its key fields); `of` is all, asked or released.
    """

    name: str
    key: str
    window: timedelta
    amount: float | None
    of: str = "all"


class Facts(msgspec.Struct, frozen=True):
    """What evaluation needs beside the call: everything comes in, nothing is fetched.

    `counters` holds the sums of earlier calls by counter name; a name that is missing is an error, which tightens.
    """

    now: datetime
    known: bool
    definition: ToolDefinition | None
    counters: Mapping[str, float] = {}


class Problem(msgspec.Struct, frozen=True, omit_defaults=True):
    """One mistake in a policy file: where, what is wrong, what to write instead. Lines and columns count from 1."""

    file: str
    line: int
    column: int
    message: str
    mend: str = ""

    def __str__(self) -> str:
        mend = f"; {self.mend}" if self.mend else ""
        return f"{self.file}:{self.line}:{self.column}: {self.message}{mend}"


class Policy(msgspec.Struct, frozen=True):
    """One loaded folder. `digest` is `sha256:…` over all its files, `beside` over those that hold more than servers."""

    digest: str
    people: People
    servers: dict[str, Server]
    compiled: Any = None
    beside: str = ""

"""Values of the catalogue that stand for secrets: `env:NAME` and `file:PATH`. Anything else is the value itself."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import msgspec

from broker.errors import ConfigInvalid


class Resolved(msgspec.Struct, frozen=True):
    """`values` as an upstream gets them; `secrets` are those that must never be shown."""

    values: dict[str, str]
    secrets: tuple[str, ...]


def resolved(values: Mapping[str, str]) -> Resolved:
    """Return the values with every reference looked up now, so that a changed secret is used from the next start on.

    Raises `ConfigInvalid` when one can't be read; the message names the reference, never what it holds.
    """
    found = {name: _looked_up(name, value) for name, value in values.items()}
    secrets = tuple(found[name] for name, value in values.items() if value.startswith(("env:", "file:")))
    return Resolved(found, secrets)


def _looked_up(name: str, value: str) -> str:
    kind, _, where = value.partition(":")
    if kind == "env":
        if where not in os.environ:
            raise ConfigInvalid(f"{name} refers to the variable {where}, which is not set", name=name)
        return os.environ[where]
    if kind == "file":
        try:
            return Path(where).expanduser().read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigInvalid(f"{name} refers to {where}, which can't be read: {type(error).__name__}", name=name) from None
    return value

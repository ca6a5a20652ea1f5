"""Which tools `broker policy check` compares a policy with: those of a file, or those pinned in the store of this install."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from broker.cli.policy_calls import bytes_of
from broker.errors import BrokerError, ConfigInvalid

if TYPE_CHECKING:
    from broker.policy.argument_lints import Definitions
    from broker.settings import Settings


def listed(path: Path) -> Definitions:
    """The tools that a file lists. Raises `ConfigInvalid`."""
    import msgspec  # noqa: PLC0415 - the command line starts fast

    try:
        return msgspec.json.decode(bytes_of(path), type=dict[str, list[dict[str, Any]]])
    except msgspec.DecodeError as error:
        raise ConfigInvalid(f"{path} does not list tools by server: {error}") from None


def pinned() -> Definitions:
    """The pinned tools by server: none where this install has no store yet, or where it does not answer, which is told aside."""
    import anyio  # noqa: PLC0415

    from broker.settings import load_settings  # noqa: PLC0415

    settings = load_settings()
    if settings.redis_url is None and not (settings.data.expanduser() / "store.lock").exists():
        return {}
    try:
        return anyio.run(_read, settings)
    except BrokerError as error:
        print(f"not compared with pinned tools: {error.message}", file=sys.stderr)
        return {}


async def _read(settings: Settings) -> Definitions:
    from broker.logs import configure  # noqa: PLC0415
    from broker.registry.pins import Pins  # noqa: PLC0415
    from broker.store.open import open_store  # noqa: PLC0415

    configure("critical")
    found: dict[str, list[dict[str, Any]]] = {}
    url = settings.redis_url.get_secret_value() if settings.redis_url else None
    opened = open_store(url, data=settings.data.expanduser(), broker_id=f"cli-{os.getpid()}", redis_bin=settings.redis_bin)
    async with opened as store:
        for pin in await Pins(store.servers).every():
            found.setdefault(pin.server, []).append(pin.definition)
    return found

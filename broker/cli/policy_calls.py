"""Where `broker policy` takes its calls from: the command line, a file, a past request, all past requests."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from broker.errors import ConfigInvalid

if TYPE_CHECKING:
    from broker.domain.calls import ToolCall
    from broker.domain.requests import ApprovalRequest
    from broker.domain.servers import ToolDefinition
    from broker.policy.argument_lints import Definitions
    from broker.policy.model import Facts, Policy
    from broker.policy.replay import Recorded
    from broker.store.open import Store

    Asked = tuple[ToolCall, Facts, tuple[str, ...] | None]
    """A call, its facts, and the caller's groups where they were given."""


def from_words(args: argparse.Namespace, policy: Policy, accepted: Definitions) -> Asked:
    """The call that the command line spells out, of a tool as it was `accepted`. Raises `ConfigInvalid`."""
    import msgspec  # noqa: PLC0415

    from broker.domain.calls import Caller, ToolCall  # noqa: PLC0415
    from broker.policy.model import Facts  # noqa: PLC0415
    from broker.policy.ruleset import ruleset  # noqa: PLC0415

    if not args.server or not args.tool:
        raise ConfigInvalid("say which call: SERVER TOOL JSON, --call FILE or --request ID")
    try:
        arguments = msgspec.json.decode(args.arguments)
    except msgspec.DecodeError as error:
        raise ConfigInvalid(f"the arguments are no JSON: {error}") from None
    groups = tuple(filter(None, args.groups.split(","))) if args.groups is not None else None
    caller = Caller(
        user=args.user, workload=args.workload, groups=groups or (), surface=args.surface, conversation=args.conversation
    )  # fmt: skip
    call = ToolCall(args.server, args.tool, {"name": args.tool, "arguments": arguments}, caller)
    counters = {**dict.fromkeys(ruleset(policy).counters, 0.0), **_sums(args.counter)}
    definition = next((tool for tool in _offered(call, accepted) if tool.name == call.tool), None)
    known = definition is not None or (call.server in policy.servers and call.tool in policy.servers[call.server].tools)
    return call, Facts(_moment(args.now) or datetime.now(UTC), known, definition, counters), groups


def _offered(call: ToolCall, accepted: Definitions) -> list[ToolDefinition]:
    from broker.domain.servers import ToolDefinition  # noqa: PLC0415

    return [ToolDefinition(call.server, str(tool.get("name", "")), dict(tool)) for tool in accepted.get(call.server, ())]


def _moment(given: datetime | None) -> datetime | None:
    return given if given is None or given.tzinfo is not None else given.replace(tzinfo=UTC)


def _sums(written: Iterable[str]) -> dict[str, float]:
    pairs = [item.partition("=") for item in written]
    try:
        return {name: float(value) for name, _, value in pairs}
    except ValueError:
        raise ConfigInvalid("write --counter name=number") from None


def from_file(path: Path) -> Asked:
    """One recorded call. Raises `ConfigInvalid`."""
    import msgspec  # noqa: PLC0415

    from broker.domain.servers import ToolDefinition  # noqa: PLC0415
    from broker.policy.model import Facts  # noqa: PLC0415
    from broker.policy.replay import Recorded  # noqa: PLC0415

    try:
        item = msgspec.json.decode(bytes_of(path), type=Recorded)
    except msgspec.DecodeError as error:
        raise ConfigInvalid(f"{path} holds no recorded call: {error}") from None
    call = item.call
    definition = ToolDefinition(call.server, call.tool, item.definition) if item.definition is not None else None
    return call, Facts(item.at, item.known, definition, item.counters), None


def from_request(request_id: str, counters: Iterable[str] = ()) -> tuple[Policy, Asked]:
    """A past request, with the policy of its day where that was kept. Raises `UnknownRequest`, `ConfigInvalid`.

    Its counters hold what they held when people were asked; `counters` (NAME=SUM) replace them.
    """
    import anyio  # noqa: PLC0415

    from broker.cli.credentials import office  # noqa: PLC0415
    from broker.domain.requests import RequestId  # noqa: PLC0415
    from broker.policy.model import Facts  # noqa: PLC0415
    from broker.policy.ruleset import ruleset  # noqa: PLC0415
    from broker.versions import Versions  # noqa: PLC0415

    given = _sums(counters)

    async def read() -> tuple[Policy, Asked]:
        async with office() as here:
            request = await here.store.requests.get(RequestId(request_id))
            kept = Versions(here.settings.data.expanduser() / "policies")
            policy = kept.read(request.policy, environment=here.settings.environment)
            if policy is None:
                print(f"the policy of that day ({request.policy[:19]}…) was not kept: this is today's", file=sys.stderr)
                policy = here.policy
            sums = dict.fromkeys(ruleset(policy).counters, 0.0) | request.counters | given
            known = "unknown_tool" not in request.rules
            facts = Facts(request.opened_at, known, await _reviewed(here.store, request), sums)
            return policy, (request.call, facts, None)

    return anyio.run(read)


async def _reviewed(store: Store, request: ApprovalRequest) -> ToolDefinition | None:
    """The tool's definition that the request was asked with, where it is still the pinned one."""
    from broker.domain.servers import ToolDefinition  # noqa: PLC0415
    from broker.registry.pins import Pins  # noqa: PLC0415

    pin = await Pins(store.servers).get(request.call.server, request.call.tool)
    same = pin is not None and pin.digest == request.definition
    return ToolDefinition(pin.server, pin.tool, pin.definition) if pin is not None and same else None


def past_requests() -> list[Recorded]:
    """Every call that the store keeps, in the order of their times: requests, and what `record: all` kept beside them."""
    import anyio  # noqa: PLC0415
    import msgspec  # noqa: PLC0415

    from broker.approvals.ports import Query  # noqa: PLC0415
    from broker.cli.credentials import office  # noqa: PLC0415
    from broker.policy.replay import Recorded, recorded  # noqa: PLC0415

    async def read() -> list[Recorded]:
        found: list[Recorded] = []
        async with office() as here:
            cursor = ""
            while True:
                page = await here.store.requests.find(Query(), limit=200, cursor=cursor)
                found += [recorded(request, request.call) for request in page.requests]
                cursor = page.cursor
                if not cursor:
                    if here.settings.record == "none":
                        return []
                    lines = await here.store.recordings.read()
                    found += [msgspec.json.decode(line, type=Recorded) for line in lines]
                    return sorted(found, key=lambda item: item.at)

    return anyio.run(read)


def bytes_of(path: Path) -> bytes:
    """The contents of a file that the user named. Raises `ConfigInvalid`."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigInvalid(f"{path} can't be read: {error.strerror}") from None

"""Lists of all servers as one: asked side by side at each server's own address, with the names of both in front.

A server that can't be asked now is missing in the list, which says so; it holds up no other for longer than `WITHIN`.
"""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections import Counter
from collections.abc import Sequence
from typing import Any

import anyio
import msgspec
import structlog

from broker.domain.servers import Server, joint_name
from broker.errors import BrokerError, Malformed, StoreUnavailable, UpstreamError
from broker.gateway.envelope import INVALID_PARAMS, METHOD_NOT_FOUND, Message
from broker.gateway.exchange import aside
from broker.gateway.joint_sessions import JointSessions, Serve
from broker.gateway.joint_streams import answer_of
from broker.gateway.lists import LONGEST_KEPT, WAIT
from broker.gateway.results import META, WAIT_TOOL, Result
from broker.gateway.visits import Visit

log = structlog.get_logger()

# Seconds that one server's list may take, pages of it, and entries on one page of the joint list.
WITHIN = 10.0
MOST_PAGES = 100
ON_A_PAGE = 1_000
UNAVAILABLE = META + "unavailable"
AMBIGUOUS = META + "ambiguous"


class Kind(msgspec.Struct, frozen=True):
    """One kind of list: the member that holds its entries, what names an entry, and whether servers stand in front of names."""

    member: str
    key: str
    named: bool


KINDS = {
    "tools/list": Kind("tools", "name", named=True),
    "prompts/list": Kind("prompts", "name", named=True),
    "resources/list": Kind("resources", "uri", named=False),
    "resources/templates/list": Kind("resourceTemplates", "uriTemplate", named=False),
}


class Listed(msgspec.Struct, frozen=True):
    """What one server offers, as pairs of its own name and the entry; `why` says that it could not be asked."""

    server: str
    entries: Sequence[tuple[str, dict[str, Any]]] = ()
    kept: float = LONGEST_KEPT
    why: str = ""


class JointLists:
    """Gathers lists. `serve` is the way at one server's address."""

    def __init__(self, serve: Serve, sessions: JointSessions) -> None:
        self._serve = serve
        self._sessions = sessions

    async def listed(self, visit: Visit, servers: Sequence[Server]) -> Result:
        """Return one page of a list of every server. Raises `Malformed` for a cursor that is not ours."""
        method = visit.message.method
        kind, after = KINDS[method], _place(visit.message.params.get("cursor"))
        found = await self.gathered(visit, method, servers)
        entries, ambiguous = _merged(kind, found)
        rest = [key for key in sorted(entries) if key > after]
        page, last = rest[:ON_A_PAGE], len(rest) <= ON_A_PAGE
        shown = [entries[key] for key in page] + ([WAIT] if last and method == "tools/list" else [])
        result: Result = {kind.member: shown} | ({} if last else {"nextCursor": _cursor(page[-1])})
        away = {one.server: one.why for one in found if one.why}
        about = ({UNAVAILABLE: away} if away else {}) | ({AMBIGUOUS: ambiguous} if ambiguous else {})
        if visit.modern:
            kept = 0 if away else min((one.kept for one in found), default=LONGEST_KEPT)
            result |= {"resultType": "complete", "ttlMs": kept, "cacheScope": "private"}
        return result | ({"_meta": about} if about else {})

    async def gathered(self, visit: Visit, method: str, servers: Sequence[Server]) -> list[Listed]:
        """Ask every server for its whole list, in the order of `servers`. One that fails or is slow says why."""
        found: dict[str, Listed] = {}

        async def one(server: Server) -> None:
            found[server.name] = await self._of(visit, method, server)

        with visit.exchange.until_gone():
            async with anyio.create_task_group() as tasks:
                for server in servers:
                    tasks.start_soon(one, server)
        return [found[server.name] for server in servers]

    async def _of(self, visit: Visit, method: str, server: Server) -> Listed:
        why = f"no answer within {WITHIN:.0f} s"
        try:
            with anyio.move_on_after(WITHIN):
                return await self._whole(visit, method, server)
        except StoreUnavailable:
            raise
        except BrokerError as error:
            why = error.message
        except Exception:
            log.exception("gateway.list_failed", server=server.name)
            why = "it can't be asked"
        return Listed(server.name, why=why)

    async def _whole(self, visit: Visit, method: str, server: Server) -> Listed:
        kind, cursor, kept = KINDS[method], None, float(LONGEST_KEPT)
        entries: list[tuple[str, dict[str, Any]]] = []
        for number in range(MOST_PAGES):
            result = await self._page(visit, method, server, number, cursor)
            page = result.get(kind.member)
            entries += [(entry[kind.key], entry) for entry in page if _has(entry, kind.key)] if isinstance(page, list) else []
            told = result.get("ttlMs")
            kept = min(kept, told) if isinstance(told, int | float) else kept
            cursor = result.get("nextCursor")
            if cursor is None:
                break
        return Listed(server.name, [(name, entry) for name, entry in entries if name != WAIT_TOOL], kept)

    async def _page(self, visit: Visit, method: str, server: Server, number: int, cursor: Any) -> Result:
        """Return one page; nothing from a server that has no such list. A session that it ended is begun once more."""
        for again in (True, False):
            inside = visit if visit.modern else await self._sessions.entered(visit, server)
            try:
                return await self._asked(inside, method, server, f"joint-{number}", cursor)
            except UpstreamError as error:
                if visit.modern or not again or error.fields.get("status") != 404:
                    raise
                self._sessions.forget(visit, server.name)
        raise AssertionError("unreachable")

    async def _asked(self, visit: Visit, method: str, server: Server, rpc_id: str, cursor: Any) -> Result:
        exchange, kept = aside(visit.exchange)
        meta = {name: told for name, told in visit.message.meta.items() if name != "progressToken"}
        params = ({"_meta": meta} if meta else {}) | ({"cursor": cursor} if cursor is not None else {})
        body = {"jsonrpc": "2.0", "id": rpc_id, "method": method, "params": params}
        message = Message(body, method, rpc_id, params, b"")
        await self._serve(msgspec.structs.replace(visit, server=server, exchange=exchange, message=message))
        answer = answer_of(kept, rpc_id)
        result, error = answer.get("result"), answer.get("error")
        if isinstance(result, dict):
            return result
        if isinstance(error, dict) and error.get("code") == METHOD_NOT_FOUND:
            return {}
        raise UpstreamError("it answered with an error", status=kept.status)


def _merged(kind: Kind, found: Sequence[Listed]) -> tuple[dict[str, dict[str, Any]], list[str]]:
    """Return the entries by the names that they have here, and the names that more than one server has: those are left out."""
    if kind.named:
        return {
            joint_name(one.server, name): {**entry, kind.key: joint_name(one.server, name)}
            for one in found
            for name, entry in one.entries
        }, []
    owners = Counter(name for one in found for name in {name for name, _ in one.entries})
    entries = {name: entry for one in found for name, entry in one.entries if owners[name] == 1}
    return entries, sorted(name for name, count in owners.items() if count > 1)


def _has(entry: Any, key: str) -> bool:
    return isinstance(entry, dict) and isinstance(entry.get(key), str)


def _cursor(last: str) -> str:
    return urlsafe_b64encode(last.encode("utf-8", "surrogatepass")).rstrip(b"=").decode()


def _place(cursor: Any) -> str:
    """Return the name after which the page begins. Raises `Malformed`."""
    if cursor is None:
        return ""
    try:
        return urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode("utf-8", "surrogatepass")
    except (ValueError, TypeError):
        raise Malformed("there is no such cursor", rpc=INVALID_PARAMS) from None

"""Pages of a list that others write while it is read: nothing is told twice, and nothing that stays is left out. Pure.

A cursor is a place in an order that no write changes: by name and publication, or, for who follows changes, by the time of the
last change. What changes during such a walk moves to its end, and is told there as it is then.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from broker.errors import Malformed
from broker.registry.official import Item

DEFAULT, MOST = 30, 100


class Wanted(msgspec.Struct, frozen=True):
    """What is asked for. `version` empty is every version. With `since`, what is deleted is told as well."""

    cursor: str = ""
    limit: int = DEFAULT
    search: str = ""
    since: datetime | None = None
    version: str = ""
    deleted: bool = False

    @classmethod
    def read(cls, query: Any) -> Wanted:
        """Read the parameters of the official API. Raises `Malformed`."""
        return cls(
            query.get("cursor", ""), _limit(query.get("limit", "")), query.get("search", ""),
            _moment(query.get("updated_since", "")), query.get("version", ""), flag(query.get("include_deleted", "")),
        )  # fmt: skip


class Page(msgspec.Struct, frozen=True):
    """`cursor` leads on, empty at the end."""

    items: tuple[Item, ...]
    cursor: str = ""


_Place = tuple[int, str, int]
_decode = msgspec.json.Decoder(_Place).decode


def page_of(items: Collection[Item], wanted: Wanted) -> Page:
    """Return the page after the cursor. Raises `Malformed` for a cursor that is none of ours."""
    after = _place(wanted.cursor)
    found = sorted((one for one in items if _fits(one, wanted)), key=lambda one: _key(one, wanted))
    left = [one for one in found if after is None or _key(one, wanted) > _last(after, wanted)]
    page = left[: wanted.limit]
    more = len(left) > len(page)
    return Page(tuple(page), _cursor(_key(page[-1], wanted)) if more else "")


def versions_of(items: Collection[Item], name: str, *, deleted: bool) -> Sequence[Item]:
    """Every version of one server, the newest first."""
    found = [one for one in items if one.name == name and (deleted or one.status != "deleted")]
    return sorted(found, key=lambda one: -one.number)


def _fits(item: Item, wanted: Wanted) -> bool:
    if item.status == "deleted" and not (wanted.deleted or wanted.since):
        return False
    if wanted.since is not None and item.updated_at <= wanted.since:
        return False
    if wanted.version and not (item.latest if wanted.version == "latest" else item.version == wanted.version):
        return False
    sought = wanted.search.casefold()
    return not sought or any(sought in text.casefold() for text in item.texts)


def _key(item: Item, wanted: Wanted) -> _Place:
    moment = _micros(item.updated_at) if wanted.since is not None else 0
    return moment, item.name, item.number


def _last(after: _Place, wanted: Wanted) -> _Place:
    """Who asks for the latest has had the whole server: another version of it may be the latest by now."""
    return (after[0], after[1], 1 << 62) if wanted.version == "latest" and wanted.since is None else after


def _micros(moment: datetime) -> int:
    return round(moment.timestamp() * 1_000_000)


def _cursor(place: _Place) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode(place)).decode().rstrip("=")


def _place(cursor: str) -> _Place | None:
    if not cursor:
        return None
    try:
        place: _Place = _decode(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    except (ValueError, binascii.Error, msgspec.DecodeError, UnicodeEncodeError):
        raise Malformed("the cursor is not one of this registry") from None
    return place


def _limit(text: str) -> int:
    limit = int(text) if text.isascii() and text.isdigit() and len(text) < 6 else DEFAULT if not text else 0
    if not 1 <= limit <= MOST:
        raise Malformed(f"`limit` is a number from 1 to {MOST}")
    return limit


def _moment(text: str) -> datetime | None:
    if not text:
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        found = None
    if found is None or found.tzinfo is None:
        raise Malformed("`updated_since` is a time such as 2026-11-24T12:00:00Z (RFC 3339)")
    return found.astimezone(UTC)


def flag(text: str) -> bool:
    """Raises `Malformed` for what is neither true nor false."""
    if text.lower() not in ("", "true", "false", "1", "0"):
        raise Malformed("`include_deleted` is true or false")
    return text.lower() in ("true", "1")

"""An index of all requests for searching: an SQLite file that can be thrown away and is rebuilt from the store.

It holds what rules show, names, ids and times, never what is redacted. It only proposes: each hit's record is read from
the store, and judged there, before anybody sees it. A row's number is its opening in microseconds, so every search is one
walk through the full-text index from the newest on, whatever is asked for.
"""

from __future__ import annotations

import hashlib
import re
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TypeVar, TypeVarTuple, Unpack

import anyio
import msgspec

from broker.domain.redaction import shown_call
from broker.domain.requests import ApprovalRequest, RequestId

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

SCHEMA = 1
# Shorter beginnings would match too much to be quick.
BEGINNING = 3
_TABLES = """
CREATE TABLE requests (
    number INTEGER PRIMARY KEY, id TEXT UNIQUE NOT NULL, version INTEGER NOT NULL, text TEXT, marks TEXT);
CREATE TABLE place (audit INTEGER NOT NULL);
INSERT INTO place VALUES (0);
CREATE VIRTUAL TABLE found USING fts5(text, marks, content='requests', content_rowid='number', detail=column, prefix='3',
    tokenize="unicode61 remove_diacritics 2");
"""


class Search(msgspec.Struct, frozen=True):
    """What is looked for. `words` in any text; the others exactly; `sight` are the marks of which a request has to bear one.

    `before` and `since` are micros: rows older than `before`, not older than `since`. Empty or 0: any.
    """

    words: str = ""
    marks: tuple[str, ...] = ()
    sight: tuple[str, ...] = ()
    before: int = 0
    since: int = 0


class Hit(msgspec.Struct, frozen=True):
    number: int
    id: RequestId


def mark(kind: str, value: str) -> str:
    """Return the token for an exact value, e.g. of kind `server`; whatever the value holds, it can't spell another."""
    return "m" + hashlib.sha256(f"{kind}\0{value}".encode()).hexdigest()[:10]


def micros(at: datetime) -> int:
    return int(at.timestamp() * 1_000_000)


class Projection:
    """The index. `folder` None keeps it in memory. With `names_only` no title and no field goes in: the store is encrypted."""

    def __init__(self, folder: Path | None, *, mask_key: bytes, names_only: bool = False) -> None:
        self._path = folder / "history.sqlite" if folder else None
        self._mask_key = mask_key
        self._names_only = names_only
        self._database = _opened(self._path)
        self._turn = anyio.Lock()

    async def close(self) -> None:
        async with self._turn:
            self._database.close()

    async def place(self) -> int:
        """The number of the last audit entry that is in."""
        return int((await self._run(_rows, "SELECT audit FROM place", ()))[0][0])

    async def empty(self) -> None:
        """Forget everything."""
        await self._run(_emptied)

    async def put(self, requests: Sequence[ApprovalRequest], upto: int) -> None:
        """Take requests in as they stand now; then all audit entries up to `upto` count as in (0: leave it)."""
        await self._run(self._taken_in, requests, upto)

    async def drop(self, ids: Iterable[str]) -> None:
        """Forget requests that the store no longer has."""
        await self._run(_dropped, list(ids))

    async def search(self, search: Search, limit: int) -> list[Hit]:
        """Return the newest hits; a mark may stand for another value as well, so each has to be looked at."""
        query = _query(search)
        upper, lower = search.before or 1 << 62, search.since
        if query:
            sql = "SELECT rowid FROM found WHERE found MATCH ? AND rowid < ? AND rowid >= ? ORDER BY rowid DESC LIMIT ?"
            numbers = await self._run(_rows, sql, (query, upper, lower, limit))
        else:
            sql = "SELECT number FROM requests WHERE number < ? AND number >= ? ORDER BY number DESC LIMIT ?"
            numbers = await self._run(_rows, sql, (upper, lower, limit))
        marks = ",".join("?" * len(numbers))
        sql = f"SELECT number, id FROM requests WHERE number IN ({marks}) ORDER BY number DESC"
        found = await self._run(_rows, sql, tuple(row[0] for row in numbers))
        return [Hit(number, RequestId(request)) for number, request in found]

    async def _run(self, work: Callable[[sqlite3.Connection, Unpack[Ts]], T], *arguments: *Ts) -> T:
        async with self._turn:
            return await anyio.to_thread.run_sync(work, self._database, *arguments)

    def _taken_in(self, database: sqlite3.Connection, requests: Sequence[ApprovalRequest], upto: int) -> None:
        """In the thread of the database: each of hundreds may be a large call, to be covered first."""
        _put(database, [self._row(request) for request in requests], upto)

    def _row(self, request: ApprovalRequest) -> tuple[int, str, int, str, str]:
        return (
            micros(request.opened_at), request.id, request.version,
            self._text(request), " ".join(marks_of(request)),
        )  # fmt: skip

    def _text(self, request: ApprovalRequest) -> str:
        call, caller = request.call, request.call.caller
        words = [request.id, call.server, call.tool, caller.agent, caller.user, caller.owner, caller.workload, *request.rules]
        words += [review.reviewer for review in request.reviews]
        if not self._names_only:
            shown = shown_call(call, request.plan, self._mask_key)
            words += [shown.title, *(field.value for field in shown.fields)]
        return "\n".join(word[:500] for word in words if word)


def marks_of(request: ApprovalRequest) -> set[str]:
    """Return every exact value that a request can be found by, and who may see it."""
    call, caller = request.call, request.call.caller
    people = {*caller.people, *(review.reviewer for review in request.reviews)}
    exact = {("state", request.state.value), ("server", call.server), ("tool", call.tool), ("agent", caller.agent)}
    exact |= {("severity", request.plan.severity.value)} | {("rule", rule) for rule in request.rules}
    exact |= {("person", person) for person in people} | {("group", name) for name in (*request.plan.groups, *request.escalated)}
    return {mark(kind, value) for kind, value in exact if value}


def _query(search: Search) -> str:
    """Return the full-text query: the words, the last as a beginning, the marks, one of the marks of sight. Empty: everything."""
    words = re.findall(r"\w+", search.words.replace("_", " "))[:12]
    parts = [f'text : "{word}"' for word in words]
    if words and len(words[-1]) >= BEGINNING:
        parts[-1] += " *"
    parts += [f'marks : "{name}"' for name in search.marks]
    if search.sight:
        parts.append("(" + " OR ".join(f'marks : "{name}"' for name in search.sight) + ")")
    return " AND ".join(parts)


# -- on the database, in a thread ---------------------------------------------------------------------------------


def _opened(path: Path | None) -> sqlite3.Connection:
    """Open the file, or make it anew where it is of another format or broken."""
    for attempt in (1, 2):
        if path is not None:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            path.touch(mode=0o600)
        database = sqlite3.connect(path or ":memory:", check_same_thread=False, isolation_level=None, timeout=10)
        try:
            database.execute("PRAGMA journal_mode=WAL")
            database.execute("PRAGMA synchronous=OFF")  # it can be rebuilt
            version = database.execute("PRAGMA user_version").fetchone()[0]
            if version == 0:
                database.executescript(f"BEGIN;{_TABLES}PRAGMA user_version={SCHEMA};COMMIT;")
            if version in (0, SCHEMA):
                return database
        except sqlite3.DatabaseError:
            if attempt == 2:
                raise
        database.close()
        for file in (path, path.with_name(f"{path.name}-wal"), path.with_name(f"{path.name}-shm")) if path else ():
            file.unlink(missing_ok=True)
    raise AssertionError("a fresh file has the format of this program")


def _rows(database: sqlite3.Connection, sql: str, values: tuple[object, ...]) -> list[tuple[int, str]]:
    return database.execute(sql, values).fetchall()


def _emptied(database: sqlite3.Connection) -> None:
    with _transaction(database):
        database.execute("INSERT INTO found (found) VALUES ('delete-all')")
        database.execute("DELETE FROM requests")
        database.execute("UPDATE place SET audit = 0")


def _put(database: sqlite3.Connection, rows: list[tuple[int, str, int, str, str]], upto: int) -> None:
    with _transaction(database):
        for number, request, version, text, marks in rows:
            known = _forgotten(database, request, version)
            if known is None:
                continue
            place = known or _free(database, number)
            database.execute("INSERT INTO requests VALUES (?, ?, ?, ?, ?)", (place, request, version, text, marks))
            database.execute("INSERT INTO found (rowid, text, marks) VALUES (?, ?, ?)", (place, text, marks))
        if upto:
            database.execute("UPDATE place SET audit = max(audit, ?)", (upto,))


def _dropped(database: sqlite3.Connection, ids: list[str]) -> None:
    with _transaction(database):
        for request in ids:
            _forgotten(database, request, 1 << 62)


def _forgotten(database: sqlite3.Connection, request: str, version: int) -> int | None:
    """Take a request out, if what is in is older than `version`. Returns its number, 0 if it was not in, None if it is newer."""
    row = database.execute("SELECT number, version, text, marks FROM requests WHERE id = ?", (request,)).fetchone()
    if row is None:
        return 0
    if row[1] >= version:
        return None
    database.execute("INSERT INTO found (found, rowid, text, marks) VALUES ('delete', ?, ?, ?)", (row[0], row[2], row[3]))
    database.execute("DELETE FROM requests WHERE number = ?", (row[0],))
    return int(row[0])


def _free(database: sqlite3.Connection, number: int) -> int:
    """Two requests may be opened in the same microsecond."""
    while database.execute("SELECT 1 FROM requests WHERE number = ?", (number,)).fetchone():
        number += 1
    return number


@contextmanager
def _transaction(database: sqlite3.Connection) -> Iterator[None]:
    database.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        database.execute("ROLLBACK")
        raise
    database.execute("COMMIT")

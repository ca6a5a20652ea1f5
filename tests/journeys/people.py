"""People who review, over the HTTP API: from a test, or as a program of its own that approves all that it sees.

python -m tests.journeys.people ADDRESS TOKEN SECONDS [TITLE…]   approves each request so long after it was opened, and the first
                                                                 one of a TITLE at once
"""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self

import anyio
import httpx2

POLL = 0.03


class Person:
    """One reviewer with a personal token."""

    def __init__(self, url: str, token: str) -> None:
        self.http = httpx2.AsyncClient(
            base_url=f"{url}/api/v1",
            headers={"authorization": f"Bearer {token}"},
            timeout=30,
            verify=False,  # plain HTTP: no certificates to load
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.http.aclose()

    async def listed(self, state: str = "") -> list[dict[str, Any]]:
        """Every request in a state, or all of them."""
        found: list[dict[str, Any]] = []
        cursor = ""
        while True:
            response = await self.http.get("/requests", params={"state": state, "limit": 200, "cursor": cursor})
            page = response.raise_for_status().json()
            found += page["requests"]
            cursor = page["cursor"]
            if not cursor:
                return found

    async def states(self) -> dict[str, int]:
        """How many requests are in which state."""
        return dict(Counter(one["state"] for one in await self.listed()))

    async def seen(self, number: int, state: str = "pending") -> list[dict[str, Any]]:
        """Return the requests in a state once there are so many. Bound it with `anyio.fail_after`."""
        while len(found := await self.listed(state)) < number:  # noqa: ASYNC110  it is looked at from outside, as people do
            await anyio.sleep(POLL)
        return found

    async def titled(self, title: str) -> dict[str, Any]:
        """Return the pending request of that title once it is there."""
        while not (found := [one for one in await self.listed("pending") if one["title"] == title]):  # noqa: ASYNC110  as above
            await anyio.sleep(POLL)
        return found[0]

    async def ended(self, one: dict[str, Any]) -> str:
        """Return the state of a request once it moves no more."""
        while True:
            state: str = (await self.http.get(f"/requests/{one['id']}")).raise_for_status().json()["request"]["state"]
            if state not in ("pending", "approved", "executing"):
                return state
            await anyio.sleep(POLL)

    async def review(self, one: dict[str, Any], verdict: str, reason: str = "") -> httpx2.Response:
        body = {"verdict": verdict, "digest": one["digest"], "reason": reason}
        return await self.http.post(f"/requests/{one['id']}/reviews", json=body)

    async def approve(self, one: dict[str, Any]) -> None:
        (await self.review(one, "approve")).raise_for_status()

    async def reject(self, one: dict[str, Any], reason: str) -> None:
        (await self.review(one, "reject", reason)).raise_for_status()

    async def approve_all(self, after: float, *at_once: str) -> None:
        """Approve whatever comes, each so many seconds after it was opened, until cancelled; the first of a title at once."""
        quick = set(at_once)
        while True:
            with suppress(httpx2.HTTPError):  # the broker may be without its store: people try again
                for one in await self.listed("pending"):
                    age = (datetime.now(UTC) - datetime.fromisoformat(one["opened_at"])).total_seconds()
                    if age >= after or one["title"] in quick:
                        quick.discard(one["title"])
                        await self.review(one, "approve")
            await anyio.sleep(POLL)


@contextmanager
def approving(url: str, token: str, after: float, *at_once: str) -> Iterator[None]:
    """Run the program that approves everything beside what is inside."""
    with subprocess.Popen([sys.executable, "-m", "tests.journeys.people", url, token, str(after), *at_once]) as program:
        try:
            yield
            assert program.poll() is None, "the reviewer ended early"
        finally:
            program.kill()


async def _main(url: str, token: str, after: str, *at_once: str) -> None:
    async with Person(url, token) as person:
        await person.approve_all(float(after), *at_once)


if __name__ == "__main__":
    anyio.run(_main, *sys.argv[1:])

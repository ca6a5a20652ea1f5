"""The HTTP API, as the terminal uses it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Any

import httpx2

from broker.errors import (
    AlreadyResolved,
    BrokerError,
    ConfigInvalid,
    Forbidden,
    StoreUnavailable,
    Unauthenticated,
    UnknownRequest,
)

PATIENCE = 10.0


class NotCounted(BrokerError):
    """The broker refused the answer; `message` says why."""

    code = "not_counted"


class Api:
    """A person's way to a broker. Every method raises a `BrokerError` that says what the broker said."""

    def __init__(self, url: str, token: str) -> None:
        if not token:
            raise ConfigInvalid("set BROKER_TOKEN to your token: `broker people token YOU` makes one")
        headers = {"authorization": f"Bearer {token}", "user-agent": "broker-cli"}
        self._http = httpx2.Client(base_url=f"{url.rstrip('/')}/api/v1", headers=headers, timeout=PATIENCE)

    def __enter__(self) -> Api:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._http.close()

    def list(self, *, view: str, state: str, limit: int = 200) -> Iterator[dict[str, Any]]:
        """Yield summaries, newest first."""
        cursor = ""
        while True:
            page = self._get("/requests", view=view, state=state, limit=str(limit), cursor=cursor)
            yield from page["requests"]
            cursor = page["cursor"]
            if not cursor:
                return

    def show(self, request_id: str) -> dict[str, Any]:
        return self._get(f"/requests/{request_id}")

    def receipt(self, request_id: str) -> str:
        """Return the signed receipt of a request that was released."""
        return self._answered("GET", f"/requests/{request_id}/receipt").text

    def review(self, request_id: str, verdict: str, *, digest: str, reason: str) -> dict[str, Any]:
        """Raises `AlreadyResolved` when somebody was first."""
        body = {"verdict": verdict, "digest": digest, "reason": reason}
        return self._asked("POST", f"/requests/{request_id}/reviews", json=body)

    def review_together(self, items: Sequence[dict[str, Any]], reason: str) -> dict[str, Any]:
        """Send verdicts on many requests at once. Each has an answer of its own."""
        return self._asked("POST", "/batches/reviews", json={"items": items, "reason": reason})

    def watch(self) -> Iterator[dict[str, Any]]:
        """Yield each change until the broker stops."""
        try:
            with self._http.stream("GET", "/watch", timeout=httpx2.Timeout(PATIENCE, read=60.0)) as answer:
                if answer.status_code != 200:
                    answer.read()
                    raise problem(answer)
                for line in answer.iter_lines():
                    if line.startswith("data: "):
                        yield json.loads(line.removeprefix("data: "))
        except httpx2.HTTPError as error:
            raise StoreUnavailable(f"the broker can't be reached: {type(error).__name__}") from None

    def _get(self, path: str, **query: str) -> dict[str, Any]:
        return self._asked("GET", path, params={name: value for name, value in query.items() if value})

    def _asked(self, method: str, path: str, **more: Any) -> dict[str, Any]:
        found: dict[str, Any] = self._answered(method, path, **more).json()
        return found

    def _answered(self, method: str, path: str, **more: Any) -> httpx2.Response:
        try:
            answer = self._http.request(method, path, **more)
        except httpx2.HTTPError as error:
            raise StoreUnavailable(f"the broker can't be reached: {type(error).__name__}") from None
        if answer.status_code != 200:
            raise problem(answer)
        return answer


def problem(answer: httpx2.Response) -> BrokerError:
    """Return the mistake that a problem+json answer (RFC 9457) tells."""
    try:
        told = answer.json()
        code, detail = str(told["code"]), str(told["detail"])
    except (ValueError, KeyError, TypeError):
        return BrokerError(f"the broker answered {answer.status_code}, and not as a broker does: is BROKER_URL right?")
    match code:
        case "already_resolved":
            return AlreadyResolved(told.get("request", ""), told.get("state", "decided"), told.get("by", ""))
        case "unauthenticated":
            return Unauthenticated(detail)
        case "unknown_request":
            return UnknownRequest(told.get("request", ""))
        case "forbidden":
            return Forbidden(detail)
        case "store_unavailable":
            return StoreUnavailable(detail)
        case _:
            return NotCounted(detail)

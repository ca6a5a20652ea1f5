"""The registry by HTTP, as the terminal uses it, and what it shows of a review. What a server wrote is made visible."""

from __future__ import annotations

import json
from collections.abc import Iterator
from types import TracebackType
from typing import Any
from urllib.parse import quote

import httpx2

from broker.channels.terminal.client import PATIENCE, NotCounted, problem
from broker.domain.text import clipped, sentence, visible
from broker.errors import BrokerError, ConfigInvalid, StoreUnavailable

# A review asks the server what it offers: that may take a while.
REVIEW_PATIENCE = 3 * PATIENCE


class RegistryApi:
    """A person's way to the registry. Every method raises a `BrokerError` that says what the broker said."""

    def __init__(self, url: str, token: str) -> None:
        if not token:
            raise ConfigInvalid("set BROKER_TOKEN: `broker people token YOU --scopes read,review,servers` makes one")
        headers = {"authorization": f"Bearer {token}", "user-agent": "broker-cli"}
        self._http = httpx2.Client(base_url=url.rstrip("/"), headers=headers, timeout=REVIEW_PATIENCE)

    def __enter__(self) -> RegistryApi:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._http.close()

    def publish(self, document: Any) -> dict[str, Any]:
        return self._asked("POST", "/v0.1/publish", document)

    def show(self, name: str) -> dict[str, Any]:
        return self._asked("GET", f"/api/v1/servers/{_path(name)}")

    def move(self, name: str, move: str, **fields: str) -> dict[str, Any]:
        return self._asked("POST", f"/api/v1/servers/{_path(name)}/{move}", fields)

    def _asked(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        try:
            answer = self._http.request(method, path, json=body)
        except httpx2.HTTPError as error:
            raise StoreUnavailable(f"the broker can't be reached: {type(error).__name__}") from None
        if answer.status_code != 200:
            raise _refused(answer)
        found: dict[str, Any] = answer.json()
        return found


def _refused(answer: httpx2.Response) -> BrokerError:
    """The official API says `{"error": …}`, ours problem+json."""
    try:
        told = answer.json()
    except ValueError:
        return problem(answer)
    return NotCounted(str(told["error"])) if isinstance(told, dict) and "error" in told else problem(answer)


def _path(name: str) -> str:
    return quote(name, safe="/")


def whole(told: dict[str, Any]) -> str:
    """Return a server and what waits for its reviews, as lines."""
    return "\n".join(_lines(told))


def _lines(told: dict[str, Any]) -> Iterator[str]:
    live = f", calls go to {told['live']}" if told["live"] else ", no call goes there"
    yield f"{told['name']}: {told['lifecycle'].replace('_', ' ')}{live}"
    yield f"owner {told['owner']}, versions {', '.join(told['versions'])}" + (f", until {told['until']}" if told["until"] else "")
    shown = told["shown"]
    if not shown:
        yield "nothing waits for reviews"
        return
    yield f"\nversion {shown['version']}, proposed by {shown['by']}"
    for slot, review in shown["reviews"].items():
        yield f"  {slot}: {_review(review)}"
    yield f"terms now:    {_terms(shown['before'])}"
    yield f"terms asked:  {_terms(shown['terms'])}"
    yield f"calls would go to {_clear(shown['address'])}"
    if shown["problem"]:
        yield f"its tools are not known: {_clear(shown['problem'])}"
    for tool in shown["tools"]:
        yield f"  {_clear(tool['name'])} ({tool['standing']}): {_clear(tool['description'])}"
        for change in tool["changes"]:
            yield "    " + change.replace("\n", "\n    ")
    yield f"\n{sentence(shown['widens'])}"


def _review(review: dict[str, Any]) -> str:
    state = review.get("state", "pending")
    by = f" by {review['by']}" if review.get("by") else ""
    why = f": {_clear(review['reason'])}" if review.get("reason") else ""
    return f"{state}{by}{why}" + (f" ({_clear(review['ticket'])})" if review.get("ticket") else "")


def _terms(terms: dict[str, Any]) -> str:
    return _clear(json.dumps(terms, ensure_ascii=False)) if terms else "none"


def _clear(text: str) -> str:
    return clipped(visible(text), 2_000)

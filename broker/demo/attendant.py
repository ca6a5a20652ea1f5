"""The attendant: another program, which decides as two people would who sit before the page. Knows nothing but HTTP.

    python -m broker.demo.attendant < order.json

It signs both in, approves the refund, rejects the overwriting, and looks into the toys' files itself.
Exit status: 0 all is as expected, 1 it is not (the difference is printed).
"""

from __future__ import annotations

import sys
import time
from html.parser import HTMLParser
from pathlib import Path

import httpx2
import msgspec

from broker.demo.agent import REFUND
from broker.demo.payments import refunds
from broker.demo.telling import Telling
from broker.demo.warehouse import STOCK, rows

PATIENCE = 30.0
NO = "the stock is counted on Friday"


class Order(msgspec.Struct, frozen=True):
    """Where the page is, the sign-in codes of both people, and the folder of the toy servers."""

    url: str
    finance: str
    logistics: str
    toys: str


class Page(HTMLParser):
    """The links and forms of a page: each form is its action and its hidden fields."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.forms: list[tuple[str, dict[str, str]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        match tag:
            case "a":
                self.links.append(given.get("href", ""))
            case "form":
                self.forms.append((given.get("action", ""), {}))
            case "input" if self.forms and given.get("type") == "hidden":
                self.forms[-1][1][given.get("name", "")] = given.get("value", "")

    def form(self, ending: str) -> tuple[str, dict[str, str]]:
        """Return the form whose action ends so. Raises `LookupError`."""
        return next(form for form in self.forms if form[0].endswith(ending))


class Person:
    """One person's browser: a cookie jar and patience."""

    def __init__(self, url: str, name: str) -> None:
        self._http = httpx2.Client(base_url=url, follow_redirects=True, timeout=10)
        self.name = name

    def sign_in(self, code: str) -> None:
        self._http.post("/sign-in", data={"code": code}).raise_for_status()

    def find(self, title: str) -> str:
        """Return the path of the request that has this title, once the inbox lists it. Raises `TimeoutError`."""
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            links = Page(self._get("/")).links
            for path in sorted({link.split("?")[0] for link in links if link.startswith("/r/")}):
                if title in self._get(path):
                    return path
            time.sleep(0.1)
        raise TimeoutError(f"{self.name} never saw «{title}» in the inbox")

    def decide(self, path: str, verdict: str, reason: str) -> None:
        """Fill in the form of the request's page and send it."""
        action, fields = Page(self._get(path)).form("/review")
        answer = self._http.post(action, data=fields | {"verdict": verdict, "reason": reason})
        answer.raise_for_status()

    def _get(self, path: str) -> str:
        return self._http.get(path).raise_for_status().text


def attend(order: Order, telling: Telling) -> None:
    """Approve the one and reject the other, as two different people."""
    fay, lee = Person(order.url, "Fay"), Person(order.url, "Lee")
    fay.sign_in(order.finance)
    lee.sign_in(order.logistics)
    telling.step("person", "Fay of finance and Lee of logistics have signed in")
    path = fay.find("Refund 900")
    fay.decide(path, "approve", "the photos are clear")
    telling.step("person", f"Fay approved the refund at {order.url}{path}")
    path = lee.find("Overwrite the table stock")
    lee.decide(path, "reject", NO)
    telling.step("person", f"Lee rejected the overwriting: {NO}")


def differences(toys: Path) -> list[str]:
    """Return what in the toys' files is not as the decisions demand: one refund was paid, nothing else has changed."""
    stock = [{"item": item, "count": count} for item, count in STOCK]
    found = {
        "the ledger": (refunds(toys / "ledger.db"), [REFUND]),
        "the stock": (rows(toys / "warehouse.db", "stock"), stock),
        "the files": (sorted(path.name for path in (toys / "files").iterdir()), ["welcome.txt"]),
    }
    return [f"{what}: found {is_}, expected {should}" for what, (is_, should) in found.items() if is_ != should]


def main() -> int:
    order, telling = msgspec.json.decode(sys.stdin.buffer.read(), type=Order), Telling()
    attend(order, telling)
    until = time.monotonic() + PATIENCE
    while wrong := differences(Path(order.toys)):
        if time.monotonic() > until:
            break
        time.sleep(0.1)
    for line in wrong:
        telling.step("wrong", line)
    if not wrong:
        telling.step("check", "the ledger holds one refund of 900 EUR; the stock and the files are as they were")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())

"""What a server.json has to be like, and what nobody can bring in by one: code, secrets, private addresses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from broker.domain.servers import ToolFacts
from broker.domain.terms import Keeper, Terms
from broker.errors import EnrolmentRefused
from broker.registry.addresses import objection
from broker.registry.offers import offer_of
from broker.registry.server_json import MOST_EXTRAS, PUBLISHER, problems, trimmed
from tests.fakes.server_json import server_json

URL = "https://payments.example.com/mcp"


def remote(**members: Any) -> list[dict[str, Any]]:
    return [{"type": "streamable-http", "url": URL, **members}]


def test_a_whole_document_is_taken() -> None:
    assert problems(server_json(title="Payments", websiteUrl="https://example.com", icons=[{"src": "https://x.example/i.png"}],
                                repository={"url": "https://git.example.com/p", "source": "git"})) == ()  # fmt: skip
    assert problems(server_json(version="1.0.0+20130313144700")) == ()


CODE_OR_SECRETS = {
    "a package": {"packages": [{"registryType": "npm", "identifier": "x", "transport": {"type": "stdio"}}]},
    "a command": {"command": ["sh", "-c", "id"]},
    "variables": {"env": {"A": "env:HOME"}},
    "headers": {"headers": {"Authorization": "env:PAYMENTS_TOKEN"}},
    "a folder": {"cwd": "/"},
    "a remote's headers": {"remotes": remote(headers=[{"name": "Authorization", "value": "env:TOKEN"}])},
    "a remote's variables": {"remotes": remote(variables={"x": {"default": "env:TOKEN"}})},
    "a template": {"remotes": remote(url="https://{env}.example.com/mcp")},
    "a file as the address": {"remotes": remote(url="file:/etc/passwd")},
    "a variable as the address": {"remotes": remote(url="env:SECRET_URL")},
    "a password in the address": {"remotes": remote(url="https://user:pass@example.com/mcp")},
    "a secret in a hidden corner": {"repository": {"url": "https://x.example", "source": "git", "id": "file:/etc/shadow"}},
    "a secret among the extras": {"_meta": {PUBLISHER: {"approval-broker": {"owner": "file:/etc/passwd"}}}},
    "a secret command": {"_meta": {PUBLISHER: {"x": "cmd:cat /etc/passwd"}}},
    "stdio as the transport": {"remotes": [{"type": "stdio", "command": "sh"}]},
    "no remote": {"remotes": []},
    "a member of its own": {"x-run": "sh"},
}
WRONG = {
    "a range, ^": {"version": "^1.2"}, "a range, ~": {"version": "~1.2"}, "a range, >=": {"version": ">=1"},
    "a range, x": {"version": "1.x"}, "a range, *": {"version": "1.*"}, "a range, -": {"version": "1.0.0 - 2.0.0"},
    "a range, ||": {"version": "1.0.0 || 2.0.0"}, "no semantic version": {"version": "latest"}, "no version": {"version": None},
    "no slash": {"name": "payments"}, "two slashes": {"name": "com/example/payments"}, "a blank": {"name": "com.example/a b"},
    "a name that is no local one": {"name": "com.example/-x"}, "a long description": {"description": "x" * 101},
    "no description": {"description": None}, "an empty title": {"title": ""}, "sse alone": {"remotes": remote(type="sse")},
    "an icon without https": {"icons": [{"src": "http://x.example/i.png"}]},
    "extras of 4,097 bytes": {"_meta": {PUBLISHER: {"x": "y" * (MOST_EXTRAS - 7)}}},
}  # fmt: skip


@pytest.mark.parametrize("members", [*CODE_OR_SECRETS.values(), *WRONG.values()], ids=[*CODE_OR_SECRETS, *WRONG])
def test_what_is_not_taken(members: dict[str, Any]) -> None:
    assert problems(server_json(**members))


def test_extras_of_4096_bytes_are_taken() -> None:
    assert problems(server_json(_meta={PUBLISHER: {"x": "y" * (MOST_EXTRAS - 8)}})) == ()


@pytest.mark.parametrize("document", [None, [], "x", 1, {"_meta": {"x": "y" * (65 << 10)}}, {"description": "\ud800"}])
def test_what_is_no_server_json_at_all(document: Any) -> None:
    assert problems(document)


def test_a_publisher_cannot_set_what_the_registry_says() -> None:
    document = server_json()
    document["_meta"]["io.modelcontextprotocol.registry/official"] = {"status": "active"}
    document["_meta"]["approval-broker/governance"] = {"lifecycle": "approved"}
    assert trimmed(document) == server_json()


def test_the_offer_names_who_answers_and_what_is_asked_for() -> None:
    offer = offer_of(server_json(groups=["support"], tools={"balance": {"read_only": True}}))
    assert (offer.keeper, offer.terms) == (
        Keeper("payments", "Payments", ("slack:#payments-help",)),
        Terms({"support": ("*",)}, {"balance": ToolFacts(read_only=True)}, "any"),
    )


@pytest.mark.parametrize(
    "members", [{"owner": None}, {"owner": ""}, {"sign_in": "maybe"}, {"groups": {"a": "b"}}, {"tools": {"x": {"y": 1}}}]
)
def test_an_offer_that_is_wrong_says_where(members: dict[str, Any]) -> None:
    with pytest.raises(EnrolmentRefused, match=r"approval-broker"):
        offer_of(server_json(**members))


async def resolve(host: str) -> Sequence[str]:
    return {"good.example": ["8.8.8.8"], "split.example": ["8.8.8.8", "10.0.0.1"]}.get(host, [])


@pytest.mark.parametrize(
    ("url", "fit"),
    [("https://good.example/mcp", True), ("https://split.example/mcp", False), ("https://gone.example/mcp", False)],
)
async def test_every_address_of_a_name_has_to_be_fit(url: str, fit: bool) -> None:
    assert (await objection(url, resolve, lambda address: address == "8.8.8.8") == "") is fit

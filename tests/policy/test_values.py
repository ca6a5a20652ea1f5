"""What files say, as values: YAML's scalars, people and servers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from broker.domain.people import Group, People, Person
from broker.domain.servers import Authorization, Grant, Owner, Server, ToolFacts, Trust
from broker.policy.load import compose, load

SPECIMENS = Path(__file__).parent / "specimens"


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("no",
         "no"), ("on", "on"), ("yes", "yes"), ("1:30", "1:30"), ("true", True), ("TRUE", True), ("010", 10.0), ("0x1F", 31.0),
        ("0o17", 15.0), ("1.5", 1.5), ("-3", -3.0), ("1e3", 1000.0), (".5", 0.5), ("'1'", "1"), ('"true"', "true"),
        ("2027-03-31", "2027-03-31"), ("1_000", "1_000"), ("[1, 2]", (1, 2)), ("[1, 2.5]", (1.0, 2.5)), ("[a, b]", ("a", "b")),
        ("[true]", (True,)),
    ],
)  # fmt: skip
def test_plain_scalars_are_those_of_yaml_1_2(written: str, read: Any) -> None:
    policy = compose({"a.yaml": f"consts: {{x: {written}}}".encode()})
    value = policy.compiled.consts["x"]
    assert (value, type(value)) == (read, type(read))


def test_the_designs_own_example_loads_as_people_and_servers() -> None:
    policy = load(SPECIMENS / "design")
    assert policy.people == People(
        persons={"jane@example.com": Person("jane@example.com", "Jane", "U123")},
        groups={
            "finance": Group("finance", ("jane@example.com", "joe@example.com", "ann@example.com")),
            "support-leads": Group("support-leads", ("lea@example.com",)),
            "finance-managers": Group("finance-managers", idp="fm"),
            "security": Group("security", slack="S0123"),
        },
    )
    assert policy.servers == {
        "payments": Server(
            name="payments", url="http://127.0.0.1:9001/mcp", trust=Trust.REVIEWED,
            owner=Owner("payments", "slack:#payments-help"),
            headers={"Authorization": "env:PAYMENTS_TOKEN"}, where="servers.yaml:3",
            tools={
                "refund_create": ToolFacts(destructive=True, minutes_saved=6), "payout_create": ToolFacts(destructive=True),
                "refund_get": ToolFacts(read_only=True),
            },
        ),
    }  # fmt: skip


def test_a_server_may_have_its_own_token_endpoint_and_networks() -> None:
    auth = "{token_url: https://i/t, client_id: b, client_secret: 'command:vault read x', grant: token_exchange, audience: p}"
    text = f"servers: {{a: {{url: http://h/mcp, networks: [private, 10.0.0.0/8], auth: {auth}}}}}"
    assert compose({"a.yaml": text.encode()}).servers == {
        "a": Server(
            name="a", url="http://h/mcp", networks=("private", "10.0.0.0/8"), where="a.yaml:1",
            auth=Authorization("https://i/t", "b", "command:vault read x", Grant.TOKEN_EXCHANGE, audience="p"),
        )
    }  # fmt: skip


def test_a_server_may_be_let_ask_back() -> None:
    assert compose({"a.yaml": b"servers: {a: {url: 'http://h/mcp', asks_back: true}}"}).servers["a"].asks_back
    assert not compose({"a.yaml": b"servers: {a: {url: 'http://h/mcp'}}"}).servers["a"].asks_back


def test_a_stdio_server_has_its_command_and_environment() -> None:
    text = "servers: {a: {command: [npx, -y, x], env: {TOKEN: 'env:T'}, cwd: /srv, per_session: true, stateless: true}}"
    assert compose({"a.yaml": text.encode()}).servers == {
        "a": Server(
            name="a", command=("npx", "-y", "x"), env={"TOKEN": "env:T"}, cwd="/srv", per_session=True, stateless=True,
            where="a.yaml:1",
        )
    }  # fmt: skip

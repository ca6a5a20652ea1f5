"""The security standard: each rule finds what it is about, and nothing else."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from broker.domain.enrolment import begun
from broker.domain.servers import Owner, Server, ToolFacts, Trust
from broker.domain.terms import Actor, Slot, SlotState, Version
from broker.registry.lint import Subject, declared, document, enrolled, lint
from broker.registry.offers import offer_of
from tests.fakes.server_json import server_json

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
OLGA = Actor("olga@example.com", ("payments",))
GOOD = Subject(
    name="payments", owner="payments", contact="slack:#payments-help", groups={"support": ("*",)},
    facts={"balance": ToolFacts(read_only=True)}, sign_in="person",
    reviews=dict.fromkeys(("security", "legal_privacy", "genai"), ""),
    offered=("balance",),
)  # fmt: skip


def test_a_server_that_keeps_the_standard_has_no_findings() -> None:
    assert lint(GOOD) == ()


@pytest.mark.parametrize(
    ("rule", "changed", "told"),
    [
        ("owner", {"owner": ""}, "nobody answers for it"),
        ("contact", {"contact": ""}, "its users do not know where to ask"),
        ("reviews", {"reviews": {"security": "", "genai": "pending"}}, "the genai review is pending"),
        ("groups", {"groups": None}, "everybody with good credentials gets to it"),
        ("groups", {"groups": {"*": ("balance",)}}, "everybody with good credentials gets to it"),
        ("groups", {"groups": {}}, "no group may use it"),
        ("sensitivity", {"offered": ("balance", "transfer")}, "it is not said whether `transfer` changes anything"),
        ("sensitivity", {"facts": {"balance": ToolFacts(minutes_saved=3)}}, "it is not said whether `balance` changes anything"),
        ("sign_in", {"sign_in": ""}, "it is not said who may stand behind a call"),
        ("local", {"local": True}, "it runs on the broker's machine, as only experiments should"),
    ],
)
def test_each_rule_finds_what_is_missing_alone(rule: str, changed: dict[str, Any], told: str) -> None:
    (found,) = lint(msgspec.structs.replace(GOOD, **changed))
    assert (found.server, found.rule, found.told, bool(found.mend)) == ("payments", rule, told, True)


def test_a_declared_server_is_judged_by_what_its_operator_wrote() -> None:
    bare = Server("files", url="http://127.0.0.1:9/mcp")
    assert [found.rule for found in lint(declared(bare, ["read"]))] == [
        "owner", "contact", "reviews", "groups", "sensitivity", "sign_in",
    ]  # fmt: skip
    good = Server(
        "files", owner=Owner("files", "slack:#f"), trust=Trust.REVIEWED, groups={"finance": ("*",)}, sign_in="any",
        tools={"read": ToolFacts(read_only=True)},
    )  # fmt: skip
    assert lint(declared(good, ["read"])) == ()
    local = msgspec.structs.replace(good, url="", command=("files-mcp",), trust=Trust.UNTRUSTED)
    assert [found.rule for found in lint(declared(local))] == ["reviews", "local"]
    assert lint(declared(msgspec.structs.replace(local, experiment=True))) == ()


def test_an_experiment_needs_no_reviews_and_what_was_submitted_does() -> None:
    version = Version("1.0.0", server_json(), OLGA.person, NOW, NOW)
    offer = offer_of(version.document)
    experiment = begun(server_json()["name"], offer.keeper, version, OLGA, timedelta(days=14))
    assert lint(enrolled(experiment)) == ()
    submitted = experiment.submitted("1.0.0", offer.terms, OLGA, NOW)
    assert [found.told for found in lint(enrolled(submitted))] == [
        "the security review is pending", "the legal_privacy review is pending", "the genai review is pending",
    ]  # fmt: skip
    for slot in Slot:
        by = Actor(f"{slot}@example.com", (slot.value,))
        submitted = submitted.reviewed(slot, SlotState.APPROVED, by, NOW, reviewers={one: (one.value,) for one in Slot})
    assert lint(enrolled(submitted)) == ()


def test_a_server_json_is_judged_before_it_is_enrolled() -> None:
    assert lint(document(server_json())) == ()
    found = lint(document(server_json(support=[], sign_in="")))
    assert [(one.server, one.rule) for one in found] == [("payments", "contact"), ("payments", "sign_in")]

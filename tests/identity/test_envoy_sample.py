"""The sample for Envoy: what it tells of callers is what the broker reads, and nobody outside can say it themselves."""

from __future__ import annotations

from typing import Any

import yaml

from broker.assets import shipped
from broker.gateway.heads import head_of

SAMPLE = yaml.safe_load((shipped("templates") / "envoy.yaml").read_text())
MANAGER = SAMPLE["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]


def _tokens() -> dict[str, Any]:
    provider: dict[str, Any] = MANAGER["http_filters"][0]["typed_config"]["providers"]["company"]
    return provider


def test_the_claims_go_into_the_header_that_the_broker_reads() -> None:
    told = {one["header_name"]: "ann@example.com" for one in _tokens()["claim_to_headers"]}
    head = head_of({"headers": [(name.encode(), value.encode()) for name, value in told.items()]})
    assert head.peer(("10.0.0.5", 4711)).user == "ann@example.com"


def test_what_a_caller_says_of_itself_is_taken_away_and_its_token_ends_at_the_proxy() -> None:
    removed = {one["remove"] for one in MANAGER["early_header_mutation_extensions"][0]["typed_config"]["mutations"]}
    assert removed == {"x-forwarded-user", "x-forwarded-groups"}
    assert MANAGER["forward_client_cert_details"] == "SANITIZE_SET"
    assert _tokens()["forward"] is False


def test_no_timeout_of_the_proxy_ends_a_call_that_waits_for_people() -> None:
    route = MANAGER["route_config"]["virtual_hosts"][0]["routes"][0]["route"]
    assert (MANAGER["stream_idle_timeout"], route["timeout"]) == ("0s", "0s")

"""Which trace a call belongs to."""

from __future__ import annotations

from typing import Any

import pytest

from broker.domain.calls import Caller
from broker.domain.servers import Server
from broker.gateway.envelope import Message
from broker.gateway.heads import Head
from broker.gateway.visits import Visit

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
PARENT = f"00-{TRACE}-{SPAN}-01"


def origin(head: str = "", **meta: Any) -> tuple[str, str]:
    exchange: Any = None
    message = Message({}, "tools/call", 1, {"_meta": meta}, b"")
    told = Visit(exchange, Head(trace=head), Server("s"), Caller(), message, "2026-07-28").origin("broker-1")
    return told.trace, told.parent


@pytest.mark.parametrize("brought", [{"head": PARENT}, {"traceparent": PARENT}, {"head": "junk", "traceparent": PARENT}])
def test_the_callers_trace_is_continued_from_the_head_or_the_message(brought: dict[str, str]) -> None:
    assert origin(**brought) == (TRACE, f"{SPAN}-01")


@pytest.mark.parametrize(
    "brought",
    [
        "", "x", PARENT.upper(), PARENT + "-x", PARENT.replace("00-", "ff-", 1), f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
    ],
)  # fmt: skip
def test_what_is_no_trace_is_not_continued(brought: str) -> None:
    trace, parent = origin(brought)
    assert (trace != TRACE, len(bytes.fromhex(trace)), parent) == (True, 16, "")


def test_a_message_whose_trace_is_no_text_has_one_of_its_own() -> None:
    assert origin(traceparent=["x"])[1] == ""

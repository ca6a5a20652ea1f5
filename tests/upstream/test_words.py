"""The protocol's names and numbers that are spelled here are the SDK's."""

from __future__ import annotations

import subprocess
import sys

import mcp_types
import pytest
from mcp.shared import inbound, subscriptions
from mcp_types import version

from broker.upstream import words


@pytest.mark.parametrize("name", [name for name in vars(words) if name.isupper()])
def test_each_word_is_the_sdks(name: str) -> None:
    found = [getattr(room, name) for room in (mcp_types, version, inbound, subscriptions) if hasattr(room, name)]
    ours = getattr(words, name)
    assert found
    assert all(type(ours)(theirs) == ours for theirs in found)


def test_headers_mirror_what_the_schema_marks() -> None:
    schema = {"type": "object", "properties": {"region": {"type": "string", "x-mcp-header": "Region"}}}
    assert words.parameter_headers(schema, {"region": "eu", "other": 1}) == {"Mcp-Param-Region": "eu"}
    assert words.parameter_headers(None, {"region": "eu"}) == {}
    assert words.header_value("grüße").startswith("=?base64?")


def test_a_broker_starts_without_the_sdk() -> None:
    code = "import broker.running, sys; print([name for name in ('mcp', 'mcp_types') if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"

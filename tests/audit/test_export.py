"""The audit in formats that others read: nothing that an agent wrote can forge a line, a field or a record."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.logs.v1.logs_pb2 import LogsData  # the format's own definition

from broker.audit.export import FORMATS
from broker.domain.calls import Caller
from broker.domain.events import CallDecided, Entry, Noted, Reviewed

AT = datetime(2026, 11, 24, 10, 0, 0, 250000, tzinfo=UTC)
TRACE = "0af7651916cd43dd8448eb211c80319c"
HOSTILE = 'x|y=z\nCEF:0|forged|"\\ act=approved\r\u2028'
DECIDED = Entry(7, CallDecided(
    at=AT, trace=TRACE, caller=Caller(agent=HOSTILE, groups=("a", "b")), server="s", tool=HOSTILE, digest="sha256:d",
    effect="deny", policy="sha256:p", definition="sha256:t",
))  # fmt: skip


def only(form: str, entry: Entry = DECIDED) -> str:
    line = FORMATS[form](entry)
    assert "\n" not in line
    assert "\r" not in line
    return line


def test_a_json_line_is_the_event_with_its_number() -> None:
    assert json.loads(only("jsonl")) == {
        "number": 7, "type": "call.decided", "at": "2026-11-24T10:00:00.250000Z", "trace": TRACE,
        "caller": {"agent": HOSTILE, "groups": ["a", "b"]}, "server": "s", "tool": HOSTILE, "digest": "sha256:d",
        "effect": "deny", "policy": "sha256:p", "definition": "sha256:t",
    }  # fmt: skip


def cef(line: str) -> tuple[list[str], dict[str, str]]:
    """Read a CEF line as the format says: seven escaped fields of a head, then `key=value` with escaped values."""
    *head, extension = re.split(r"(?<!\\)(?:\\\\)*\|", line, maxsplit=7)
    found = re.findall(r"(?:^| )([A-Za-z0-9_.]+)=((?:[^\\=]|\\.)*?)(?= [A-Za-z0-9_.]+=|$)", extension)
    words = {"\\n": "\n", "\\r": "\r", "\\\\": "\\", "\\=": "="}
    return head, {key: re.sub(r"\\[nr=\\]", lambda one: words[one[0]], value) for key, value in found}


def test_no_value_forges_a_field_of_cef() -> None:
    head, fields = cef(only("cef"))
    assert (head[0], head[1], head[4], head[6]) == ("CEF:0", "approval-broker", "call.decided", "2")
    assert fields["externalId"] == "7"
    assert (fields["tool"], fields["caller.agent"], fields["caller.groups"]) == (HOSTILE, HOSTILE, "a,b")
    assert "act" not in fields


def test_a_record_of_opentelemetry_is_one_by_the_formats_own_definition() -> None:
    from google.protobuf.json_format import Parse  # noqa: PLC0415 - comes with the definition

    told = json.loads(only("otel"))
    record = told["resourceLogs"][0]["scopeLogs"][0]["logRecords"][0]
    assert (record["traceId"], record["timeUnixNano"]) == (TRACE, str(int(AT.timestamp() * 1000) * 1_000_000))
    record["traceId"] = ""  # OTLP's JSON has hex here, protobuf's own base64
    parsed = Parse(json.dumps(told), LogsData()).resource_logs[0].scope_logs[0].log_records[0]
    assert {one.key: one.value.string_value for one in parsed.attributes}["tool"] == HOSTILE
    assert (parsed.event_name, parsed.severity_number) == ("approval_broker.call.decided", 9)


EVENTS: list[Any] = [
    Noted(at=AT, what="w", who=HOSTILE, fields={HOSTILE: HOSTILE}),
    Reviewed(at=AT, request="r", version=2, state="approved", reviewer="ann", verdict="approve", channel="web", digest="d",
             reason=HOSTILE, view="sha256:v", evidence={"kind": "passkey", "deep": {"a": [1, HOSTILE]}}),
]  # fmt: skip


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("event", EVENTS, ids=lambda event: type(event).__name__)
def test_every_event_is_one_line(form: str, event: Any) -> None:
    assert only(form, Entry(1, event))


@given(st.text(), st.sampled_from(sorted(FORMATS)))
def test_no_text_breaks_a_line(text: str, form: str) -> None:
    line = only(form, Entry(1, Noted(at=AT, what="w", who=text)))
    if form == "cef":
        assert cef(line)[1].get("who", "") == text or " " in text

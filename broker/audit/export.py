"""The audit in formats that others read: JSON lines, CEF (ArcSight Common Event Format 0), OpenTelemetry logs as JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

import msgspec

from broker import __version__
from broker.domain.events import Entry

# How much somebody on watch should care, 0 to 10, by the event's tag; what is not listed is 3.
_SEVERITY = {"request.lost": 8, "request.reviewed": 5, "request.claimed": 5, "call.decided": 2, "noted": 4}


def facts(entry: Entry) -> dict[str, Any]:
    """Return one entry as plain values: its number, its tag as `type`, and the event's own fields."""
    told: dict[str, Any] = msgspec.to_builtins(entry.event)
    return {"number": entry.number, **told}


def json_line(entry: Entry) -> str:
    return json.dumps(facts(entry), ensure_ascii=True, separators=(",", ":"))


def cef_line(entry: Entry) -> str:
    """Return one CEF line; header and extension values are escaped as the format says, so no value can forge a field."""
    told = facts(entry)
    kind = str(told.pop("type"))
    head = "|".join(
        _cef_head(part)
        for part in ("CEF:0", "approval-broker", "approval-broker", __version__, kind, kind, str(_SEVERITY.get(kind, 3)))
    )
    flat = {"externalId": told.pop("number"), "rt": _millis(entry.event.at), **dict(_flat(told))}
    return head + "|" + " ".join(f"{_cef_key(name)}={_cef_value(value)}" for name, value in flat.items())


def otel_record(entry: Entry) -> str:
    """Return one log record in OTLP's JSON encoding (opentelemetry-proto logs v1), as a line of its own."""
    told = facts(entry)
    kind = str(told.pop("type"))
    record = {
        "timeUnixNano": str(_millis(entry.event.at) * 1_000_000),
        "severityNumber": 9,
        "severityText": "INFO",
        "eventName": f"approval_broker.{kind}",
        "body": {"stringValue": kind},
        **({"traceId": entry.event.trace} if len(entry.event.trace) == 32 else {}),
        "attributes": [{"key": key, "value": {"stringValue": str(value)}} for key, value in _flat(told)],
    }
    resource = {"attributes": [{"key": "service.name", "value": {"stringValue": "approval-broker"}}]}
    scope = {"scope": {"name": "approval-broker.audit", "version": __version__}, "logRecords": [record]}
    return json.dumps({"resourceLogs": [{"resource": resource, "scopeLogs": [scope]}]}, separators=(",", ":"))


FORMATS: dict[str, Callable[[Entry], str]] = {"jsonl": json_line, "cef": cef_line, "otel": otel_record}


def _flat(told: dict[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in told.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{before}{name}.")
        elif isinstance(value, list | tuple):
            yield before + name, ",".join(str(one) for one in value)
        else:
            yield before + name, value


def _cef_head(text: str) -> str:
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("\n", " ").replace("\r", " ")


def _cef_key(name: str) -> str:
    """Keys have no escapes: what could end one is replaced."""
    return re.sub(r"[^A-Za-z0-9_.]", "_", name)


def _cef_value(value: Any) -> str:
    return str(value).replace("\\", "\\\\").replace("=", "\\=").replace("\r", "\\r").replace("\n", "\\n")


def _millis(at: datetime) -> int:
    return int(at.timestamp() * 1000)

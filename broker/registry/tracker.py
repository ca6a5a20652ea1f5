"""What a tracker and the registry say to each other about reviews, signed as Standard Webhooks 1.0 says. Pure.

The signature is HMAC-SHA256 over `id.timestamp.body`, judged over the raw bytes before anything is parsed. Who holds the secret
speaks for reviewers: what it says is still judged by the same move, with the groups of the person whom it names.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Mapping
from typing import Any

import msgspec

from broker.domain.enrolment import Enrolment
from broker.domain.events import Noted
from broker.domain.terms import Slot
from broker.errors import Malformed
from broker.registry.reviewing import Sheet

# Seconds that a signature is good for, in either direction.
WINDOW = 300
_ID = re.compile(r"[\x21-\x7e]{1,200}")
_DIGITS = re.compile(r"[0-9]{1,12}")


class Verdict(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A tracker's answer: `by` is the person who gave it there, `digest` what the notice showed."""

    server: str
    slot: str
    state: str
    by: str
    digest: str
    reason: str = ""
    ticket: str = ""


class Notice(msgspec.Struct, frozen=True):
    """A change of an enrolled server that a tracker has to hear of. Kept with the record, told later."""

    server: str
    step: str
    by: str


def signed(secret: bytes, notice: str, timestamp: int, body: bytes) -> dict[str, str]:
    """Return the headers of a signed message."""
    signature = _signature(secret, notice, timestamp, body)
    return {"webhook-id": notice, "webhook-timestamp": str(timestamp), "webhook-signature": signature}


def verified(secret: bytes, headers: Mapping[str, str], body: bytes, now: float) -> str:
    """Return the message's id where the signature holds and is fresh, else an empty text. Nothing is raised."""
    notice, timestamp = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    if not secret or not _ID.fullmatch(notice) or not _DIGITS.fullmatch(timestamp) or abs(now - int(timestamp)) > WINDOW:
        return ""
    expected = _signature(secret, notice, int(timestamp), body).encode()
    told = headers.get("webhook-signature", "").encode("utf-8", "replace").split()
    return notice if any(hmac.compare_digest(expected, one) for one in told) else ""


def verdict_of(body: bytes) -> Verdict:
    """Read a tracker's answer. Raises `Malformed`."""
    try:
        return msgspec.json.decode(body, type=Verdict)
    except (msgspec.DecodeError, msgspec.ValidationError, UnicodeDecodeError) as error:
        raise Malformed(f"this is no answer to a review: {error}") from None


def notice_of(enrolment: Enrolment, event: Noted) -> bytes:
    """What is kept until it could be told."""
    return msgspec.json.encode(Notice(enrolment.name, event.fields.get("step", ""), event.who))


def told_of(notice: Notice, enrolment: Enrolment, sheet: Sheet | None, page: str) -> bytes:
    """The message: what happened, how the server stands now, and, while reviews are waited for, what there is to look at."""
    told: dict[str, Any] = {
        "type": "server.moved", "server": notice.server, "step": notice.step, "by": notice.by, "page": page,
        "lifecycle": enrolment.lifecycle.value, "number": enrolment.number,
    }  # fmt: skip
    if sheet is not None:
        told["review"] = {
            "version": sheet.proposal.version, "digest": sheet.digest, "problem": sheet.problem, "address": sheet.address,
            "slots": {slot.value: sheet.proposal.slots[slot].state.value for slot in Slot},
            "groups": sheet.proposal.terms.groups, "widens": sheet.widening.told, "tools": [stand.tool for stand in sheet.tools],
        }  # fmt: skip
    return msgspec.json.encode(told)


def _signature(secret: bytes, notice: str, timestamp: int, body: bytes) -> str:
    mac = hmac.new(secret, f"{notice}.{timestamp}.".encode() + body, hashlib.sha256)
    return "v1," + base64.b64encode(mac.digest()).decode()

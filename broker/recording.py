"""What `record: all` keeps of a call: everything that a replay needs, with secrets covered."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime

import msgspec
import structlog

from broker.approvals.guard import Record
from broker.domain.calls import ToolCall
from broker.domain.decisions import Decision
from broker.domain.redaction import shown
from broker.domain.servers import SeenTool
from broker.policy.replay import Recorded, Was

log = structlog.get_logger()


def recorder(put: Callable[[bytes], None], mask_key: bytes, clock: Callable[[], datetime]) -> Record:
    """Return the guard's `record`. What can't be recorded is left out: the call itself is no worse for it."""

    def record(call: ToolCall, seen: SeenTool, sums: Mapping[str, float], decision: Decision) -> None:
        try:
            covered = shown(call.arguments, (), mask_key).arguments
            kept = msgspec.structs.replace(call, params={**call.params, "arguments": covered})
            was = Was(decision.effect.value, decision.rules)
            definition = seen.definition.raw if seen.definition else None
            put(msgspec.json.encode(Recorded(clock(), kept, seen.known, definition, dict(sums), was)))
        except Exception as error:
            log.warning("recording.skipped", error=type(error).__name__)

    return record

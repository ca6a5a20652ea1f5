"""Logs: one JSON line an event on stderr, plain lines where a person looks on. Secrets and arguments are never handed in."""

from __future__ import annotations

import logging
import sys

import structlog

from broker.domain.events import Event, RequestEvent, Reviewed
from broker.domain.requests import ApprovalRequest

log = structlog.get_logger()


def configure(level: str) -> None:
    """Set up structlog and the standard library's logging; said again, the last word counts."""
    threshold = logging.getLevelNamesMapping()[level.upper()]
    renderer: structlog.typing.Processor = (
        structlog.dev.ConsoleRenderer() if sys.stderr.isatty() else structlog.processors.JSONRenderer()
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=lambda *names: structlog.PrintLogger(sys.stderr),  # looked up each time: it may be replaced
    )
    logging.basicConfig(
        level=max(threshold, logging.WARNING), stream=sys.stderr, format="%(levelname)s %(name)s %(message)s", force=True
    )


def journey(event: Event, request: ApprovalRequest | None) -> None:
    """Log each step of a call that waits or waited for people; `trace` is the same from its arrival to its end."""
    if isinstance(event, RequestEvent) and request is not None:
        by = {"verdict": event.verdict, "channel": event.channel} if isinstance(event, Reviewed) else {}
        call = request.call
        log.info(
            type(event).__struct_config__.tag, trace=event.trace, request=event.request, state=event.state, server=call.server,
            tool=call.tool, **by,
        )  # fmt: skip

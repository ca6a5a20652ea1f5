"""How long known clients wait for an answer, so that a hold ends before their own timers do.

By the name that a client gives itself: it is believed, since it decides about nothing but its own waiting. The values are what
their sources and users report, with some seconds to spare; only a stream with progress is worth more than a minute or so.
"""

from __future__ import annotations

import re

import msgspec


class Patience(msgspec.Struct, frozen=True):
    """Seconds that a call of this client may be held: without progress, and where it asked for progress."""

    quiet: float
    with_progress: float


# By the beginning of the name, in lower case and with hyphens: some add a server's name or a release channel.
KNOWN = {
    # Idle for 300 s ends a call over HTTP; each progress begins that anew.
    "claude-code": Patience(240.0, 600.0),
    # The connectors of claude.ai and Claude Desktop: 60 s have been seen, and progress does not help.
    "claude-ai": Patience(50.0, 50.0),
    # No timer of its own; streams have been cut after 5 minutes.
    "visual-studio-code": Patience(240.0, 240.0),
    # Undocumented: 60 s are reported.
    "cursor": Patience(50.0, 50.0),
    # `tool_timeout_sec` is 60 unless it is set.
    "codex-mcp-client": Patience(50.0, 50.0),
    # 10 minutes, and 60 s in some releases.
    "gemini-cli": Patience(50.0, 50.0),
}
# The name of the Python SDK, which clients made with it give as their own unless they are told another: OpenAI's Agents SDK,
# whose timer is 5 s, and LangChain's adapters, which have none, can't be told apart. The impatient one sets the pace; who waits
# longer says so for its token (`broker agents add --hold`).
SHARED = "mcp"
SAFE = Patience(4.0, 4.0)


def hold_of(client: str, *, progress: bool, usual: float) -> float:
    """Return for how many seconds a call of `client` is held; `usual` for clients that are not known."""
    name = re.sub(r"[ _]+", "-", client.casefold())
    patience = next((known for beginning, known in KNOWN.items() if name.startswith(beginning)), None)
    if name == SHARED:
        patience = Patience(min(SAFE.quiet, usual), min(SAFE.with_progress, usual))
    if patience is None:
        return usual
    return patience.with_progress if progress else patience.quiet

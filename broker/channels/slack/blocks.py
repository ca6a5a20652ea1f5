"""Pieces of Block Kit, as plain dictionaries. Text that an agent wrote only ever becomes a `text` element of rich text or
`plain_text` without emoji: Slack parses nothing in either, so it can neither mention, link nor format."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from broker.domain.text import clipped, visible

Block = dict[str, Any]

# Slack's limits (docs.slack.dev/reference/block-kit), and ours for one run of rich text, where Slack names none.
HEADER = 150
LABEL = 75
CONFIRM_TITLE = 100
CONFIRM_TEXT = 300
RUN = 2_600


def seen(text: str, limit: int, *, keep: str = "") -> str:
    """Return at most `limit` characters of what `visible` makes of a text, an ellipsis where that cuts it."""
    return clipped(visible(text[: limit + 1], keep=keep), limit)


def holds(text: str, limit: int, *, keep: str = "") -> bool:
    """Does `seen` show all of it?"""
    return len(text) <= limit and len(visible(text, keep=keep)) <= limit


def plain(text: str, limit: int) -> Block:
    """Plain text on one line, clipped: what is unseen becomes visible."""
    return {"type": "plain_text", "text": seen(text, limit) or " ", "emoji": False}


def text(content: str, **style: bool) -> Block:
    """One run of rich text: shown letter by letter, nothing in it is parsed."""
    element: Block = {"type": "text", "text": visible(content) or " "}
    return {**element, "style": style} if style else element


def line(content: str, limit: int = 300, **style: bool) -> Block:
    """A run of rich text that can't break its line, clipped."""
    return text(seen(content, limit), **style)


def user(slack_id: str) -> Block:
    """A person's mention, by an id that we mapped ourselves."""
    return {"type": "user", "user_id": slack_id}


def usergroup(slack_id: str) -> Block:
    """A user group's mention, by an id from the operator's files."""
    return {"type": "usergroup", "usergroup_id": slack_id}


def date(at: datetime) -> Block:
    """A moment, in the reader's own zone and clock."""
    fallback = at.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")
    return {"type": "date", "timestamp": int(at.timestamp()), "format": "{date_short_pretty} {time}", "fallback": fallback}


def link(url: str, words: str) -> Block:
    """A link to our own pages."""
    return {"type": "link", "url": url, "text": words}


def section(*elements: Block) -> Block:
    return {"type": "rich_text_section", "elements": list(elements)}


def preformatted(content: str) -> Block:
    return {"type": "rich_text_preformatted", "elements": [text(content)]}


def quote(*elements: Block) -> Block:
    return {"type": "rich_text_quote", "elements": list(elements)}


def bullets(items: Iterable[Block]) -> Block:
    return {"type": "rich_text_list", "style": "bullet", "elements": list(items)}


def rich(*parts: Block, block_id: str = "") -> Block:
    block: Block = {"type": "rich_text", "elements": list(parts)}
    return {**block, "block_id": block_id} if block_id else block


def header(content: str) -> Block:
    return {"type": "header", "text": plain(content, HEADER)}


def divider() -> Block:
    return {"type": "divider"}


def button(action: str, label: str, value: str, **more: Any) -> Block:
    return {"type": "button", "action_id": action, "text": plain(label, LABEL), "value": value, **more}


def open_button(url: str, label: str = "Open") -> Block:
    """A link in the form of a button. Slack reports the click as well; nobody answers it but by an acknowledgement."""
    return {"type": "button", "action_id": "open", "text": plain(label, LABEL), "url": url}


def confirm(title: str, words: str, yes: str) -> Block:
    return {
        "title": plain(title, CONFIRM_TITLE),
        "text": plain(words, CONFIRM_TEXT),
        "confirm": plain(yes, 30),
        "deny": plain("Back", 30),
    }


def actions(block_id: str, *elements: Block) -> Block:
    return {"type": "actions", "block_id": block_id[:255], "elements": list(elements)}


def mrkdwn(content: str) -> str:
    """Escape a text for the one place that Slack parses, the notification line (docs.slack.dev/messaging/formatting)."""
    shown = visible(content, keep="")
    return shown.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def chunks(content: str, size: int = RUN) -> list[str]:
    """Cut a text into runs, at a line's end where one is near."""
    parts: list[str] = []
    while len(content) > size:
        cut = content.rfind("\n", size // 2, size) + 1 or size
        parts.append(content[:cut])
        content = content[cut:]
    return [*parts, content]


def bare(value: Any) -> Any:
    """Return blocks without their ids: what is left is what people see and press."""
    if isinstance(value, dict):
        return {name: bare(item) for name, item in value.items() if name != "block_id"}
    return [bare(item) for item in value] if isinstance(value, list) else value

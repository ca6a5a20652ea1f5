"""Draws the card in every state, and all around it, for people to look at: `python -m tests.channels.slack.pictures FOLDER`.

It is a drawing of the blocks, not Slack: what is where, what is bold, what can be pressed.
"""

from __future__ import annotations

import sys
from datetime import timedelta
from html import escape
from pathlib import Path
from typing import Any

from playwright.sync_api import sync_playwright

from broker.channels.slack.card import bare_parts, card, outcome
from broker.channels.slack.face import Pressed
from broker.channels.slack.home import digest, home, listing
from broker.channels.slack.modals import details, rejection
from broker.channels.slack.thread import replies
from tests.channels.slack.samples import FACE, NOON, states

STYLE = """
body{font:15px/1.45 Lato,system-ui,sans-serif;color:#1d1c1d;background:#fff;margin:16px;width:640px}
article{border:1px solid #ddd;border-radius:8px;padding:10px 14px;margin-bottom:16px}
h2{font-size:17px;margin:2px 0 6px}p{margin:2px 0}pre{background:#f8f8f8;border:1px solid #ddd;border-radius:4px;padding:8px;
white-space:pre-wrap;overflow-wrap:anywhere;font-size:12.5px}code{background:#f3f3f3;color:#c01343;padding:0 3px}
blockquote{border-left:4px solid #ddd;margin:4px 0;padding-left:10px}span.who{background:#e8f5fa;color:#1264a3;border-radius:3px}
button{font:inherit;font-weight:700;font-size:13px;border:1px solid #bbb;background:#fff;border-radius:4px;padding:4px 12px;
margin:6px 8px 0 0}
button.primary{background:#007a5a;color:#fff}button.danger{color:#e01e5a}small{color:#616061}
"""


def page(drawn: dict[str, list[dict[str, Any]]]) -> str:
    sheets = [f"<small>{escape(name)}</small><article>{''.join(map(block, parts))}</article>" for name, parts in drawn.items()]
    return f"<!doctype html><meta charset=utf-8><style>{STYLE}</style>{''.join(sheets)}"


def around() -> dict[str, list[dict[str, Any]]]:
    """What is not the card itself."""
    made = states()
    asked, ran = made["one of two"], made["completed"]
    late = asked.expires_at - timedelta(minutes=10)
    said = [part for reply in replies(asked, FACE, late, NOON) + replies(ran, FACE, late, NOON) for part in reply.parts]
    return {
        "details": details(ran, FACE)["blocks"],
        "rejection": rejection(asked, FACE, Pressed(asked.id, asked.digest, "v"))["blocks"],
        "home": home([made["pending"], made["critical"]], FACE)["blocks"],
        "digest": digest([made["pending"], made["rejected"], made["critical"]], FACE).parts,
        "list": listing([made["pending"], made["critical"]], FACE),
        "thread": said,
        "the requester is told": outcome(ran, FACE).parts,
        "bare": bare_parts(asked, FACE),
    }


def block(part: dict[str, Any]) -> str:
    match part["type"]:
        case "header":
            return f"<h2>{escape(part['text']['text'])}</h2>"
        case "divider":
            return "<hr>"
        case "input":
            return f"<p><b>{escape(part['label']['text'])}</b></p>{field(part['element'])}"
        case "actions":
            return "".join(
                f'<button class="{one.get("style", "")}">{escape(one["text"]["text"])}</button>' for one in part["elements"]
            )
        case _:
            return "".join(map(rich, part["elements"]))


def field(part: dict[str, Any]) -> str:
    if part["type"] == "plain_text_input":
        return "<textarea cols=60 rows=3></textarea>"
    return "".join(f"<p><input type=radio> {escape(one['text']['text'])}</p>" for one in part["options"])


def rich(part: dict[str, Any]) -> str:
    if part["type"] == "rich_text_list":
        return f"<ul>{''.join(f'<li>{rich(one)}</li>' for one in part['elements'])}</ul>"
    tag = {"rich_text_preformatted": "pre", "rich_text_quote": "blockquote"}.get(part["type"], "p")
    return f"<{tag}>{''.join(map(element, part['elements']))}</{tag}>"


def element(one: dict[str, Any]) -> str:
    match one["type"]:
        case "user":
            return f'<span class="who">@{escape(one["user_id"].removeprefix("U0").lower())}</span>'
        case "usergroup":
            return f'<span class="who">@{escape(one["usergroup_id"].removeprefix("S0").lower())}</span>'
        case "date":
            return escape(one["fallback"])
        case _:
            text = escape(one["text"]).replace("\n", "<br>")
    for style, tag in (("code", "code"), ("bold", "b"), ("italic", "i")):
        text = f"<{tag}>{text}</{tag}>" if one.get("style", {}).get(style) else text
    return text


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    cards = {name: card(request, FACE).parts for name, request in states().items()}
    sets = {"card": {"one of two": cards["one of two"]}, "around": around(), "evil": {"evil": cards.pop("evil")}}
    names = list(cards)
    sets |= {f"cards-{at // 6 + 1}": {name: cards[name] for name in names[at : at + 6]} for at in range(0, len(names), 6)}
    with sync_playwright() as drive:
        browser = drive.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        for name, held in sets.items():
            sheet = browser.new_page(viewport={"width": 680, "height": 200})
            sheet.set_content(page(held))
            sheet.screenshot(path=folder / f"{name}.png", full_page=True)
        browser.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))

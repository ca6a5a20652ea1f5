"""Slack's own TypeScript types judge every card and modal that we can make."""

from __future__ import annotations

import json
import subprocess
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from broker.channels.slack.batch import batch_form
from broker.channels.slack.card import bare_parts, card, outcome
from broker.channels.slack.face import Pressed
from broker.channels.slack.home import digest, home, listing, unknown_home
from broker.channels.slack.modals import details, notice, rejection
from broker.channels.slack.results import question
from broker.channels.slack.thread import replies
from tests.channels.slack.samples import FACE, NOON, states
from tests.node.install import Node, install

A_MINUTE = timedelta(minutes=1)
STRICT = ("--strict", "--noEmit", "--skipLibCheck", "false", "--module", "nodenext", "--target", "es2022")


@pytest.fixture(scope="module")
def node() -> Node:
    return install()


def judged(node: Node, folder: Path, source: str) -> str:
    """Compile a program against Slack's types; return what the compiler says, nothing when it is content."""
    (folder / "node_modules").symlink_to(node.modules)
    (folder / "package.json").write_text('{"type": "module"}')
    (folder / "judged.ts").write_text(source)
    command = [*node.script("typescript", "bin/tsc"), *STRICT, "judged.ts"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=100).stdout


def program(messages: list[Any], views: list[Any]) -> str:
    """Literals, so that the compiler looks for members that no type knows."""
    lines = ['import type { KnownBlock, ModalView, HomeView } from "@slack/types";']
    lines += [f"export const m{index}: KnownBlock[] = {json.dumps(parts)};" for index, parts in enumerate(messages)]
    lines += [f"export const v{index}: ModalView | HomeView = {json.dumps(view)};" for index, view in enumerate(views)]
    return "\n".join(lines)


def test_every_card_and_modal_has_slacks_own_types(node: Node, tmp_path: Path) -> None:
    messages: list[Any] = []
    views: list[Any] = [unknown_home("Who are you?"), notice("Sorry", "That was too late.")]
    for request in states().values():
        values = Pressed(request.id, request.digest, "v")
        messages += [card(request, FACE).parts, bare_parts(request, FACE), outcome(request, FACE).parts, listing([request], FACE)]
        messages.append(question(request, FACE))
        messages += [reply.parts for reply in replies(request, FACE, request.expires_at - A_MINUTE, NOON)]
        views += [details(request, FACE), rejection(request, FACE, values), home([request], FACE)]
    views.append(batch_form(list(states().values()), FACE, "dana@example.com", Pressed(states()["pending"].id)))
    messages.append(digest(list(states().values()) * 3, FACE).parts)
    assert judged(node, tmp_path, program(messages, views)) == ""


WRONG: list[Any] = [
    [{"type": "header", "text": {"type": "mrkdwn", "text": "x"}}],
    [{"type": "rich_text", "elements": [{"type": "rich_text_section", "elements": [{"type": "text"}]}]}],
    [{"type": "actions", "elements": [{"type": "button", "text": {"type": "plain_text", "text": "x"}, "style": "green"}]}],
]


def test_the_judge_sees_what_is_wrong(node: Node, tmp_path: Path) -> None:
    told = judged(node, tmp_path, program(WRONG, []))
    assert [line for line in (2, 3, 4) if f"judged.ts({line}," in told] == [2, 3, 4]

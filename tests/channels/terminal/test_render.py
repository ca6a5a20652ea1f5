from __future__ import annotations

from datetime import UTC, datetime, timedelta

from broker.channels.terminal.render import table, whole

NOW = datetime(2026, 11, 24, 10, 0, tzinfo=UTC)
SUMMARY = {
    "id": "apr_0_x",
    "state": "pending",
    "title": "Refund \x1b[2K900",
    "severity": "high",
    "server": "payments",
    "tool": "refund_create",
    "agent": "bot\r\u202e",
    "owner": "dana@example.com",
    "groups": ["finance"],
    "opened_at": NOW.isoformat(),
    "expires_at": (NOW + timedelta(minutes=5)).isoformat(),
    "digest": "sha256:1",
}
WHOLE = {
    "request": SUMMARY,
    "arguments": {"note": "\x1b]0;owned\x07 \u202e<script>", "n": 1},
    "rest": {},
    "whole": True,
    "rules": ["r"],
    "reasons": ["r: above 500"],
    "progress": [{"rule": "r", "group": "finance", "have": 0, "need": 1}],
    "reviews": [],
    "timeline": [{"at": NOW.isoformat(), "what": "Asked by bot", "said": "line\nline"}],
    "blocked": "",
    "step_up": False,
    "note": "",
    "decided_by": "",
    "ended_at": None,
    "policy": "sha256:2",
    "definition": "",
    "stated": "the customer\nasked \u202etwice",
}


def test_a_list_names_id_severity_time_and_title() -> None:
    assert table([SUMMARY], NOW).split() == [
        "apr_0_x",
        "high",
        "5",
        "min",
        "left",
        "Refund",
        "\\u{1b}[2K900",
        "bot\\u{d}\\u{202e}",
    ]
    assert table([], NOW) == "nothing is waiting"


def test_nothing_that_an_agent_wrote_can_steer_the_terminal() -> None:
    text = whole(WHOLE, NOW)
    assert all(char.isprintable() or char == "\n" for char in text)
    for told in (
        "\\u001b]0;owned\\u0007 \\u{202e}<script>",
        "bot\\u{d}\\u{202e}",
        "line\\u{a}line",
        "0 of 1 of finance",
        "r: above 500",
        "the customer\\u{a}asked \\u{202e}twice (the agent, unverified)",
    ):
        assert told in text


def test_what_is_hidden_is_said_to_need_the_page() -> None:
    assert "on its page only" in whole(WHOLE | {"whole": False}, NOW)

"""`broker stop`: what it says has to be what holds, above all in a hurry."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from broker.cli.main import main

Typed = Callable[..., tuple[int, str]]


@pytest.fixture
def typed(store_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Typed:
    monkeypatch.setenv("BROKER_REDIS_URL", store_url)
    monkeypatch.setenv("BROKER_DATA", str(tmp_path))

    def type_in(*words: str) -> tuple[int, str]:
        status = main(["stop", *words])
        return status, capsys.readouterr().out

    return type_in


def test_what_is_said_to_lift_a_stop_lifts_it(typed: Typed) -> None:
    assert typed("--lift", "--agent", "bot") == (1, "there was no such stop\n")
    told = "calls of the bot are stopped on every broker; lift it with: broker stop --lift --agent 'the bot'\n"
    assert typed("--agent", "the bot", "--why", "strange") == (0, told)
    assert typed() == (0, "calls of all agents are stopped on every broker; lift it with: broker stop --lift\n")
    status, told = typed("--ls")
    assert (status, told.count("\n"), "the bot: since " in told, "all agents: since " in told) == (1, 2, True, True)
    told = "the stop of the bot is lifted\nstill in force: the stop of all agents; lift it with: broker stop --lift\n"
    assert typed("--lift", "--agent", "the bot") == (0, told)
    assert typed("--lift") == (0, "the stop of all agents is lifted\n")
    assert typed("--ls") == (0, "")


def test_a_name_that_no_token_has_is_stopped_and_noted(
    store_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("BROKER_REDIS_URL", store_url)
    monkeypatch.setenv("BROKER_DATA", str(tmp_path))
    assert main(["agents", "add", "bot", "--owner", "sam@example.com", "--unlisted"]) == 0
    capsys.readouterr()
    assert main(["stop", "--agent", "bot"]) == 0
    assert "no token is named" not in capsys.readouterr().err
    assert main(["stop", "--agent", "bto"]) == 0
    assert "note: no token is named bto" in capsys.readouterr().err
    assert main(["stop", "--lift", "--agent", "bto"]) == main(["stop", "--lift", "--agent", "bot"]) == 0


@pytest.mark.parametrize("words", [("--agent", ""), ("--agent", " "), ("--lift", "--agent", "")])
def test_an_empty_name_is_no_stop_of_nobody(typed: Typed, words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        typed(*words)
    assert (ended.value.code, "name the agent" in capsys.readouterr().err) == (2, True)
    assert typed("--ls") == (0, "")


def test_a_reason_is_listed_in_one_line_and_moves_no_terminal(typed: Typed) -> None:
    typed("--agent", "bot", "--why", "strange\nall agents: \x1b[31m")
    status, told = typed("--ls")
    assert (status, told.count("\n"), "\x1b" in told) == (1, 1, False)
    assert typed("--lift", "--agent", "bot")[0] == 0

"""`broker servers enrol|review|lint|ls|show` as people use them, on a real broker and a real server behind it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from broker.running import Running
from tests.cli.conftest import SLOTS, enrolling, typed_by
from tests.fakes.ledger_server import ledger
from tests.fakes.server_json import server_json

NAME = "com.example/payments"
POLICY = {
    "servers.yaml": "servers:\n  files: {url: 'http://127.0.0.1:9/mcp', tools: {read: {}}}\n",
    "people.yaml": "people: {}\ngroups: {payments: [olga@example.com], support: [eve@example.com, sue@example.com],"
    " security: [security@example.com], legal_privacy: [legal_privacy@example.com], genai: [genai@example.com]}\n",
    "rules.yaml": "defaults: {unmatched: allow, unknown_tool: deny}\nrules: []\n",
}

Typed = Callable[..., Any]


@pytest.fixture
async def broker(store_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Running]:
    async with enrolling(store_url, tmp_path, POLICY, monkeypatch) as made:
        yield made


@pytest.fixture
def typed(broker: Running, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Typed:
    """`typed(person, ...)` runs `broker servers ...` with the person's token; returns status and what was printed."""

    async def run(person: str, *words: str) -> tuple[int, str]:
        status = await typed_by(person, broker, monkeypatch, "servers", *words)
        said = capsys.readouterr()
        return status, said.out + said.err

    return run


async def test_a_server_is_enrolled_reviewed_and_shown_from_the_command_line(typed: Typed, tmp_path: Path) -> None:
    file = tmp_path / "server.json"
    with ledger(tmp_path / "effects") as upstream:
        file.write_text(json.dumps(server_json(url=upstream.url)))
        status, said = await typed("eve", "enrol", str(file))
        assert (status, "you are not in the group `payments`" in said) == (2, True)
        status, said = await typed("olga", "enrol", str(file), "--submit")
        assert (status, said.splitlines()[0]) == (0, f"{NAME}: in review, no call goes there")
        assert "This widens access by support and 2 people of people.yaml." in said
        assert (await typed("olga", "review", NAME, "--slot", "security", "--verdict", "approve", "--yes"))[0] == 2
        assert (await typed("security", "review", NAME, "--slot", "security", "--verdict", "approve"))[0] == 2  # nobody is asked
        for slot in SLOTS:
            status, said = await typed(slot, "review", NAME, "--slot", slot, "--verdict", "approve", "--yes")
            assert status == 0, said
        assert f"{NAME}: approved, calls go to 1.0.0" in said
        listed = (await typed("eve", "ls"))[1]
        assert f"payments  {NAME}  owner payments, approved, 1.0.0  2 pinned" in listed
        assert "files  http://127.0.0.1:9/mcp" in listed
        shown = (await typed("eve", "show", "payments"))[1]
        assert "groups: support (*)" in shown
        assert "legal_privacy: approved legal_privacy@example.com" in shown
        status, said = await typed("olga", "suspend", NAME, "--why", "it leaks")
        assert (status, said.splitlines()[0]) == (0, f"{NAME}: suspended, no call goes there")


async def test_lint_tells_what_is_missing_and_ends_with_1(typed: Typed, tmp_path: Path) -> None:
    status, said = await typed("eve", "lint")
    assert (status, [line.split(": ")[1] for line in said.splitlines() if line.startswith("files: ")]) == (
        1, ["owner", "contact", "reviews", "groups", "sensitivity", "sign_in"],
    )  # fmt: skip
    good, bad = tmp_path / "server.json", tmp_path / "bad.json"
    good.write_text(json.dumps(server_json()))
    bad.write_text(json.dumps(server_json(support=[], command=["sh"])))
    assert await typed("eve", "lint", str(good)) == (0, "nothing is missing\n")
    status, said = await typed("eve", "lint", str(bad))
    assert (status, "`command` is not taken: a command would be run on this machine" in said) == (1, True)
    assert (await typed("eve", "lint", "nothing"))[0] == 2

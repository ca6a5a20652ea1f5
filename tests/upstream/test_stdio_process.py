"""The process behind a stdio server: it starts again, its mess stays its own, and nothing of it is left at the end."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import anyio
import msgspec
import pytest
from mcp.client.stdio import get_default_environment
from structlog.testing import capture_logs

from broker.domain.requests import Origin
from broker.domain.servers import Server
from broker.errors import OutcomeLost, UnknownServer, UpstreamUntouched
from broker.upstream import keeper, process
from broker.upstream.process import inherited
from tests.fakes.stdio_bench import ROOT, Bench, approved, stdio_bench, text_of

OLDER = Origin(era="2025-11-25", session="shared.any", rpc_id=1)
NEWER = Origin(era="2026-07-28", rpc_id=1)


def raw(*flags: str, name: str = "raw", **more: Any) -> Server:
    return Server(name=name, command=(sys.executable, f"{ROOT}/tests/fakes/stdio_raw.py", *flags), **more)


async def execute(bench: Bench, tool: str, origin: Origin = OLDER, server: str = "raw", **arguments: Any) -> Any:
    answer = await bench.forwarder.execute(approved(server, tool, arguments, origin), lambda message: None)
    return msgspec.json.decode(answer)


async def gone(pid: int) -> None:
    """Wait until no process of the group is left."""
    with anyio.fail_after(10), suppress(ProcessLookupError):
        while True:
            os.killpg(pid, 0)
            await anyio.sleep(0.01)


def alive(pid: int) -> bool:
    try:
        os.killpg(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize("origin", [OLDER, NEWER])
async def test_a_stored_call_runs_and_its_members_come_back_as_they_were(origin: Origin) -> None:
    async with stdio_bench(raw()) as bench:
        answer = await execute(bench, "echo", origin, text="a \u202e b")
    assert answer["result"]["content"] == [{"type": "text", "text": "a \u202e b"}]
    assert answer["result"]["future"] == {"member": None}


async def test_a_killed_process_loses_its_calls_and_the_next_one_runs() -> None:
    async with stdio_bench(raw(), raw(name="other")) as bench:
        pid = int(text_of(await execute(bench, "pid")))
        answers: dict[str, Any] = {}

        async def never() -> None:
            with pytest.raises(OutcomeLost, match="ended while the call ran"):
                await execute(bench, "never")
            answers["lost"] = True

        async with anyio.create_task_group() as tasks:
            for _ in range(3):
                tasks.start_soon(never)
            await execute(bench, "echo", text="they are on their way")
            os.kill(pid, 9)
            with anyio.fail_after(10):
                answers["other"] = text_of(await execute(bench, "echo", server="other", text="untouched"))
        with anyio.fail_after(10):
            after = int(text_of(await execute(bench, "pid")))
    assert answers == {"lost": True, "other": "untouched"}
    assert after != pid


async def test_a_call_that_kills_its_server_is_lost_and_never_sent_again(tmp_path: Path) -> None:
    async with stdio_bench(raw()) as bench:
        session = await bench.session("raw")
        response = await bench.post("raw", {"id": 1, "method": "tools/call", "params": {"name": "die"}}, session)
        assert response.status == 502
        assert "raw ended while the call ran" in response.text
        assert [error.code for error in bench.front.refused] == ["outcome_lost"]
        with anyio.fail_after(10):
            assert text_of(await bench.call("raw", session, "echo", text="the session lives on")) == "the session lives on"


async def test_a_server_that_cannot_start_is_tried_again_later_and_refuses_at_once_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeper, "FIRST_REST", 0.2)
    refusals = tmp_path / "refusals"
    refusals.write_text("once\ntwice")
    async with stdio_bench(raw(f"refuses={refusals}")) as bench:
        with pytest.raises(UpstreamUntouched, match="exit status 9; next attempt in"):
            await execute(bench, "echo")
        with anyio.fail_after(10):
            while True:
                with suppress(UpstreamUntouched):
                    assert text_of(await execute(bench, "echo", text="at last")) == "at last"
                    break
                await anyio.sleep(0.01)


@pytest.mark.parametrize(
    ("server", "why"),
    [
        (Server(name="raw", command=("/no/such/program",)), "No such file or directory"),
        (raw(env={"TOKEN": "env:NOT_SET_ANYWHERE"}), "TOKEN refers to the variable NOT_SET_ANYWHERE, which is not set"),
        (raw(env={"TOKEN": "file:/no/such/file"}), "TOKEN refers to /no/such/file, which can't be read"),
        (raw(cwd="/no/such/folder"), "No such file or directory"),
    ],
)
async def test_what_cannot_be_started_leaves_the_call_untouched(server: Server, why: str) -> None:
    async with stdio_bench(server) as bench:
        with pytest.raises(UpstreamUntouched, match=why):
            await execute(bench, "echo")


async def test_what_nobody_foresaw_ends_the_start_of_one_server_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(*_: object) -> None:
        raise RuntimeError("nobody foresaw this")

    monkeypatch.setattr(keeper, "started", broken)
    async with stdio_bench(raw()) as bench:
        for _ in range(2):
            with pytest.raises(UpstreamUntouched, match="could not start it, and its log says why"):
                await execute(bench, "echo")


async def test_a_server_that_never_shakes_hands_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeper, "START_WITHIN", 0.5)
    async with stdio_bench(raw("silent")) as bench:
        with pytest.raises(UpstreamUntouched, match=r"did not start|no handshake"):
            await execute(bench, "echo")


async def test_a_server_that_ignores_the_newer_era_is_shaken_hands_with_in_the_older(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeper, "DISCOVER_WITHIN", 0.2)
    async with stdio_bench(raw("deaf")) as bench:
        assert text_of(await execute(bench, "echo", text="hello")) == "hello"


async def test_a_silent_call_is_given_up_after_a_while_and_others_are_not_touched() -> None:
    async with stdio_bench(raw(), silence=0.5) as bench:
        pid = text_of(await execute(bench, "pid"))
        with pytest.raises(OutcomeLost, match="silent"):
            await execute(bench, "never")
        assert text_of(await execute(bench, "pid")) == pid


async def test_noise_on_the_pipe_is_passed_over_and_an_unreadable_answer_is_told() -> None:
    async with stdio_bench(raw(), silence=5) as bench:
        noise = 'Server is starting!\n[]\n{"id": 4711, "result": {}}\n{"jsonrpc": "2.0", "id": true, "result": {}}\n'
        with capture_logs() as logs:
            answer = await execute(bench, "raw", text=noise + '{"jsonrpc": "2.0", "id": ID, "result": {"content": [1]}}')
        assert answer == {"result": {"content": [1]}}
        told = [(entry["event"], entry.get("size")) for entry in logs if entry["log_level"] == "warning"]
        assert told == [("stdio.unreadable", 19), ("stdio.no_message", 2)]
        with pytest.raises(OutcomeLost, match="no valid JSON"):
            await execute(bench, "raw", text='{"jsonrpc": "2.0", "id": ID, "result": "\\ud800"}')


async def test_a_large_answer_comes_whole_and_one_beyond_the_limit_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    async with stdio_bench(raw(), silence=2) as bench:
        assert len(text_of(await execute(bench, "large", text="10000000"))) == 10_000_000
        monkeypatch.setattr(process, "LINE_LIMIT", 1 << 20)
        with pytest.raises(OutcomeLost, match="silent"):
            await execute(bench, "large", text="3000000")
        assert text_of(await execute(bench, "echo", text="still there")) == "still there"


async def test_a_secret_never_reaches_the_log_and_a_shouting_server_does_not_fill_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OUR_SECRET", "hunter2-hunter2")
    monkeypatch.setenv("OTHER_SECRET", "not for servers")
    async with stdio_bench(raw(env={"SECRET": "env:OUR_SECRET", "PLAIN": "plain"})) as bench:
        with capture_logs() as logs:
            await execute(bench, "shout", text="500")
            found = msgspec.json.decode(text_of(await execute(bench, "env")))
    lines = [entry["line"] for entry in logs if entry["event"] == "stdio.stderr"]
    assert "line 0 [secret] \\u{1b}[31mred" in lines
    assert "hunter2" not in str(logs)
    assert len(lines) <= 2 * process.CHATTER
    assert (found["SECRET"], found["PLAIN"], "OTHER_SECRET" in found) == ("hunter2-hunter2", "plain", False)


@pytest.mark.parametrize("flags", [(), ("child",), ("stubborn",), ("stubborn", "child")])
async def test_nothing_of_a_server_is_left_at_the_end(flags: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "GRACE", 0.3)
    async with stdio_bench(raw(*flags)) as bench:
        pid = int(text_of(await execute(bench, "pid")))
        assert alive(pid)
    await gone(pid)


async def test_a_changed_entry_gets_another_process_and_a_removed_one_none() -> None:
    async with stdio_bench(raw()) as bench:
        first = int(text_of(await execute(bench, "pid")))
        bench.catalogue["raw"] = raw(env={"MODE": "other"})
        second = int(text_of(await execute(bench, "pid")))
        assert second != first
        await gone(first)
        bench.catalogue["raw"] = raw(env={"MODE": "other"}, stateless=False, owner=bench.catalogue["raw"].owner)
        assert int(text_of(await execute(bench, "pid"))) == second
        del bench.catalogue["raw"]
        with pytest.raises(UnknownServer):
            await execute(bench, "pid")
        await gone(second)


def test_a_server_inherits_what_the_sdks_client_hands_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOGNAME", "() { :; }; echo")
    monkeypatch.setenv("BROKER_SLACK_BOT_TOKEN", "xoxb-1")
    monkeypatch.delenv("TERM", raising=False)
    assert inherited() == get_default_environment()
    assert not {"LOGNAME", "BROKER_SLACK_BOT_TOKEN"} & set(inherited())

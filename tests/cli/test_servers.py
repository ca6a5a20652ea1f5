"""`broker servers` as an operator uses it: on a policy folder, a real store and a server that changes."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import anyio
import pytest

from broker.cli.main import main
from tests.conftest import empty
from tests.fakes.stdio_bench import ROOT

SERVER = """
import json, pathlib, sys
tools = json.loads(pathlib.Path(sys.argv[1]).read_text())
for line in sys.stdin:
    asked = json.loads(line)
    hello = {"protocolVersion": "2025-11-25", "capabilities": {"tools": {}}, "serverInfo": {"name": "toy", "version": "1"}}
    results = {"initialize": hello, "tools/list": {"tools": tools}}
    if "id" in asked:
        told = results.get(asked["method"])
        answer = {"error": {"code": -32601, "message": "no"}} if told is None else {"result": told}
        print(json.dumps({"jsonrpc": "2.0", "id": asked["id"], **answer}), flush=True)
"""


class Files:
    """The policy folder, and the tools that its server offers."""

    def __init__(self, folder: Path) -> None:
        self.tools = folder / "tools.json"
        policies = folder / "policies"
        policies.mkdir()
        (folder / "server.py").write_text(SERVER)
        (policies / "rules.yaml").write_text("defaults: {unmatched: deny}\nrules: []\n")
        (policies / "servers.yaml").write_text(
            f"servers:\n  toy:\n    command: [{sys.executable}, {folder}/server.py, {self.tools}]\n    cwd: {ROOT}\n"
            "    owner: {team: toys, contact: 'slack:#toys'}\n    tools: {read: {read_only: true}}\n"
            "  away: {url: 'http://127.0.0.1:9/mcp', headers: {Authorization: 'env:AWAY_TOKEN'}}\n"
        )
        self.policies = policies

    def offer(self, **descriptions: str) -> None:
        tools = ", ".join(f'{{"name": "{name}", "description": "{text}"}}' for name, text in descriptions.items())
        self.tools.write_text(f"[{tools}]")


@pytest.fixture
def files(tmp_path: Path, embedded_store: str, monkeypatch: pytest.MonkeyPatch) -> Files:
    anyio.run(empty, embedded_store)
    made = Files(tmp_path)
    made.offer(read="Reads.", write="Writes.")
    monkeypatch.setenv("BROKER_POLICIES", str(made.policies))
    monkeypatch.setenv("BROKER_REDIS_URL", embedded_store)
    monkeypatch.setenv("BROKER_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("AWAY_TOKEN", "secret-token")
    return made


def test_servers_are_listed_and_shown_without_their_secrets(files: Files, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["servers", "ls"]) == 0
    assert main(["servers", "show", "away"]) == 0
    told = capsys.readouterr().out
    assert "away  http://127.0.0.1:9/mcp  owner nobody, untrusted  0 listed, 0 pinned\n" in told
    assert "owner toys, untrusted  1 listed, 0 pinned\n" in told
    assert "its own credentials: Authorization\n" in told
    assert "secret-token" not in told


def test_tools_are_accepted_and_a_change_is_shown_until_it_is_accepted_too(
    files: Files, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["servers", "probe", "toy"]) == 0
    assert "  write: new: nobody has accepted it\n" in capsys.readouterr().out
    assert main(["servers", "pin", "toy", "write"]) == 2  # nobody is asked, and nothing is accepted
    assert "say --yes" in capsys.readouterr().err
    assert main(["servers", "pin", "toy", "write", "--yes"]) == 0
    assert main(["servers", "probe", "toy"]) == 0
    assert "  write: unchanged since it was accepted by os:" in capsys.readouterr().out
    files.offer(read="Reads.", write="Writes, and deletes the rest.")
    assert main(["servers", "probe", "toy"]) == 1
    assert "    description: Writes. → Writes, and deletes the rest.\n" in capsys.readouterr().out
    assert main(["servers", "pin", "toy", "--yes"]) == 0
    assert "2 pinned" in capsys.readouterr().out
    assert main(["servers", "pin", "toy", "--yes"]) == 0
    assert "nothing to accept" in capsys.readouterr().out
    files.offer(read="Reads.")
    assert main(["servers", "probe", "toy"]) == 1
    assert "  write: GONE, it was accepted by os:" in capsys.readouterr().out
    assert main(["servers", "pin", "toy", "write", "--drop", "--yes"]) == 0
    assert main(["servers", "show", "toy"]) == 0
    told = capsys.readouterr().out
    assert "  read: read only yes, accepted by os:" in told
    assert "write:" not in told


def test_what_was_accepted_stands_in_the_audit(files: Files, capsys: pytest.CaptureFixture[str]) -> None:
    main(["servers", "pin", "toy", "read", "--yes"])
    capsys.readouterr()
    assert main(["audit", "tail"]) == 0
    assert "tool.pinned" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("typed", "status", "told"),
    [
        (["probe"], 2, "away: the server away can't be reached"),
        (["probe", "nobody"], 2, "there is no server `nobody` that gets calls: away, toy"),
        (["pin", "toy", "missing", "--yes"], 2, "toy offers no tool missing"),
        (["pin", "away", "--yes"], 2, "can't be reached"),
        (["pin", "toy", "read", "--drop", "--yes"], 2, "toy has no pinned tool read"),
    ],
)
def test_what_cannot_be_done_is_said_with_status_2(
    files: Files, capsys: pytest.CaptureFixture[str], typed: list[str], status: int, told: str
) -> None:
    assert main(["servers", *typed]) == status
    out = capsys.readouterr()
    assert told in out.out + out.err


def test_a_diff_says_whom_edited_files_let_in_before_they_are_saved(
    files: Files, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (files.policies / "people.yaml").write_text("people: {}\ngroups: {toys: [ann@example.com], guests: [eve@example.com]}\n")
    (files.policies / "rules.yaml").write_text("defaults: {unmatched: allow}\nrules: []\n")
    new, servers = tmp_path / "new", (files.policies / "servers.yaml").read_text()
    shutil.copytree(files.policies, new)
    (files.policies / "servers.yaml").write_text(servers.replace("tools: {read", "groups: {toys: ['*']}\n    tools: {read"))

    def diff(groups: str, *words: str) -> tuple[int, list[str]]:
        (new / "servers.yaml").write_text(servers.replace("tools: {read", f"groups: {groups}\n    tools: {{read"))
        status = main(["servers", "diff", str(new), *words])
        return status, capsys.readouterr().out.splitlines()

    assert diff("{toys: ['*']}", "--no-new-access") == (0, ["nobody gains or loses access to any server"])
    wider = [
        "toy: this widens access by guests and 1 person of people.yaml",
        "  + group guests: read deny -> allow",
        "  + eve@example.com: read deny -> allow",
    ]
    assert diff("{toys: ['*'], guests: ['*']}") == (0, wider)
    assert diff("{toys: ['*'], guests: ['*']}", "--no-new-access") == (1, wider)
    assert diff("{}", "--no-new-access")[0] == 0

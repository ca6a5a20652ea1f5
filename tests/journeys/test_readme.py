"""The README's five minutes, walked: its files, its commands and its client, against the toy server that it names."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest

from broker.cli.main import main
from broker.demo.payments import refunds

README = (Path(__file__).parents[2] / "README.md").read_text()
WITHIN = 30.0
Say = Callable[..., str]


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


@contextmanager
def started(*args: str, at: Path) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen([sys.executable, *args], cwd=at, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        yield process
    finally:
        process.terminate()
        process.communicate(timeout=WITHIN)


def wait_for(come: Callable[[], bool], what: str) -> None:
    """Wait for something of another process."""
    end = time.monotonic() + WITHIN
    while not come():
        assert time.monotonic() < end, f"{what} did not come"
        time.sleep(0.1)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str]) -> Say:
    """Type a command; returns what it printed."""

    def typed(*words: str) -> str:
        assert main(words) == 0, capsys.readouterr()
        return capsys.readouterr().out

    return typed


@pytest.fixture
def url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The broker and the toy server, started as the README says, with the README's files; only the ports are free ones."""
    toy = free_port()
    for block in blocks("yaml"):
        path = tmp_path / block.splitlines()[0].removeprefix("# ")
        path.parent.mkdir(exist_ok=True)
        path.write_text(block.replace("127.0.0.1:9001", f"127.0.0.1:{toy}"))
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("BROKER_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("BROKER_POLICIES", "rules")
    monkeypatch.setenv("BROKER_DATA", str(tmp_path / "data"))
    address = tmp_path / "address"
    with (
        started("-m", "broker.demo.toys", "payments", "--port", str(toy), at=tmp_path),
        started("-m", "broker", "serve", "--port", "0", "--announce", str(address), at=tmp_path),
    ):
        wait_for(address.exists, "the broker")
        wait_for(lambda: answers(toy), "the toy server")
        yield address.read_text().strip()


def test_the_five_minutes_of_the_readme_end_with_one_refund(
    url: str, say: Say, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = say("agents", "add", "my-agent", "--owner", "sam@example.com", "--servers", "payments").split()[0]
    client = tmp_path / "client.py"
    client.write_text(next(block for block in blocks("python") if "call_tool" in block).replace("http://127.0.0.1:8450", url))
    link = say("people", "link", "fay@example.com").split()[0]
    monkeypatch.setenv("BROKER_URL", url)
    monkeypatch.setenv("BROKER_TOKEN", say("people", "token", "fay@example.com").split()[0])
    monkeypatch.setenv("TOKEN", token)
    with subprocess.Popen([sys.executable, str(client)], stdout=subprocess.PIPE, text=True) as agent:
        wait_for(lambda: "Refund 900 EUR to acme" in say("requests", "ls"), "the request")
        request = re.findall(r"apr_\w+", say("requests", "ls"))[0]
        with httpx2.Client(base_url=url, follow_redirects=True) as browser:
            browser.post("/sign-in", data={"code": link}).raise_for_status()
            assert "Refund 900 EUR to acme" in browser.get(f"/r/{request}").text
        assert "broken lamps" in say("requests", "show", request)
        say("requests", "approve", request, "--reason", "the photos are clear", "--yes")
        answer, _ = agent.communicate(timeout=WITHIN)
    assert "'approval-broker/code': 'released'" in answer
    assert refunds(tmp_path / "toys/ledger.db") == [
        {"customer": "acme", "amount": 900.0, "currency": "EUR", "reason": "broken lamps"}
    ]
    assert "request.finished" in say("audit", "tail")
    assert "seals hold" in say("audit", "verify")

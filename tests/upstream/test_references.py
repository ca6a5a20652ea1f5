"""What stands for a secret in the catalogue, and how it is looked up."""

from __future__ import annotations

import asyncio
import shlex
import sys
from pathlib import Path

import pytest

from broker.domain.servers import Server
from broker.errors import ConfigInvalid, UpstreamUntouched
from broker.upstream.references import asked, resolved
from broker.upstream.targets import Directory


def prints(code: str) -> str:
    return "command:" + shlex.join([sys.executable, "-c", code])


def test_a_scheme_may_stand_before_a_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKEN", "t")
    told = resolved({"a": "Bearer env:TOKEN", "b": "env:TOKEN", "c": "environment:TOKEN"})
    assert (told.values, told.secrets) == ({"a": "Bearer t", "b": "t", "c": "environment:TOKEN"}, ("Bearer t", "t"))


def test_the_line_end_behind_a_secret_is_no_part_of_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TOKEN", "t\n")
    (tmp_path / "token").write_text("t\n")
    told = resolved({"a": "Bearer env:TOKEN", "b": f"Bearer file:{tmp_path}/token"})
    assert told.values == {"a": "Bearer t", "b": "Bearer t"}


def test_a_header_of_more_than_one_line_is_named_and_not_shown(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("secret\nsecond")
    server = Server("tools", url="https://x.example/mcp", headers={"X-Key": f"file:{tmp_path}/token"})
    with pytest.raises(UpstreamUntouched, match="x-key refers to more than one line of text") as refused:
        Directory(lambda _: server).target("tools")
    assert "secret" not in refused.value.message


async def test_a_command_sees_nothing_of_the_brokers_own_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BROKER_ENCRYPTION_KEYS", "k")
    monkeypatch.setenv("VAULT_ADDR", "v")
    code = "import os; print(os.environ.get('BROKER_ENCRYPTION_KEYS', 'none'), os.environ['VAULT_ADDR'])"
    assert (await asked({"A": prints(code)})).values == {"A": "none v"}


async def test_a_command_that_hangs_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("broker.upstream.references.WITHIN", 0.1)
    with pytest.raises(ConfigInvalid, match="did not end within"):
        await asked({"A": prints("import time; time.sleep(60)")})


async def test_a_command_whose_child_holds_the_pipe_is_ended_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("broker.upstream.references.WITHIN", 0.5)
    child = "import time; time.sleep(60)"
    with pytest.raises(ConfigInvalid, match="did not end within"):
        async with asyncio.timeout(10):
            await asked({"A": prints(f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])")})


async def test_a_command_that_prints_without_end_is_not_read_without_end() -> None:
    with pytest.raises(ConfigInvalid, match="did not print one line"):
        async with asyncio.timeout(9):  # sooner than a command that hangs is ended
            await asked({"A": prints("while True: print('x' * 9999)")})


def test_a_secret_that_is_empty_is_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TOKEN", " ")
    (tmp_path / "token").write_text("\n")
    for value, told in (("Bearer env:TOKEN", "env:TOKEN"), (f"file:{tmp_path}/token", f"file:{tmp_path}/token")):
        with pytest.raises(ConfigInvalid, match=f"refers to {told}, which is empty"):
            resolved({"authorization": value})

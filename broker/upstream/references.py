"""Values of the catalogue that stand for secrets: `env:NAME`, `file:PATH` and `command:PROGRAM ARGUMENT…`, which asks a secret
store's client. `Bearer ` or `Basic ` may stand before. Anything else is the value itself.
"""

from __future__ import annotations

import asyncio
import os
import re
import shlex
import signal
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from broker.errors import ConfigInvalid

_REFERENCE = re.compile(r"((?i:bearer|basic) +)?(env|file|command):(.*)", re.DOTALL)
# Seconds that a command gets, and the bytes it may say.
WITHIN = 10.0
LONGEST = 64 << 10


class Resolved(msgspec.Struct, frozen=True):
    """`values` as an upstream gets them; `secrets` are those that must never be shown."""

    values: dict[str, str]
    secrets: tuple[str, ...]


def is_reference(value: str) -> bool:
    return _REFERENCE.fullmatch(value) is not None


def is_command(value: str) -> bool:
    """Does it have to be asked for, which takes its time?"""
    told = _REFERENCE.fullmatch(value)
    return told is not None and told[2] == "command"


def resolved(values: Mapping[str, str]) -> Resolved:
    """Return the values with every reference looked up now, so that a changed secret is used from the next start on.

    Raises `ConfigInvalid` when one can't be read, or is a command; the message names the reference, never what it holds.
    """
    found = {name: _looked_up(name, value) for name, value in values.items()}
    return Resolved(found, _secrets(values, found))


async def asked(values: Mapping[str, str]) -> Resolved:
    """As `resolved`, commands included."""
    found = {name: await said(name, value) for name, value in values.items()}
    return Resolved(found, _secrets(values, found))


async def said(name: str, value: str) -> str:
    """Return what one value stands for, commands included. Raises `ConfigInvalid`."""
    told = _REFERENCE.fullmatch(value)
    if told is None or told[2] != "command":
        return _looked_up(name, value)
    return (told[1] or "") + await _output(name, told[3])


def _secrets(values: Mapping[str, str], found: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(found[name] for name, value in values.items() if is_reference(value))


def _looked_up(name: str, value: str) -> str:
    told = _REFERENCE.fullmatch(value)
    if told is None:
        return value
    before, kind, where = told[1] or "", told[2], told[3]
    if kind == "command":
        raise ConfigInvalid(f"{name} refers to a command, which can't be asked here", name=name)
    found = _variable(name, where) if kind == "env" else _content(name, where)
    if not found.strip():
        raise ConfigInvalid(f"{name} refers to {kind}:{where}, which is empty", name=name)
    return before + found


def _variable(name: str, variable: str) -> str:
    if variable not in os.environ:
        raise ConfigInvalid(f"{name} refers to the variable {variable}, which is not set", name=name)
    return os.environ[variable].rstrip("\r\n")


def _content(name: str, path: str) -> str:
    try:
        return Path(path).expanduser().read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigInvalid(f"{name} refers to {path}, which can't be read: {type(error).__name__}", name=name) from None


async def _output(name: str, command: str) -> str:
    """Run a secret store's client, without a shell and without the broker's own settings, and return what it prints."""
    process = await _begun(name, command)
    assert process.stdout is not None
    try:
        async with asyncio.timeout(WITHIN):
            told = await _at_most(process.stdout, LONGEST + 1)
            status = await process.wait() if len(told) <= LONGEST else 0
    except TimeoutError:
        raise ConfigInvalid(f"{name} refers to a command that did not end within {WITHIN:.0f} s", name=name) from None
    finally:
        await _ended(process)
    if status != 0:
        raise ConfigInvalid(f"{name} refers to a command that ended with exit status {status}", name=name)
    return _one_line(name, told)


async def _begun(name: str, command: str) -> Process:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("BROKER_")}
    try:
        words = shlex.split(command)
        return await asyncio.create_subprocess_exec(
            *words, stdin=DEVNULL, stdout=PIPE, stderr=DEVNULL, env=environment, start_new_session=True
        )
    except (OSError, ValueError, TypeError) as error:
        raise ConfigInvalid(f"{name} refers to a command that can't be run: {type(error).__name__}", name=name) from None


async def _at_most(stream: asyncio.StreamReader, count: int) -> bytes:
    try:
        return await stream.readexactly(count)
    except asyncio.IncompleteReadError as error:
        return error.partial


async def _ended(process: Process) -> None:
    """End what still runs or could still print, with all that it started: a child that holds the pipe would keep us waiting."""
    if process.stdout is not None and not (process.stdout.at_eof() and process.returncode is not None):
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
    # One that left the group may hold the pipe for ever, and asyncio has no public way to close it.
    transport: Any = getattr(process, "_transport", None)
    if transport is not None:
        transport.close()
    await process.wait()


def _one_line(name: str, told: bytes) -> str:
    try:
        secret = told.decode().strip()
    except UnicodeDecodeError:
        secret = ""
    if not secret or len(told) > LONGEST or not secret.isprintable():
        raise ConfigInvalid(f"{name} refers to a command that did not print one line of text", name=name)
    return secret

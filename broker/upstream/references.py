"""Values of the catalogue that stand for secrets: `env:NAME`, `file:PATH` and `command:PROGRAM ARGUMENT…`, which asks a secret
store's client. `Bearer ` or `Basic ` may stand before. Anything else is the value itself.
"""

from __future__ import annotations

import asyncio
import os
import re
import shlex
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import Mapping
from pathlib import Path

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
    if kind == "env":
        if where not in os.environ:
            raise ConfigInvalid(f"{name} refers to the variable {where}, which is not set", name=name)
        return before + os.environ[where]
    if kind == "command":
        raise ConfigInvalid(f"{name} refers to a command, which can't be asked here", name=name)
    try:
        return before + Path(where).expanduser().read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigInvalid(f"{name} refers to {where}, which can't be read: {type(error).__name__}", name=name) from None


async def _output(name: str, command: str) -> str:
    """Run a secret store's client, without a shell and without the broker's own settings, and return what it prints."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("BROKER_")}
    try:
        words = shlex.split(command)
        process = await asyncio.create_subprocess_exec(*words, stdin=DEVNULL, stdout=PIPE, stderr=DEVNULL, env=environment)
    except (OSError, ValueError, TypeError) as error:
        raise ConfigInvalid(f"{name} refers to a command that can't be run: {type(error).__name__}", name=name) from None
    try:
        async with asyncio.timeout(WITHIN):
            told, _ = await process.communicate()
    except TimeoutError:
        raise ConfigInvalid(f"{name} refers to a command that did not end within {WITHIN:.0f} s", name=name) from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode != 0:
        raise ConfigInvalid(f"{name} refers to a command that ended with exit status {process.returncode}", name=name)
    return _one_line(name, told)


def _one_line(name: str, told: bytes) -> str:
    try:
        secret = told.decode().strip()
    except UnicodeDecodeError:
        secret = ""
    if not secret or len(told) > LONGEST or not secret.isprintable():
        raise ConfigInvalid(f"{name} refers to a command that did not print one line of text", name=name)
    return secret

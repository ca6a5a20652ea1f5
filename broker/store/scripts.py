"""The Lua scripts beside this file, with the hash by which a server knows them."""

from __future__ import annotations

import hashlib
from importlib import resources
from importlib.resources.abc import Traversable
from typing import NamedTuple


class Script(NamedTuple):
    text: str
    sha: str


def load(name: str) -> Script:
    """Return the script `name.lua` of this package."""
    return _read(resources.files(__package__).joinpath(f"{name}.lua"))


def every() -> list[Script]:
    """Return all scripts of this package."""
    return [_read(file) for file in resources.files(__package__).iterdir() if file.name.endswith(".lua")]


def _read(file: Traversable) -> Script:
    text = file.read_text("utf-8")
    return Script(text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())

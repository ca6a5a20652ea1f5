"""The Lua scripts beside this file, with the hash by which a server knows them."""

from __future__ import annotations

import hashlib
from importlib import resources
from typing import NamedTuple


class Script(NamedTuple):
    text: str
    sha: str


def load(name: str) -> Script:
    """Return the script `name.lua` of this package."""
    text = resources.files(__package__).joinpath(f"{name}.lua").read_text("utf-8")
    return Script(text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())

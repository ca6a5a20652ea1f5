"""Templates into pages. Everything is escaped; a name that a template misspells is an error."""

from __future__ import annotations

import hashlib
from functools import cache, partial
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from broker.channels.web import times
from broker.channels.web.arguments import pieces


class Pages:
    """The templates under `folder`/web and the files under `folder`/static."""

    def __init__(self, folder: Path) -> None:
        self.static = folder / "static"
        self._environment = _environment(folder)

    def render(self, template: str, **values: Any) -> str:
        return self._environment.get_template(template).render(values)


@cache
def _environment(folder: Path) -> Environment:
    """One for each folder: a template is compiled once."""
    made = Environment(
        loader=FileSystemLoader(folder / "web"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    made.globals["static"] = cache(partial(_static, folder / "static"))
    made.filters.update(ago=times.ago, left=times.left, month=times.month, stamp=times.stamp, spell=times.spell, pieces=pieces)
    return made


def _static(folder: Path, name: str) -> str:
    """Return the address of a static file, with the head of its hash: it may be cached for ever."""
    digest = hashlib.sha256((folder / name).read_bytes()).hexdigest()
    return f"/static/{name}?v={digest[:12]}"

"""Groups that are asked and that nobody defines: found in the files as read, so that no other mistake hides them."""

from __future__ import annotations

from collections.abc import Iterator

from broker.policy.build import Files, written
from broker.policy.findings import Finding, Level, at
from broker.policy.shapes import Read
from broker.policy.sheet import likely


def unknown_groups(files: Files) -> Iterator[Finding]:
    """Return a finding at each name of an approval that no `groups` holds. Groups of wrong entries count as defined."""
    known = written(files, "groups")
    for sheet, read in files:
        for need in _named(read):
            name, place = need.get("group"), need.at("group")
            if name is not None and name not in known:
                where, mend = f"{sheet.document.file}:{place.line}", likely(name, known) or "define it under `groups`"
                yield at("no-such-group", Level.ERROR, where, f"there is no group `{name}`", mend, column=place.column)


def _named(read: Read) -> Iterator[Read]:
    defaults = read.get("defaults")
    for holder in (*((defaults,) if defaults is not None else ()), *read.get("rules", ())):
        own = holder.get("approval")
        if own is not None:
            yield from own.get("all_of", ())
            for step in own.get("escalate", ()):
                yield from step.get("to", ())

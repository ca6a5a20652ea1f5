"""The reference tables of the README, made from the code: `make reference` writes them.

They stand between `<!-- settings -->` and `<!-- /settings -->`, and so on; a house test compares.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

from broker.cli.main import parser


def settings_table() -> str:
    """Return the settings as a Markdown table: key in `broker.yaml`, variable, default, meaning."""
    from broker.settings import Settings  # noqa: PLC0415 - the command line starts without pydantic

    rows = [
        f"| `{name}` | `BROKER_{name.upper()}` | {_default(field.default)} | {field.description} |"
        for name, field in Settings.model_fields.items()
    ]
    return "\n".join(["| in `broker.yaml` | variable | default | what it sets |", "|---|---|---|---|", *rows])


def commands_table() -> str:
    """Return the commands as a Markdown table: what is typed, and what it does."""
    rows = [f"| `{line}` | {told} |" for line, told in _leaves(parser(), "broker")]
    return "\n".join(["| command | what it does |", "|---|---|", *rows])


def _default(value: Any) -> str:
    match value:
        case None | "":
            return ""
        case timedelta():
            return f"{_seconds(value)}"
        case Path() | str():
            return f"`{value}`"
        case _:
            return str(value)


def _seconds(value: timedelta) -> str:
    seconds = int(value.total_seconds())
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds and seconds % size == 0:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"


def _leaves(tree: argparse.ArgumentParser, typed: str) -> Iterator[tuple[str, str]]:
    groups = [action for action in tree._actions if isinstance(action, argparse._SubParsersAction)]
    if not groups:
        yield typed, tree.description or ""
    for group in groups:
        told = {choice.dest: choice.help or "" for choice in group._choices_actions}
        for verb, below in group.choices.items():
            for line, text in _leaves(below, f"{typed} {verb}"):
                yield line, text or told.get(verb, "")


def written(text: str) -> str:
    """Return a document with its marked parts made anew."""
    for mark, table in (("settings", settings_table()), ("commands", commands_table())):
        before, after = f"<!-- {mark} -->", f"<!-- /{mark} -->"
        head, rest = text.split(before, 1)
        text = f"{head}{before}\n{table}\n{after}{rest.split(after, 1)[1]}"
    return text


if __name__ == "__main__":
    readme = Path("README.md")
    readme.write_text(written(readme.read_text()))

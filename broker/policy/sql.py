"""`sql_kinds`: which kinds of statement a text of SQL holds, nested ones too."""

from __future__ import annotations


def sql_kinds(sql: str) -> list[str]:
    raise ValueError("this SQL can't be read")

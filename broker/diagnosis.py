"""What a check of an installation comes to: how bad, about what, what was found, and what mends it."""

from __future__ import annotations

from enum import StrEnum

import msgspec


class Level(StrEnum):
    FINE = "fine"
    WARNING = "warning"
    WRONG = "wrong"


class Finding(msgspec.Struct, frozen=True):
    """`about` names the part, `told` what was found, `mend` what to do about it."""

    level: Level
    about: str
    told: str
    mend: str = ""

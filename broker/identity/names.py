"""What may be the name of a person. One that looks like another's would be a second identity: a way to approve one's own call."""

from __future__ import annotations

LONGEST = 320  # an e-mail address (RFC 5321)


def is_plain(name: str) -> bool:
    """Is it a name, and all of it to be seen?"""
    return 0 < len(name) <= LONGEST and name.isprintable()

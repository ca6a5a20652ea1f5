"""What a secret looks like: well-known shapes inside text, and names of members that hold one.

Shapes are those that their issuers publish (GitHub, GitLab, Slack, Stripe, AWS, Google, OpenAI, Anthropic, npm, PyPI ...),
JSON Web Tokens (RFC 7519), private keys (RFC 7468), credentials in URLs (RFC 3986) and in `Authorization` (RFC 9110).
Every quantifier is bounded or runs over characters that the next one excludes, so a scan is linear in the text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple


class Span(NamedTuple):
    """`text[start:end]` looks like a secret: `what` says which kind."""

    start: int
    end: int
    what: str


# Group `s` is what is covered, where the shape needs its surroundings to be known. A private key's body is limited to
# its own alphabet: nothing else may be hidden behind a forged header.
_SHAPES: tuple[tuple[str, str], ...] = (
    ("private key", r"-----BEGIN [A-Z ]{0,40}PRIVATE KEY-----(?P<s>[A-Za-z0-9+/=\s]{16,})"),
    ("JSON Web Token", r"\beyJ[\w-]{6,}\.[\w-]{6,}\.[\w-]*"),
    ("AWS access key", r"\b(?:AKIA|ASIA|ABIA|ACCA)[A-Z0-9]{16}\b"),
    ("GitHub token", r"\b(?:gh[pousr]_\w{30,255}|github_pat_\w{22,255})"),
    ("GitLab token", r"\bgl(?:pat|dt|rt|cbt|ptt|soat)-[\w-]{20,}"),
    ("Slack token", r"\bxox[a-z](?:\.[a-z]+)?-[A-Za-z0-9-]{10,}|\bxapp-[A-Za-z0-9-]{10,}"),
    ("Slack webhook", r"\bhooks\.slack\.com/(?P<s>(?:services|workflows|triggers)/[\w/-]{16,})"),
    ("Stripe key", r"\b(?:[sr]k_(?:live|test)|whsec)_\w{16,}"),
    ("API key", r"\bsk-[\w-]{20,}"),
    ("Google key", r"\b(?:AIza[\w-]{35}|ya29\.[\w-]{20,}|GOCSPX-[\w-]{20,})"),
    ("registry token", r"\b(?:npm_\w{30,}|pypi-[\w-]{16,}|dckr_pat_[\w-]{20,}|rubygems_\w{40,})"),
    (
        "service token",
        r"\b(?:hf_\w{30,}|dop_v1_\w{40,}|shp(?:at|ca|pa|ss)_\w{30,}|hv[sb]\.[\w-]{20,}|SG\.[\w-]{16,}\.[\w-]{16,})",
    ),
    ("age key", r"\bAGE-SECRET-KEY-1[A-Z0-9]{50,}"),
    ("storage key", r"\b(?:AccountKey|SharedAccessKey)=(?P<s>[A-Za-z0-9+/=]{30,})"),
    ("password in a URL", r"://[^\s/:@?#]{0,128}:(?P<s>[^\s/@?#]{1,256})@"),
    ("authorization", r"(?i:\b(?:bearer|basic|token)[ ]{1,4})(?P<s>[A-Za-z0-9._~+/-]{20,}={0,2})"),
    (
        "assigned secret",
        r"""(?i:(?:pass(?:word|wd|phrase)|pwd|secret|api[_-]?key|(?:access|auth|refresh)[_-]?token|private[_-]?key)"""
        r"""["']?\s{0,4}[=:]\s{0,4}["']?)(?P<s>[A-Za-z0-9+/=_.~!@#%^*-]{6,})""",
    ),
    (
        "card number",
        r"(?<![\w.-])[3-6]\d{3}(?:[ -]?\d{4}){2}[ -]?\d{3,4}(?![\w.-])|(?<![\w.-])3[47]\d{2}[ -]?\d{6}[ -]?\d{5}(?![\w.-])",
    ),
)

_ANY = re.compile("|".join(f"(?:{pattern.replace('?P<s>', '')})" for _, pattern in _SHAPES))
_EACH = tuple((what, re.compile(pattern)) for what, pattern in _SHAPES)


def spans(text: str) -> tuple[Span, ...]:
    """Return the parts of `text` that look like secrets, in order and without overlap."""
    if len(text) < 6 or _ANY.search(text) is None:
        return ()
    found = sorted(
        (span for what, shape in _EACH for span in _matches(what, shape, text)), key=lambda span: (span.start, -span.end)
    )
    apart: list[Span] = []
    for span in found:
        if not apart or span.start >= apart[-1].end:
            apart.append(span)
        elif span.end > apart[-1].end:
            apart[-1] = apart[-1]._replace(end=span.end)
    return tuple(apart)


def _matches(what: str, shape: re.Pattern[str], text: str) -> Iterator[Span]:
    group = "s" if "s" in shape.groupindex else 0
    for match in shape.finditer(text):
        if what != "card number" or _luhn(match.group()):
            yield Span(*match.span(group), what)


def _luhn(text: str) -> bool:
    """ISO/IEC 7812-1: the check digit that every payment card carries."""
    digits = [int(char) for char in reversed(text) if char.isdigit()]
    return sum(digit if place % 2 == 0 else sum(divmod(2 * digit, 10)) for place, digit in enumerate(digits)) % 10 == 0


_LAST = frozenset(
    (
        *("password", "passwd", "passphrase", "passcode", "pwd", "secret", "secrets", "credential", "credentials"),
        *("authorization", "cookie", "cookies", "cvv", "cvc", "otp"),
    )
)
_PAIRS = frozenset(("api", "access", "private", "secret", "signing", "encryption", "auth", "account", "service", "master", "ssh"))
_TOKENS = frozenset(("access", "refresh", "auth", "bearer", "session", "id", "api", "client", "bot", "user", "app", "secret"))
_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")


@lru_cache(maxsize=4_096)
def names_a_secret(name: str) -> bool:
    """Does a member called `name` hold a secret? `apiKey`, `DB_PASSWORD`, `token`; not `max_tokens`, `page_token`."""
    words = [word.lower() for word in _WORDS.findall(name[:128])]
    if not words:
        return False
    last, before = words[-1], words[-2] if len(words) > 1 else ""
    if last in _LAST or "".join(words) in ("apikey", "authkey", "privatekey", "accesstoken", "authtoken"):
        return True
    if last == "token":
        return not before or before in _TOKENS
    return last in ("key", "keys") and before in _PAIRS

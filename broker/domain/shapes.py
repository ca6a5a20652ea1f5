"""What a secret looks like: well-known shapes inside text, and names of members that hold one.

Shapes are those that their issuers publish (GitHub, GitLab, Slack, Stripe, AWS, Google, OpenAI, Anthropic, npm, PyPI ...),
JSON Web Tokens (RFC 7519), private keys (RFC 7468), credentials in URLs (RFC 3986) and in `Authorization` (RFC 9110).
Every quantifier is bounded or runs over characters that the next one excludes, so a scan is linear in the text.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from functools import lru_cache
from itertools import chain, islice
from typing import NamedTuple

# No text below so many characters looks like a secret, and no whole number outside these limits.
SHORTEST = 6
_CARDS = (10**12, 10**19)


def harmless(value: object) -> bool:
    """Can a value that stands by itself be no secret by its shape, however many there are? Said without looking into it."""
    kind = type(value)
    if kind is list or kind is dict:
        return False
    if kind is str:
        return len(value) < SHORTEST  # type: ignore[arg-type]  # its kind says so
    return value is None or kind is float or kind is bool or (kind is int and not _CARDS[0] < value < _CARDS[1])  # type: ignore[operator]


# More of them are not told apart in one document.
MOST_SPANS = 4_000


class CrowdedError(Exception):
    """There are more secrets than anybody looks through."""


class Span(NamedTuple):
    """`text[start:end]` looks like a secret: `what` says which kind."""

    start: int
    end: int
    what: str


class Shape(NamedTuple):
    """`pattern`: group `s` is what is covered, where the shape needs its surroundings to be known.

    One of `hints` (lower case) is in every text that holds the shape: most texts are done with by looking for them.
    """

    what: str
    hints: tuple[str, ...]
    pattern: re.Pattern[str]


def _shape(what: str, hints: str, pattern: str) -> Shape:
    return Shape(what, tuple(hints.split()), re.compile(pattern))


# A private key's body is limited to its own alphabet: nothing else may be hidden behind a forged header. Inside JSON
# its line ends are written out.
_SHAPES = (
    _shape(
        "private key", "-----begin", r"-----BEGIN [A-Z ]{0,40}PRIVATE KEY(?: BLOCK)?-----(?P<s>(?:[A-Za-z0-9+/=\s]|\\[nr]){16,})"
    ),
    _shape("broker's own token", "broker-", r"\bbroker-[a-z]{4,10}-[\w-]{43}"),
    _shape("JSON Web Token", "eyj", r"\beyJ[\w-]{6,}\.[\w-]{6,}\.[\w-]*"),
    _shape("AWS access key", "akia asia abia acca", r"\b(?:AKIA|ASIA|ABIA|ACCA)[A-Z0-9]{16}\b"),
    _shape("GitHub token", "gh _pat_", r"\b(?:gh[pousr]_\w{30,255}|github_pat_\w{22,255})"),
    _shape("GitLab token", "gl", r"\bgl(?:pat|dt|rt|cbt|ptt|soat)-[\w-]{20,}"),
    _shape("Slack token", "xox xapp-", r"\bxox[a-z](?:\.[a-z]+)?-[A-Za-z0-9-]{10,}|\bxapp-[A-Za-z0-9-]{10,}"),
    _shape("Slack webhook", "hooks.slack", r"\bhooks\.slack\.com/(?P<s>(?:services|workflows|triggers)/[\w/-]{16,})"),
    _shape("Stripe key", "k_live_ k_test_ whsec_", r"\b(?:[sr]k_(?:live|test)|whsec)_\w{16,}"),
    _shape("API key", "sk-", r"\bsk-[\w-]{20,}"),
    _shape("Google key", "aiza ya29. gocspx-", r"\b(?:AIza[\w-]{35}|ya29\.[\w-]{20,}|GOCSPX-[\w-]{20,})"),
    _shape(
        "registry token",
        "npm_ pypi- dckr_pat_ rubygems_",
        r"\b(?:npm_\w{30,}|pypi-[\w-]{16,}|dckr_pat_[\w-]{20,}|rubygems_\w{40,})",
    ),
    _shape(
        "service token",
        "hf_ dop_v1_ shp hvs. hvb. sg. atatt3",
        r"\b(?:hf_\w{30,}|ATATT3[\w=-]{20,}|dop_v1_\w{40,}|shp(?:at|ca|pa|ss)_\w{30,}|hv[sb]\.[\w-]{20,}|SG\.[\w-]{16,}\.[\w-]{16,})",
    ),
    _shape("age key", "age-secret-key", r"\bAGE-SECRET-KEY-1[A-Z0-9]{50,}"),
    _shape("storage key", "accountkey= accesskey=", r"\b(?:AccountKey|SharedAccessKey)=(?P<s>[A-Za-z0-9+/=]{30,})"),
    _shape("password in a URL", "://", r"://[^\s/:@?#]{0,128}:(?P<s>[^\s/@?#]{1,256})@"),
    _shape("authorization", "bearer basic token", r"(?i:\b(?:bearer|basic|token)[ ]{1,4})(?P<s>[A-Za-z0-9._~+/-]{20,}={0,2})"),
    _shape(
        "assigned secret",
        "pass pwd secret key token",
        r"""(?i:(?:pass(?:word|wd|phrase)|pwd|secret|api[_-]?key|(?:access|auth|refresh)[_-]?token|private[_-]?key)"""
        r"""["']?\s{0,4}[=:]\s{0,4}["']?)(?P<s>[A-Za-z0-9+/=_.~!@#%^*-]{6,})""",
    ),
)
# No shape has it in what it covers, nor in what it needs around: none reaches from one text into the next.
_APART = "?"
# All hints in one pass, which short texts are done with sooner; none is the beginning of another, so none hides one.
_HINTS = re.compile(f"(?=({'|'.join({re.escape(hint) for shape in _SHAPES for hint in shape.hints})}))")
_HINTED = {
    hint: tuple(place for place, shape in enumerate(_SHAPES) if hint in shape.hints)
    for hint in {*chain(*(shape.hints for shape in _SHAPES))}
}
_SHORT = 256
_CARD = re.compile(
    r"(?<![\w.-])[3-6]\d{3}(?:[ -]?\d{4}){2}[ -]?\d{3,4}(?![\w.-])|(?<![\w.-])3[47]\d{2}[ -]?\d{6}[ -]?\d{5}(?![\w.-])"
)
_DIGITS = re.compile(r"[3-6]\d{3}[ -]?\d{4}")


def spans(text: str) -> tuple[Span, ...]:
    """Return the parts of `text` that look like secrets, in order and without overlap."""
    return _merged(_found(text)) if len(text) >= SHORTEST else ()


def _merged(found: Iterable[Span]) -> tuple[Span, ...]:
    apart: list[Span] = []
    for span in sorted(found, key=lambda span: (span.start, -span.end)):
        if not apart or span.start >= apart[-1].end:
            apart.append(span)
        elif span.end > apart[-1].end:
            apart[-1] = apart[-1]._replace(end=span.end)
    return tuple(apart)


def spans_inside(document: object) -> dict[str, tuple[Span, ...]]:
    """Return the `spans` of each text, name and number in a document, empty ones too: what is not there is harmless.

    Raises `CrowdedError`.
    """
    texts: dict[str, tuple[Span, ...]] = {}
    stack = [document]
    while stack:
        item = stack.pop()
        if isinstance(item, (list, tuple)):
            stack += [one for one in item if not harmless(one)]
        elif isinstance(item, (str, int)):
            texts[str(item)] = ()
        elif isinstance(item, Mapping):
            stack += [one for one in item if not harmless(one)]
            stack += [one for one in item.values() if not harmless(one)]
    return texts | spans_of(texts)


def spans_of(texts: Collection[str]) -> dict[str, tuple[Span, ...]]:
    """Return the `spans` of each text that has any. One scan over all of them: thousands of short texts cost as one long one.

    Raises `CrowdedError`.
    """
    every = list(islice(_found(_APART.join(texts)), MOST_SPANS + 1))
    if len(every) > MOST_SPANS:
        raise CrowdedError
    found, start, held = iter(_merged(every)), 0, dict[str, list[Span]]()
    span = next(found, None)
    for text in texts if span is not None else ():
        end = start + len(text)
        while span is not None and span.end <= end:
            held.setdefault(text, []).append(Span(span.start - start, span.end - start, span.what))
            span = next(found, None)
        start = end + len(_APART)
    return {text: tuple(inside) for text, inside in held.items()}


def _found(text: str) -> Iterator[Span]:
    for shape in _possible(text.lower()):
        group = "s" if "s" in shape.pattern.groupindex else 0
        for match in shape.pattern.finditer(text):
            yield Span(*match.span(group), shape.what)
    if _DIGITS.search(text):
        for match in _CARD.finditer(text):
            if _luhn(match.group()):
                yield Span(*match.span(), "card number")


def _possible(lowered: str) -> Collection[Shape]:
    """The shapes that may be in a text, in their order."""
    if len(lowered) <= _SHORT:
        hints = set(_HINTS.findall(lowered))
        return [_SHAPES[place] for place in sorted({place for hint in hints for place in _HINTED[hint]})] if hints else ()
    return [shape for shape in _SHAPES if any(hint in lowered for hint in shape.hints)]


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
_JOINED = frozenset(("apikey", "authkey", "privatekey", "accesstoken", "authtoken"))
_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")


@lru_cache(maxsize=4_096)
def names_a_secret(name: str) -> bool:
    """Does a member called `name` hold a secret? `apiKey`, `DB_PASSWORD`, `token`; not `max_tokens`, `page_token`."""
    words = _WORDS.findall(name[:128])
    if not words:
        return False
    last, before = words[-1].lower(), words[-2].lower() if len(words) > 1 else ""
    if last in _LAST or (last[-1] in "ny" and "".join(words).lower() in _JOINED):
        return True
    if last == "token":
        return not before or before in _TOKENS
    return last in ("key", "keys") and before in _PAIRS

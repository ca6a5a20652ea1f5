"""The one choke point for everything that leaves towards people, logs and outside systems: what is covered, and how.

A rule's `redact` paths cover what the policy says. Values that look like secrets, and values under names of secrets, are
covered always. A cover tells the length and, from 8 characters on, a keyed fingerprint: equal secrets can be told equal,
while short ones can't be guessed by trying. Whatever can't be judged is covered.
"""

from __future__ import annotations

import hmac
from collections.abc import Collection, Mapping, Sequence
from enum import StrEnum
from functools import cached_property
from typing import Any

import msgspec

from broker.domain.calls import ToolCall
from broker.domain.decisions import ApprovalPlan, Reason
from broker.domain.locations import FAILURES, Location, compiled, found, step
from broker.domain.shapes import SHORTEST, CrowdedError, Span, harmless, names_a_secret, spans, spans_inside
from broker.domain.text import in_one_line, indented, leaves, without
from broker.errors import ConfigInvalid

# The gateway refuses more than 32 levels; deeper data comes from somewhere else and is covered.
DEPTH = 64
# Below this many characters a fingerprint would let anyone find the value by trying.
FINGERPRINTED = 8
# From so many secrets on a text that holds one is covered whole; from twice as many on, all of the call.
CROWDED = 1_000


class Cause(StrEnum):
    RULE = "rule"
    NAME = "name"
    SHAPE = "shape"
    FAILED = "failed"


class Masked(msgspec.Struct, frozen=True):
    """One covered place. `path` is its normalized path (RFC 9535) in `{"args": …, "rest": …}`, `text` stands there instead.

    `what` is the rule's path, the member's name or the kind of secret.
    """

    path: str
    by: Cause
    what: str
    text: str


class Field(msgspec.Struct, frozen=True):
    """One decisive field of a card or page. `label` is the operator's path, `value` agent-written text."""

    label: str
    value: str


class Shown(msgspec.Struct, frozen=True, dict=True):
    """A call as people may see it. `rest` holds the members of `params` beside name and arguments."""

    arguments: Any
    rest: dict[str, Any]
    masked: tuple[Masked, ...]
    title: str = ""
    fields: tuple[Field, ...] = ()
    reasons: tuple[Reason, ...] = ()

    @cached_property
    def written(self) -> str:
        """All of the call in JSON: the arguments, and other members of `params` where there are any."""
        return indented({"arguments": self.arguments, **self.rest} if self.rest else self.arguments)

    @property
    def secrets(self) -> tuple[Masked, ...]:
        """What no rule covers: an eligible approver may uncover each on the request page, by its `path`."""
        return tuple(item for item in self.masked if item.by in (Cause.NAME, Cause.SHAPE))

    @property
    def whole(self) -> bool:
        """Is everything shown but what a rule covers? If not, agent-chosen text is hidden, and this view can't be approved."""
        return all(item.by is Cause.RULE for item in self.masked)


def shown(
    arguments: Any, redact: Sequence[str], key: bytes, *, rest: Mapping[str, Any] | None = None, uncovered: Collection[str] = ()
) -> Shown:
    """Return a redacted copy of the arguments, and what was covered by what.

    `redact` are JSONPaths (RFC 9535) over `{"args": arguments, "rest": rest}`; a path that fails covers everything. `key` makes
    the fingerprints: at least 16 bytes, else `ConfigInvalid`. `uncovered` are paths from `Shown.secrets` to be left readable.
    """
    cover = _Cover({"args": arguments, "rest": dict(rest or {})}, redact, key, uncovered)
    document = cover.copied()
    return Shown(document["args"], document["rest"], tuple(cover.masked))


def shown_call(
    call: ToolCall, plan: ApprovalPlan, key: bytes, *, uncovered: Collection[str] = (), reasons: Sequence[Reason] = ()
) -> Shown:  # fmt: skip
    """Return everything of a call that people may see: `shown`, with the title and the decisive fields of the plan.

    `reasons` are why people are asked: rules say it in their titles, which may name arguments.
    """
    rest = {name: value for name, value in call.params.items() if name not in ("name", "arguments")}
    cover = _Cover({"args": call.arguments, "rest": rest}, plan.redact, key, uncovered)
    document = cover.copied()
    fields = tuple(Field(path, _picked(document, path)) for path in plan.show)
    masked, title = tuple(cover.masked), cover.scrubbed(plan.title)
    why = tuple(Reason(reason.rule, cover.scrubbed(reason.text), reason.where) for reason in reasons)
    return Shown(document["args"], document["rest"], masked, title, fields, why)


def covered(text: str, key: bytes) -> str:
    """Return free text (a reason, an error, a log line) with everything covered that looks like a secret."""
    return _Cover({}, (), key, ()).text(text, ())


class _Cover:
    """One walk over one document. Collects what it covers, and the covered originals for the title."""

    def __init__(self, document: dict[str, Any], redact: Sequence[str], key: bytes, uncovered: Collection[str]) -> None:
        if len(key) < 16:
            raise ConfigInvalid("the fingerprint key needs at least 16 bytes")
        self.masked: list[Masked] = []
        self._document = document
        self._key = key
        self._uncovered = frozenset(uncovered)
        self._originals: list[str] = []
        self._ruled = found(document, redact)
        self._around_ruled = {at[:-1] for at in self._ruled or ()}
        self._paths: dict[Location, str] = {(): "$"}
        self._spans: dict[str, tuple[Span, ...]] = {}
        self._secrets = 0
        self._open = "$" in self._uncovered

    def copied(self) -> dict[str, Any]:
        try:
            self._spans = {} if self._open else spans_inside(self._document)
            return {name: self._copy(value, (name,), "") for name, value in self._document.items()}
        except CrowdedError:
            return self._all_covered()

    def _all_covered(self) -> dict[str, Any]:
        """Every member is covered under one path, `$`, by which all that no rule covers can be uncovered."""
        self.masked.clear()
        self._secrets = 0
        what = f"more than {2 * CROWDED:,} values"
        rest = {self._name(name, ()): self._mask(item, (), Cause.SHAPE, what) for name, item in self._document["rest"].items()}
        return {"args": self._mask(self._document["args"], (), Cause.SHAPE, what), "rest": rest}

    def _copy(self, value: Any, at: Location, secret: str) -> Any:
        """`secret` is the nearest member's name around that names a secret, empty where none does."""
        if self._ruled != {}:
            rule = self._ruled.get(at) if self._ruled is not None else "a path that failed"
            if rule is not None and value not in ({}, []):
                return self._mask(value, at, Cause.RULE if self._ruled is not None else Cause.FAILED, rule)
        if len(at) > DEPTH:
            return self._mask(value, at, Cause.FAILED, f"more than {DEPTH} levels")
        if isinstance(value, (list, tuple)):
            return self._items(value, at, secret)
        if isinstance(value, dict) or (not isinstance(value, (str, int, float)) and isinstance(value, Mapping)):
            return self._members(value, at, secret)
        return self._scalar(value, at, secret)

    def _members(self, members: Mapping[Any, Any], at: Location, secret: str) -> dict[str, Any]:
        clean, copied = self._clean if self._calm(at) else _never, dict[str, Any]()
        for name, item in members.items():
            shown_name, around = name if clean(name) else self._name(name, at), _secret(name) or secret
            bare = not around and clean(item)
            copied[shown_name] = item if bare else self._copy(item, (*at, name), around)
        return copied

    def _items(self, items: Sequence[Any], at: Location, secret: str) -> list[Any]:
        clean = self._clean if not secret and self._calm(at) else _never
        return [item if clean(item) else self._copy(item, (*at, index), secret) for index, item in enumerate(items)]

    def _calm(self, at: Location) -> bool:
        """Does no rule reach what lies right inside? Then what does not look like a secret is done with at once."""
        return self._ruled is not None and len(at) < DEPTH and not (self._ruled and at in self._around_ruled)

    def _scalar(self, value: Any, at: Location, secret: str) -> Any:
        if value is None or isinstance(value, bool) or (self._uncovered and self._uncovers(at)):
            return value
        if secret and value != "":
            return self._mask(value, at, Cause.NAME, secret)
        if isinstance(value, str):
            return self.text(value, at)
        looks = self._looks(str(value)) if isinstance(value, int) and not harmless(value) else ()
        return self._mask(value, at, Cause.SHAPE, looks[0].what) if looks else value

    def _name(self, name: Any, at: Location) -> str:
        """A member's name can look like a secret as well: it is covered under the path of the object around."""
        name = str(name)
        bare = len(name) < SHORTEST or (self._uncovered and self._uncovers(at))
        return name if bare else self.text(name, at)

    def _uncovers(self, at: Location) -> bool:
        return self._open or self._path(at) in self._uncovered

    def text(self, text: str, at: Location) -> str:
        """Cover the parts of a text that look like secrets; all of it where there are too many for anybody to look through."""
        looks, parts, end = self._looks(text), list[str](), 0
        if not looks:
            return text
        self._paths[at] = self._path(at)
        if len(looks) + len(self.masked) > CROWDED:
            self._originals += (text[span.start : span.end] for span in looks)
            return self._mask(text, at, Cause.SHAPE, f"{len(looks):,} secrets")
        for span in looks:
            original = text[span.start : span.end]
            instead = f"[redacted {len(original)} characters{self._fingerprint(original)}]"
            self._note(original, at, Cause.SHAPE, span.what, instead)
            parts += [text[end : span.start], instead]
            end = span.end
        return "".join((*parts, text[end:]))

    def _mask(self, value: Any, at: Location, by: Cause, what: str) -> str:
        """Cover a whole value, of any kind."""
        original = value if isinstance(value, str) else in_one_line(value)
        kind = f"{len(original)} characters"
        if isinstance(value, (Mapping, list, tuple)):
            kind = f"{len(value)} members"
            self._originals += leaves(value)
        instead = f"[redacted {kind}{self._fingerprint(original)}]"
        self._note(original, at, by, what, instead)
        return instead

    def _note(self, original: str, at: Location, by: Cause, what: str, instead: str) -> None:
        self.masked.append(Masked(self._path(at), by, what, instead))
        self._originals.append(original)
        self._secrets += by is not Cause.RULE and at[:1] == ("args",)
        if self._secrets > 2 * CROWDED:
            raise CrowdedError

    def _path(self, at: Location) -> str:
        """The path, with members whose own names look like secrets covered. That of what is around is made once."""
        if (path := self._paths.get(at)) is not None:
            return path
        part, around = at[-1], self._path(at[:-1])
        self._paths.setdefault(at[:-1], around)
        return around + step("[redacted]" if isinstance(part, str) and self._looks(part) else part)

    def _clean(self, value: Any) -> bool:
        kind = type(value)
        return kind is not list and kind is not dict and (harmless(value) or (kind is str and not self._looks(value)))

    def _looks(self, text: str) -> tuple[Span, ...]:
        """What looks like a secret in a text, of the document or another."""
        known = self._spans.get(text)
        return spans(text) if known is None else known

    def _fingerprint(self, original: str) -> str:
        if len(original) < FINGERPRINTED:
            return ""
        mac = hmac.digest(self._key, original.encode("utf-8", "surrogatepass"), "sha256")
        return f", fingerprint {mac[:4].hex()}"

    def scrubbed(self, title: str) -> str:
        """Return the title without what was covered elsewhere: its template may have named it, and clipped it."""
        for original in sorted(set(self._originals), key=len, reverse=True):
            title = without(title, original)
        return self.text(title, ())


def _picked(document: dict[str, Any], path: str) -> str:
    """Return the text of a decisive field in the covered document."""
    try:
        values = compiled(path if path.startswith("$") else f"$.{path}").findall(document)
    except FAILURES:
        return "(unreadable)"
    return ", ".join(value if isinstance(value, str) else in_one_line(value) for value in values) or "(none)"


def _never(_value: Any) -> bool:
    return False


def _secret(name: Any) -> str:
    return name if isinstance(name, str) and names_a_secret(name) else ""

"""Which redacted values a person has uncovered, for as long as their session looks at the request. In memory only:
another broker shows them covered again, and they are uncovered there with another line in the audit."""

from __future__ import annotations

from collections import OrderedDict

_KEPT = 1_000


class Uncovered:
    """Paths by session and request."""

    def __init__(self) -> None:
        self._paths: OrderedDict[tuple[str, str], frozenset[str]] = OrderedDict()

    def of(self, session: str, request: str) -> frozenset[str]:
        return self._paths.get((session, request), frozenset())

    def add(self, session: str, request: str, path: str) -> None:
        self._paths[session, request] = self.of(session, request) | {path}
        self._paths.move_to_end((session, request))
        if len(self._paths) > _KEPT:
            self._paths.popitem(last=False)

"""One catalogue: the servers of servers.yaml, joined with those that people enrolled. Routing is derived from it alone.

A name that servers.yaml declares is never that of an enrolled server, whatever the store says.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from broker.domain.servers import Server
from broker.errors import PolicyInvalid
from broker.policy.model import Policy, Problem
from broker.registry.roster import Roster
from broker.reload import PolicyFolder


class Joined:
    """A `PolicySource` and a `Servers`: the policy in force, with every server that calls may go to."""

    def __init__(self, folder: PolicyFolder, roster: Roster) -> None:
        self._folder = folder
        self._roster = roster
        self._of: tuple[Policy, Mapping[str, Server]] | None = None
        self._joined: Policy | None = None

    @property
    def current(self) -> Policy:
        """The policy in force. Raises `PolicyInvalid` when there never was a good one."""
        # This is asked several times for each call: most folders are good ones, and most have nobody enrolled.
        policy = self._folder.held or self._folder.current
        enrolled = self._roster.routed and self._roster.servers()
        if self._joined is None or self._of is None or self._of[0] is not policy or self._of[1] is not enrolled:
            joined = {**enrolled, **policy.servers} if enrolled else policy.servers
            self._joined, self._of = msgspec.structs.replace(policy, servers=joined), (policy, enrolled)
        return self._joined

    @property
    def problems(self) -> tuple[Problem, ...]:
        return self._folder.problems

    def declared(self) -> Mapping[str, Server]:
        """The servers of servers.yaml; none while there never was a good policy."""
        try:
            return self._folder.current.servers
        except PolicyInvalid:
            return {}

    def server(self, name: str) -> Server | None:
        """The server that calls of this name go to: none while there never was a good policy."""
        try:
            return self.current.servers.get(name)
        except PolicyInvalid:
            return None

    def in_force(self, name: str) -> Server | None:
        """As `server`, for those who call it. Raises `PolicyInvalid`: no policy is not the same as no such server."""
        return self.current.servers.get(name)

    def names(self) -> Sequence[str]:
        try:
            return tuple(self.current.servers)
        except PolicyInvalid:
            return ()

    def askable(self, name: str) -> Server | None:
        """`server`, and what a review has to look at before any call may go there."""
        return self.server(name) or self._roster.candidate(name)

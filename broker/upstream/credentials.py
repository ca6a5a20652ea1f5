"""The broker's own credentials for a server where they have to be asked for: a secret store's client, or an identity provider.

A caller's own token never goes on. With a token exchange (RFC 8693) the provider is shown a statement of the broker about who
calls, and gives the access that this user has; who calls without a user gets none.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from functools import partial

import aiohttp

from broker.domain.calls import Caller
from broker.domain.servers import Authorization, Grant
from broker.errors import BrokerError, ConfigInvalid, UpstreamUntouched
from broker.outgoing import Reach, client
from broker.upstream import token_endpoint
from broker.upstream.acting import BROKER, acting
from broker.upstream.http import Target
from broker.upstream.kept_secrets import KeptSecrets, Secret
from broker.upstream.references import said

# Seconds that what a command printed is taken as good.
COMMAND_LASTS = 60.0

Assert = Callable[[Caller, str], str]
"""A signed statement (JWT) about who calls, for the audience given."""

Introduce = Callable[[Caller, str], dict[str, str]]
"""Headers that tell the server of that name who calls."""


class Credentials:
    """Headers with secrets that were asked for. `asserts` signs who calls; without it there is no token exchange.

    `introduces` makes what servers are told about callers.
    """

    def __init__(
        self, asserts: Assert | None = None, *, introduces: Introduce | None = None, kept: KeptSecrets | None = None
    ) -> None:  # fmt: skip
        self._asserts = asserts
        self._introduces = introduces
        self._kept = kept or KeptSecrets()
        self._clients: dict[tuple[str, tuple[str, ...]], aiohttp.ClientSession] = {}

    async def of(self, server: str, target: Target) -> dict[str, str]:
        """Return the headers that say who the broker is. Raises `UpstreamUntouched` when they can't be had."""
        headers = dict(target.headers)
        try:
            for name, command in target.commands.items():
                headers[name] = await self._kept.get(command, partial(_printed, name, command))
            if target.auth is not None:
                headers["authorization"] = "Bearer " + await self._token(target.auth, target.networks)
            if target.tell_caller:
                headers |= self._introduction(server)
        except BrokerError as error:
            raise UpstreamUntouched(f"the broker's credentials for {server} can't be had: {error.message}") from None
        return headers

    async def anew(self, server: str, target: Target, used: dict[str, str]) -> dict[str, str] | None:
        """The server did not accept `used`: return new ones, None where there are no others. Raises as `of`."""
        for name, command in target.commands.items():
            self._kept.refused(command, used[name])
        if target.auth is not None:
            self._kept.refused(_key(target.auth), used["authorization"].removeprefix("Bearer "))
        fresh = await self.of(server, target)
        return None if fresh == used else fresh

    def _introduction(self, server: str) -> dict[str, str]:
        """Made anew for each message, so that a group that was taken away counts at once."""
        caller = acting()
        return {} if self._introduces is None or caller is None or caller is BROKER else self._introduces(caller, server)

    async def close(self) -> None:
        for one in self._clients.values():
            await one.close()
        self._clients.clear()

    async def _token(self, auth: Authorization, networks: tuple[str, ...]) -> str:
        return await self._kept.get(_key(auth), partial(self._granted, auth, networks))

    async def _granted(self, auth: Authorization, networks: tuple[str, ...]) -> Secret:
        form = {"grant_type": "client_credentials"}
        if _of_user(auth):
            form = {
                "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
                "subject_token": self._statement(auth),
                "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
                "requested_token_type": "urn:ietf:params:oauth:token-type:access_token",
            }
        form |= {name: told for name in ("scope", "audience", "resource") if (told := getattr(auth, name))}
        secret = await said("client_secret", auth.client_secret)
        return await token_endpoint.granted(self._client(auth.token_url, networks), auth, secret, form)

    def _statement(self, auth: Authorization) -> str:
        caller = acting()
        if self._asserts is None or caller is None or not caller.user:
            raise ConfigInvalid("the server is used with the user's own access, and no user is known behind this call")
        return self._asserts(caller, auth.token_url)

    def _client(self, token_url: str, networks: tuple[str, ...]) -> aiohttp.ClientSession:
        key = (token_url, networks)
        if key not in self._clients:
            self._clients[key] = client(Reach([token_url], networks))
        return self._clients[key]


def _of_user(auth: Authorization) -> bool:
    """Probes are the broker's own questions, and are put with its own access."""
    return auth.grant is Grant.TOKEN_EXCHANGE and acting() is not BROKER


def _key(auth: Authorization) -> Hashable:
    """A token of one user is never found for another, nor for the broker: agents of one user have their own each."""
    caller = acting()
    return (auth, (caller.principal if caller else "") if _of_user(auth) else None)


async def _printed(name: str, command: str) -> Secret:
    return Secret(await said(name, command), COMMAND_LASTS)

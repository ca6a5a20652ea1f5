"""One question to a token endpoint (RFC 6749 section 3.2): who the broker is, what it asks for, and the token it gets."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote_plus, urlencode

import aiohttp
import msgspec

from broker.domain.servers import Authorization
from broker.errors import UNREADABLE, UpstreamUntouched
from broker.outgoing import document, refused
from broker.upstream.kept_secrets import Secret

# RFC 6750 section 2.1.
_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*")
# RFC 6749 section 5.2; a provider's own words are not shown, they may quote what it was sent.
_ERROR = re.compile(r"[a-z_]{1,40}")
# Seconds that a token is taken to last where the provider does not say.
LASTS = 300.0


async def granted(client: aiohttp.ClientSession, auth: Authorization, secret: str, form: Mapping[str, str]) -> Secret:
    """Return the access token. Raises `UpstreamUntouched`, which says why and nothing of what was sent or told."""
    uri, headers, body = _request(auth, secret, form)
    try:
        async with client.post(uri, headers=headers, data=body, allow_redirects=False) as answer:
            status, told = answer.status, await document(answer)
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
        why = refused(error) or type(error).__name__
        raise UpstreamUntouched(f"the token endpoint can't be asked ({why})") from None
    return _secret(status, _members(told))


def _request(auth: Authorization, secret: str, form: Mapping[str, str]) -> tuple[str, dict[str, str], str]:
    from authlib.oauth2.auth import ClientAuth  # type: ignore[import-untyped]  # noqa: PLC0415 - heavy, and rarely needed

    headers = {"Accept": "application/json", "Content-Type": "application/x-www-form-urlencoded"}
    method = auth.client_auth if secret else "none"
    # RFC 6749 section 2.3.1: in the head both are encoded as in a form, where the library encodes them itself.
    pair = (auth.client_id, secret) if method != "client_secret_basic" else (quote_plus(auth.client_id), quote_plus(secret))
    uri, headers, body = ClientAuth(*pair, method).prepare("POST", auth.token_url, headers, urlencode(form))
    return str(uri), headers, str(body)


def _members(told: bytes) -> dict[str, Any]:
    try:
        found = msgspec.json.decode(told)
    except UNREADABLE:
        return {}
    return found if isinstance(found, dict) else {}


def _secret(status: int, told: Mapping[str, Any]) -> Secret:
    if status != 200:
        error = told.get("error")
        why = f", {error}" if isinstance(error, str) and _ERROR.fullmatch(error) else ""
        raise UpstreamUntouched(f"the token endpoint refuses (HTTP {status}{why})")
    token, kind, lasts = told.get("access_token"), told.get("token_type"), told.get("expires_in", LASTS)
    if not isinstance(token, str) or not _TOKEN.fullmatch(token) or str(kind).lower() != "bearer":
        raise UpstreamUntouched("the token endpoint's answer holds no bearer token")
    good = isinstance(lasts, int | float) and not isinstance(lasts, bool) and lasts >= 0
    return Secret(token, min(float(lasts), 86_400.0) if good else 0.0)

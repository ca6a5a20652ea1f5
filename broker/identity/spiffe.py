"""SPIFFE: names of workloads (SPIFFE-ID, section 2), their bundles of keys, and Envoy's header about a client's certificate."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

_ID = re.compile(r"spiffe://([a-z0-9._-]{1,255})((?:/[A-Za-z0-9._-]+)*)", re.ASCII)
_LONGEST = 2048
# One `key=value` of X-Forwarded-Client-Cert; a value with a comma, semicolon or equals sign stands in double quotes.
_PAIR = re.compile(r'([A-Za-z]+)=("(?:[^"\\]|\\.)*"|[^",;]*)([;,]|$)', re.ASCII)


def trust_domain(name: str) -> str:
    """Return the trust domain of a SPIFFE ID, empty for anything else: dots as path segments, ports, queries, capitals."""
    found = _ID.fullmatch(name) if len(name) <= _LONGEST else None
    if found is None or {".", ".."} & set(found[2].split("/")):
        return ""
    return found[1]


def signing_keys(bundle: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keys of a bundle (SPIFFE Trust Domain and Bundle, section 4) that sign JWT-SVIDs, or of a plain JWKS all."""
    keys = [key for key in bundle["keys"] if isinstance(key, dict) and key.get("use") != "x509-svid"]
    return {"keys": [key | {"use": "sig"} if key.get("use") == "jwt-svid" else key for key in keys]}


def client_of(certificate: str) -> str:
    """Return the SPIFFE ID of the client that spoke to the proxy: the last element of X-Forwarded-Client-Cert.

    Elements before it are what the client itself passed on. Empty where the certificate names no workload. Raises
    `ValueError` for a header that can't be read, or names more than one: an SVID has exactly one.
    """
    elements = list(_elements(certificate))
    names = [value for key, value in elements[-1] if key.lower() == "uri" and value.startswith("spiffe:")] if elements else []
    if len(names) > 1 or not all(trust_domain(name) for name in names):
        raise ValueError
    return names[0] if names else ""


def _elements(header: str) -> Iterator[list[tuple[str, str]]]:
    position, element = 0, list[tuple[str, str]]()
    while position < len(header):
        pair = _PAIR.match(header, position)
        if pair is None:
            raise ValueError
        value = pair[2]
        element.append((pair[1], re.sub(r"\\(.)", r"\1", value[1:-1]) if value.startswith('"') else value))
        position = pair.end()
        if pair[3] == ",":
            yield element
            element = []
    if element:
        yield element

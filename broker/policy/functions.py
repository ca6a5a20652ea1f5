"""The functions that conditions may call, beside CEL's own. Each answers, or raises `ValueError`, which tightens.

A message never quotes the value: it ends in logs and in the audit.
"""

from __future__ import annotations

import ipaddress
import posixpath
import re
from urllib.parse import urlsplit

import idna

_LOCAL = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]+")
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
_DOMAIN = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
_HOST = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?(?:\.[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?)*")
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://([^/?#]*)(?:[/?#].*)?")
_ESCAPED_PARTS = re.compile(r"%(?:2e|2f|5c)", re.IGNORECASE)
_DOTTED = re.compile(r"(?:0|[1-9][0-9]{0,2})(?:\.(?:0|[1-9][0-9]{0,2})){3}")
_UNSEEN = re.compile(r"[\x00-\x20\x7f-\x9f\u00ad\u200b-\u200f\u2028-\u202e\u2060-\u2064\ufeff]")


def email_domain(address: str) -> str:
    """Return the lower-cased domain of a bare address.

    An error unless there is exactly one `@`, all is ASCII, and both sides are plain.
    """
    local, _, domain = address.partition("@")
    if not address.isascii() or not _LOCAL.fullmatch(local) or not _DOMAIN.fullmatch(domain):
        raise ValueError("this is no plain e-mail address")
    return domain.lower()


def path_within(path: str, root: str) -> bool:
    """Is an absolute path `root` or below it, once `.`, `..` and `//` are resolved? A relative one is not."""
    for text in (path, root):
        if "\0" in text or "\\" in text or text.startswith("~") or _ESCAPED_PARTS.search(text):
            raise ValueError("the path holds NUL, a backslash, an escaped dot or slash, or starts with ~")
    if not root.startswith("/"):
        raise ValueError("the root is no absolute path")
    if not path.startswith("/"):
        return False
    inner, outer = _resolved(path), _resolved(root)
    return inner == outer or inner.startswith(outer.rstrip("/") + "/")


def _resolved(path: str) -> str:
    # Two leading slashes survive normpath (POSIX allows it), and would look like another root.
    return posixpath.normpath("/" + path.lstrip("/"))


def host(url: str) -> str:
    """Return the host of an URL: lower-case A-label, without port, brackets and trailing dot; mapped IPv4 as IPv4.

    An error without a scheme and `//`, with user info, a backslash, spaces or invisible characters, and for numbers that
    browsers read as addresses though they are not written as one (`http://2130706433/`, `http://0x7f.1/`).
    """
    found = _URL.fullmatch(url)
    if found is None or "\\" in url or "@" in found.group(1) or _UNSEEN.search(url):
        raise ValueError("this is no plain URL with scheme and host")
    name = found.group(1)
    urlsplit(f"//{name}").port  # noqa: B018  # its check of the port raises
    if name.startswith("["):
        return _bracketed(name)
    return _named(name.rpartition(":")[0] if ":" in name else name)


def _bracketed(name: str) -> str:
    inner, closed, rest = name[1:].partition("]")
    if not closed or (rest and not re.fullmatch(r":[0-9]*", rest)) or "%" in inner:
        raise ValueError("this is no plain URL with scheme and host")
    return str(_unmapped(ipaddress.IPv6Address(inner)))


def _named(name: str) -> str:
    try:
        label = name.lower() if name.isascii() else idna.encode(name, uts46=True, std3_rules=True).decode()
    except idna.IDNAError:
        raise ValueError("the host is no international domain name") from None
    label = label.removesuffix(".")
    if len(label) > 253 or not _HOST.fullmatch(label):
        raise ValueError("the host holds characters that no name has")
    if re.fullmatch(r"[0-9]+|0x[0-9a-f]*", label.rpartition(".")[2]) and not _DOTTED.fullmatch(label):
        raise ValueError("the host is a number that is no plain address")
    return str(ipaddress.IPv4Address(label)) if _DOTTED.fullmatch(label) else label


def cidr_contains(cidr: str, ip: str) -> bool:
    """Is the address inside the network? IPv4 mapped into IPv6 counts as IPv4; a name is an error."""
    try:
        network, address = ipaddress.ip_network(cidr), _unmapped(ipaddress.ip_address(ip))
    except ValueError:
        raise ValueError("this is no address or network") from None
    if isinstance(network, ipaddress.IPv6Network) and isinstance(address, ipaddress.IPv4Address):
        return ipaddress.IPv6Address(f"::ffff:{address}") in network
    return address in network


def _unmapped(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address

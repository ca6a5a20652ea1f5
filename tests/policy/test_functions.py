"""The functions of conditions, against everything that tries to look like something else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from broker.policy.functions import cidr_contains, email_domain, host, path_within

WRONG = "an error"


def said(call: Callable[..., Any], *arguments: str) -> Any:
    try:
        return call(*arguments)
    except ValueError:
        return WRONG


@pytest.mark.parametrize(
    ("address", "domain"),
    [
        ("bob@example.com", "example.com"),
        ("bob@Example.COM", "example.com"),
        ("bob.smith+tag@mail.example.com", "mail.example.com"),
        ("bob@localhost", "localhost"),
        ("bob@xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("", WRONG),
        ("bob", WRONG),
        ("@example.com", WRONG),
        ("bob@", WRONG),
        ("bob@@example.com", WRONG),
        ("bob@evil.com@example.com", WRONG),
        ('"bob@evil.com"@example.com', WRONG),
        ("evil@evil.com,bob@example.com", WRONG),
        ("evil@evil.com;bob@example.com", WRONG),
        ("bob@example.com ", WRONG),
        (" bob@example.com", WRONG),
        ("bob@example.com\n", WRONG),
        ("bob@example.com\r\nBcc: eve@evil.com", WRONG),
        ("bob\x00@example.com", WRONG),
        ("bob@example.com\x00.evil.com", WRONG),
        ("Bob <bob@example.com>", WRONG),
        ("<bob@example.com>", WRONG),
        ("bob@exаmple.com", WRONG),  # a Cyrillic letter
        ("böb@example.com", WRONG),
        ("bob@example。com", WRONG),  # an ideographic full stop
        ("bob@.example.com", WRONG),
        ("bob@example.com.", WRONG),
        ("bob@example..com", WRONG),
        ("bob@-example.com", WRONG),
        ("bob@example-.com", WRONG),
        ("bob@exam_ple.com", WRONG),
        ("bob@[127.0.0.1]", WRONG),
        ("bob@example.com/evil", WRONG),
        ("bob(comment)@example.com", WRONG),
        ("bob:x@example.com", WRONG),
        ("a" * 200_000 + "@example.com", "example.com"),
        ("bob@" + "a" * 200_000, "a" * 200_000),
        ("bob@" + "a-" * 100_000, WRONG),
    ],
)
def test_email_domain_is_that_of_one_plain_address(address: str, domain: str) -> None:
    assert said(email_domain, address) == domain


@pytest.mark.parametrize(
    ("path", "root", "inside"),
    [
        ("/workspace", "/workspace", True),
        ("/workspace/", "/workspace", True),
        ("/workspace/a/b", "/workspace", True),
        ("/workspace/a", "/workspace/", True),
        ("/workspace/./a", "/workspace", True),
        ("/workspace//a", "/workspace", True),
        ("//workspace/a", "/workspace", True),
        ("///workspace/a", "/workspace", True),
        ("/workspace/a/../b", "/workspace", True),
        ("/workspace/...", "/workspace", True),
        ("/workspace/..a", "/workspace", True),
        ("/anything", "/", True),
        ("/", "/", True),
        ("/workspace/..", "/workspace", False),
        ("/workspace/../etc/passwd", "/workspace", False),
        ("/workspace/../workspace-old/a", "/workspace", False),
        ("/workspace-old/a", "/workspace", False),
        ("/workspaces", "/workspace", False),
        ("/Workspace/a", "/workspace", False),
        ("/../../workspace/a", "/workspace", True),
        ("/etc/passwd", "/workspace", False),
        ("workspace/a", "/workspace", False),
        ("a", "/workspace", False),
        ("", "/workspace", False),
        (".", "/", False),
        ("../workspace", "/workspace", False),
        ("file:///workspace/a", "/workspace", False),
        ("/workspace/a\0/../../etc", "/workspace", WRONG),
        ("/workspace\\..\\etc", "/workspace", WRONG),
        ("C:\\workspace", "/workspace", WRONG),
        ("/workspace/%2e%2e/etc", "/workspace", WRONG),
        ("/workspace/%2E%2E/etc", "/workspace", WRONG),
        ("/workspace/..%2fetc", "/workspace", WRONG),
        ("/workspace/..%5Cetc", "/workspace", WRONG),
        ("/workspace/%252e%252e/etc", "/workspace", True),
        ("~/a", "/workspace", WRONG),
        ("~root/a", "/workspace", WRONG),
        ("/workspace/~", "/workspace", True),
        ("/workspace/a", "workspace", WRONG),
        ("/workspace/a", "", WRONG),
        ("/workspace/a", "~", WRONG),
        ("/w/" * 60_000, "/w", True),
        ("/w/" + "../" * 60_000, "/w", False),
    ],
)
def test_path_within_resolves_before_it_compares(path: str, root: str, inside: Any) -> None:
    assert said(path_within, path, root) == inside


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://example.com", "example.com"),
        ("https://Example.COM:8443/path?q=1#f", "example.com"),
        ("https://example.com.", "example.com"),
        ("https://example.com.:443/", "example.com"),
        ("ftp://example.com/a@b", "example.com"),
        ("https://sub_domain.example.com", "sub_domain.example.com"),
        ("https://bücher.example/", "xn--bcher-kva.example"),
        ("https://BÜCHER.example/", "xn--bcher-kva.example"),
        ("https://xn--bcher-kva.example/", "xn--bcher-kva.example"),
        ("https://ｅｘａｍｐｌｅ.com/", "example.com"),
        ("https://example。com/", "example.com"),
        ("http://127.0.0.1:80/", "127.0.0.1"),
        ("http://[::1]:80/", "::1"),
        ("http://[2001:DB8::0:1]/", "2001:db8::1"),
        ("http://[::ffff:127.0.0.1]/", "127.0.0.1"),
        ("https://example.com?x=https://evil.com", "example.com"),
        ("https://example.com#@evil.com", "example.com"),
        ("", WRONG),
        ("example.com", WRONG),
        ("//example.com", WRONG),
        ("https:example.com", WRONG),
        ("https:/example.com", WRONG),
        ("https:///example.com", WRONG),
        ("https://", WRONG),
        ("https://:443", WRONG),
        ("javascript:alert(1)", WRONG),
        ("mailto:bob@example.com", WRONG),
        ("https://user@example.com", WRONG),
        ("https://example.com@evil.com", WRONG),
        ("https://example.com:443@evil.com", WRONG),
        ("https://evil.com\\@example.com", WRONG),
        ("https://evil.com\\.example.com", WRONG),
        ("https:\\\\example.com", WRONG),
        ("https://exa mple.com", WRONG),
        (" https://example.com", WRONG),
        ("https://example.com\n.evil.com", WRONG),
        ("https://exam\tple.com", WRONG),
        ("https://example.com\u200b", WRONG),
        ("https://exam\u00adple.com", WRONG),
        ("https://example.com:99999", WRONG),
        ("https://example.com:8a", WRONG),
        ("https://example.com:80:90", WRONG),
        ("https://example..com", WRONG),
        ("https://example.com..", WRONG),
        ("https://.example.com", WRONG),
        ("https://-example.com", WRONG),
        ("https://exam%70le.com", WRONG),
        ("https://" + "a" * 64 + ".com", WRONG),
        ("https://" + "a." * 200 + "com", WRONG),
        ("http://2130706433/", WRONG),
        ("http://0x7f000001/", WRONG),
        ("http://0x7f.1/", WRONG),
        ("http://127.1/", WRONG),
        ("http://0177.0.0.1/", WRONG),
        ("http://127.0.0.01/", WRONG),
        ("http://127.0.0.256/", WRONG),
        ("http://127.0.0.1.example.com/", "127.0.0.1.example.com"),
        ("http://１２７.0.0.1/", "127.0.0.1"),
        ("http://[::1", WRONG),
        ("http://[::1]evil/", WRONG),
        ("http://[fe80::1%25eth0]/", WRONG),
        ("http://[example.com]/", WRONG),
        ("http://exаmple.com/", "xn--exmple-4nf.com"),  # a Cyrillic letter is another name
        ("https://example.com" + "/" * 200_000, "example.com"),
    ],
)
def test_host_is_the_one_that_would_be_reached(url: str, name: str) -> None:
    assert said(host, url) == name


@pytest.mark.parametrize(
    ("cidr", "ip", "inside"),
    [
        ("10.0.0.0/8", "10.255.255.255", True),
        ("10.0.0.0/8", "11.0.0.0", False),
        ("0.0.0.0/0", "8.8.8.8", True),
        ("127.0.0.1", "127.0.0.1", True),
        ("10.0.0.0/8", "::ffff:10.1.2.3", True),
        ("10.0.0.0/8", "::FFFF:0A01:0203", True),
        ("::ffff:10.0.0.0/104", "10.1.2.3", True),
        ("10.0.0.0/8", "2001:db8::1", False),
        ("2001:db8::/32", "2001:db8::1", True),
        ("2001:db8::/32", "10.0.0.1", False),
        ("::/0", "2001:db8::1", True),
        ("::/0", "10.0.0.1", True),
        ("10.0.0.1/8", "10.0.0.1", WRONG),
        ("10.0.0.0/33", "10.0.0.1", WRONG),
        ("10.0.0.0/255.0.0.0", "10.0.0.1", True),
        ("", "10.0.0.1", WRONG),
        ("10.0.0.0/8", "", WRONG),
        ("10.0.0.0/8", "localhost", WRONG),
        ("10.0.0.0/8", "10.1", WRONG),
        ("10.0.0.0/8", "010.0.0.1", WRONG),
        ("10.0.0.0/8", "0x0a.0.0.1", WRONG),
        ("10.0.0.0/8", "167772161", WRONG),
        ("10.0.0.0/8", "10.0.0.1 ", WRONG),
        ("10.0.0.0/8", "10.0.0.1:80", WRONG),
        ("10.0.0.0/8", "[::1]", WRONG),
        ("10.0.0.0/8", "fe80::1%eth0", False),
        ("10.0.0.0/8", "１０.0.0.1", WRONG),
        ("10.0.0.0/8", "1" * 200_000, WRONG),
    ],
)
def test_cidr_contains_takes_addresses_and_nothing_else(cidr: str, ip: str, inside: Any) -> None:
    assert said(cidr_contains, cidr, ip) == inside


@pytest.mark.parametrize("call", [email_domain, host])
def test_a_message_never_quotes_the_value(call: Callable[[str], str]) -> None:
    with pytest.raises(ValueError) as raised:
        call("hunter2 secret")
    assert "hunter2" not in str(raised.value)

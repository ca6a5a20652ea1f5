from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.identity.spiffe import client_of, signing_keys, trust_domain


@pytest.mark.parametrize(
    ("name", "domain"),
    [
        ("spiffe://example.com/reporting", "example.com"),
        ("spiffe://example.com", "example.com"),
        ("spiffe://prod.example.com/ns/a/sa/b", "prod.example.com"),
        ("spiffe://Example.com/x", ""),
        ("SPIFFE://example.com/x", ""),
        ("spiffe://example.com:8443/x", ""),
        ("spiffe://user@example.com/x", ""),
        ("spiffe://example.com/x?y", ""),
        ("spiffe://example.com/x#y", ""),
        ("spiffe://example.com/../x", ""),
        ("spiffe://example.com/./x", ""),
        ("spiffe://example.com//x", ""),
        ("spiffe://example.com/x/", ""),
        ("spiffe://example.com/x\n", ""),
        ("spiffe:///x", ""),
        ("https://example.com/x", ""),
        ("spiffe://example.com/" + "x" * 3000, ""),
        ("", ""),
    ],
)
def test_only_a_well_formed_name_has_a_trust_domain(name: str, domain: str) -> None:
    assert trust_domain(name) == domain


A, B = "spiffe://example.com/a", "spiffe://example.com/b"


@pytest.mark.parametrize(
    ("header", "client"),
    [
        ("", ""),
        (f"By=spiffe://example.com/envoy;Hash=ab;URI={A}", A),
        (f'Hash=ab;Subject="CN=x,O=y;URI={B}";URI={A}', A),
        (rf'Subject="CN=\";URI={B};\"";URI={A}', A),
        (f"Hash=ab;URI={B},By=spiffe://example.com/envoy;URI={A}", A),
        (f"uri={A}", A),
        ("Hash=ab;URI=https://example.com/a", ""),
        (f'Hash=ab;URI={B},Hash=cd;Subject="CN=x"', ""),
    ],
)
def test_the_client_of_the_proxy_is_the_last_element(header: str, client: str) -> None:
    assert client_of(header) == client


@pytest.mark.parametrize(
    "header", [f"URI={A};URI={B}", "URI=spiffe://Example.com/a", f'URI="{A}', "URI", f"URI={A};=", "\x00", f"URI={A} ;", ";;"]
)
def test_a_header_that_can_be_read_in_two_ways_names_nobody(header: str) -> None:
    with pytest.raises(ValueError):
        client_of(header)


@given(st.text() | st.text(alphabet='URI=;,"\\ spiffe:/a.'))
def test_no_garbage_names_a_workload_that_is_none(header: str) -> None:
    try:
        found = client_of(header)
    except ValueError:
        return
    assert found == "" or trust_domain(found)


def test_of_a_bundle_only_keys_for_tokens_count() -> None:
    bundle = {"keys": [{"kid": "a", "use": "jwt-svid"}, {"kid": "b", "use": "x509-svid"}, {"kid": "c"}], "spiffe_sequence": 1}
    assert signing_keys(bundle) == {"keys": [{"kid": "a", "use": "sig"}, {"kid": "c"}]}

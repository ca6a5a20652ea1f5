from __future__ import annotations

from pathlib import Path

import pytest

from broker.errors import ConfigInvalid
from broker.settings import load_settings

PROVIDER = '{"name": "a", "issuer": "https://a.example", "client_id": "x"}'
WRONG_VARIABLES = [
    ("LEASE", "0s", "lease: Input should be greater than"),
    ("HOLD", "-PT5S", "hold: Input should be greater than or equal"),
    ("BODY_LIMIT", "0", "body_limit: Input should be greater than 0"),
    ("LOG_LEVEL", "loud", "log_level: Input should be 'debug', 'info', 'warning' or 'error'"),
    ("TRUSTED_PROXIES", '["0.0.0.0/0"]', "trusted_proxies.0: Value error, this is everybody"),
    ("PRIVATE_NETWORKS", '["10.0.0.0/8", "secret"]', "private_networks.1: Value error"),
    ("ENROL_NETWORKS", '["10.1.2.3/8"]', "enrol_networks.0: Value error, 10.1.2.3/8 has host bits set"),
    ("OAUTH_ISSUERS", '[{"issuer": "http://id.example.com"}]', "oauth_issuers.0: .* have to come from an https address"),
    ("OAUTH_ISSUERS", '[{"issuer": "https://a.example", "jwks_url": "http://a.example/keys"}]', "oauth_issuers.0: .* https"),
    ("OAUTH_ISSUERS", '[{"issuer": "https://a.example/"}, {"issuer": "https://a.example"}]', "names https://a.example twice"),
    ("OAUTH_ISSUERS", '[{"issuer": "https://a.example", "trust_domain": "spiffe://a.example"}]', "0.trust_domain: String should"),
    ("OAUTH_ISSUERS", '[{"issuer": "https://a.example"}]', "no token of https://a.example can be meant for this broker"),
    ("SIGN_IN", '[{"name": "a", "issuer": "http://a.example", "client_id": "x"}]', "sign_in.0: .* over https alone"),
    ("SIGN_IN", f"[{PROVIDER}, {PROVIDER}]", "sign_in names a twice"),
    ("PUBLIC_URL", "approvals.example.com", "public_url: Value error, write it as https://"),
    ("PUBLIC_URL", "https://secret@approvals.example.com", "public_url: Value error, write it as https://"),
    ("PRIVATE_NETWORKS", "private", 'field "private_networks" from source .*; write JSON there'),
]
WRONG_FILES = [
    (b"redis_url: [secret", "broker.yaml:1: this is no YAML"),
    (b"host: x\n\tsecret", "broker.yaml:2: this is no YAML"),
    (b"secret", "broker.yaml:1: settings are written as `name: value`"),
    (b"- secret", "broker.yaml:1: settings are written as `name: value`"),
    (b"\xff\xfe secret", "broker.yaml can't be read"),
    (b"redis_url: {a: secret}", "redis_url: Input should be a valid string"),
    (b"encryption_key: secret", "encryption_key: Extra inputs are not permitted"),
]


@pytest.mark.parametrize(("name", "value", "told"), WRONG_VARIABLES)
def test_a_value_that_can_not_be_meant_is_named(monkeypatch: pytest.MonkeyPatch, name: str, value: str, told: str) -> None:
    monkeypatch.setenv(f"BROKER_{name}", value)
    with pytest.raises(ConfigInvalid, match=told):
        load_settings()


@pytest.mark.parametrize(("content", "told"), WRONG_FILES)
def test_a_broken_file_of_settings_is_named_and_never_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes, told: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "broker.yaml").write_bytes(content)
    with pytest.raises(ConfigInvalid) as failed:
        load_settings()
    assert told in failed.value.message
    assert "secret" not in failed.value.message


def test_one_of_two_places_for_keys_is_never_passed_over() -> None:
    with pytest.raises(ConfigInvalid, match="encryption_keys and encryption_key_file are both set"):
        load_settings(encryption_keys="00" * 32, encryption_key_file="keys")


def test_an_issuer_whose_keys_lie_here_or_on_this_machine_needs_no_https(tmp_path: Path) -> None:
    issuers = [{"issuer": "spire", "jwks_file": tmp_path / "bundle"}, {"issuer": "http://127.0.0.1:9000"}]
    assert load_settings(oauth_issuers=issuers, public_url="https://a.example").issuers == ("spire", "http://127.0.0.1:9000")


def test_levels_may_be_shouted() -> None:
    assert load_settings(log_level="WARNING").log_level == "warning"

from __future__ import annotations

import os
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest
from pydantic import SecretStr

from broker.audit.chain import GENESIS, Seal
from broker.checkup import examined, seal_findings, settings_findings, store_findings
from broker.cli.main import main
from broker.diagnosis import Finding, Level
from broker.reload import PolicyFolder
from broker.settings import Settings, TokenIssuer
from broker.store.open import Store
from tests.conftest import empty
from tests.fakes.samples import noted

SERVERS = (
    "servers: {payments: {url: 'http://127.0.0.1:9/mcp', headers: {Authorization: 'env:NOT_SET_ANYWHERE'}, tools: {a: {}}}}\n"
)


@pytest.fixture(autouse=True)
def no_variables_of_whoever_runs_this(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("BROKER_")]:
        monkeypatch.delenv(name)


async def findings(folder: Path, settings: Settings, store: Store) -> list[Finding]:
    policies = PolicyFolder(folder)
    await policies.load()

    async def opening() -> Store:
        return store

    async with AsyncExitStack():
        return [finding async for finding in examined(settings, policies, opening)]


def folder(tmp_path: Path, rules: str = "rules: []\n") -> Path:
    made = tmp_path / "policies"
    made.mkdir()
    (made / "servers.yaml").write_text(SERVERS)
    (made / "rules.yaml").write_text(rules)
    return made


async def test_a_secret_that_is_not_set_is_named_and_not_shown(store: Store, tmp_path: Path) -> None:
    found = await findings(folder(tmp_path), Settings(data=tmp_path), store)
    wrong = [finding for finding in found if finding.level is Level.WRONG]
    told = "Authorization refers to the variable NOT_SET_ANYWHERE, which is not set"
    assert wrong == [Finding(Level.WRONG, "server payments", told, "set it where the broker runs")]


async def test_an_unreadable_policy_is_wrong_at_its_line(store: Store, tmp_path: Path) -> None:
    found = await findings(folder(tmp_path, "rules: [{id: x, efect: allow}]\n"), Settings(data=tmp_path), store)
    assert (found[0].level, found[0].about) == (Level.WRONG, "policy")
    assert "rules.yaml:1:" in found[0].told


async def test_an_outside_store_without_a_key_and_a_door_without_tls_are_noted(store: Store, tmp_path: Path) -> None:
    settings = Settings(data=tmp_path, redis_url=SecretStr(store.url), host="0.0.0.0")
    found = await findings(folder(tmp_path), settings, store)
    assert {finding.about for finding in found if finding.level is Level.WARNING} == {"data at rest", "transport"}


async def test_the_embedded_store_keeps_its_promises(store: Store) -> None:
    assert [finding.level for finding in await store_findings(store)] == [Level.FINE]


async def test_keys_that_others_may_read_are_named(tmp_path: Path) -> None:
    file = tmp_path / "keys.pem"
    file.touch(mode=0o600)
    assert await settings_findings(Settings(data=tmp_path, signing_key_file=file)) == []
    file.chmod(0o640)
    told = Finding(Level.WARNING, "keys", f"{file} is open to other users", f"chmod 600 {file}")
    assert await settings_findings(Settings(data=tmp_path, signing_key_file=file)) == [told]


async def test_a_variable_that_is_no_setting_and_names_that_are_not_those_of_people_are_noted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BROKER_ENCRYPTION_KEY", "a secret")
    monkeypatch.setenv("BROKER_TOKEN", "for the commands")
    issuers = (TokenIssuer(issuer="https://a.example"), TokenIssuer(issuer="https://b.example", user_claim="email"))
    found = await settings_findings(Settings(data=tmp_path, oauth_issuers=issuers, public_url="https://c.example"))
    assert [(one.level, one.about) for one in found] == [(Level.WARNING, "issuer https://a.example"), (Level.WARNING, "settings")]
    assert found[1].told == "BROKER_ENCRYPTION_KEY is no setting"


async def test_an_issuer_whose_keys_are_not_there_is_wrong(tmp_path: Path) -> None:
    issuers = (TokenIssuer(issuer="spire", trust_domain="example.com", jwks_file=tmp_path / "bundle", audiences=("mcp",)),)
    told = f"{tmp_path / 'bundle'} is not there"
    mend = "put its keys there; until then it lets nobody in"
    found = await settings_findings(Settings(data=tmp_path, oauth_issuers=issuers))
    assert found == [Finding(Level.WRONG, "issuer spire", told, mend)]


async def test_a_store_that_holds_less_than_was_sealed_is_wrong(store: Store) -> None:
    keys = {"keys": [{"kid": "key"}]}
    assert [one.level for one in await seal_findings(store, keys)] == [Level.FINE]
    seal = Seal(0, 1, 1_000_000, GENESIS, GENESIS, store.clock(), "key")
    await store.seals.advance(await store.seals.head(), msgspec.json.encode(seal))
    assert [(one.level, one.mend) for one in await seal_findings(store, keys)] == [(Level.WRONG, "broker audit verify")]
    await empty(store.url)


async def test_an_event_that_was_deleted_before_its_seal_is_wrong_at_once(store: Store) -> None:
    for what in ("first", "second"):
        await store.audit.append(noted(what, store.clock()))
    assert [one.level for one in await seal_findings(store, {"keys": []})] == [Level.FINE]
    await store.audit.trim(1)
    (found,) = await seal_findings(store, {"keys": []})
    assert (found.level, "event 1 is missing" in found.told) == (Level.WRONG, True)
    await empty(store.url)


async def test_an_event_that_nobody_seals_is_noted_after_a_minute(store: Store) -> None:
    for age, level in ((59, Level.FINE), (61, Level.WARNING)):
        await store.audit.append(noted("fact", store.clock() - timedelta(seconds=age)))
        assert [one.level for one in await seal_findings(store, {"keys": []})] == [level]
        await empty(store.url)


async def test_a_seal_of_another_brokers_key_is_noted(store: Store, tmp_path: Path) -> None:
    await store.audit.append(noted("fact", store.clock()))
    seal = Seal(0, 1, 1, GENESIS, GENESIS, store.clock(), "key")
    await store.seals.advance(await store.seals.head(), msgspec.json.encode(seal))
    for keys, level in (({"keys": [{"kid": "key"}]}, Level.FINE), ({"keys": [{"kid": "other"}]}, Level.WARNING)):
        assert [one.level for one in await seal_findings(store, keys)] == [level]
    await empty(store.url)


def test_the_command_says_fine_with_0_and_wrong_with_1(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], store_url: str
) -> None:
    monkeypatch.setenv("BROKER_REDIS_URL", store_url)
    monkeypatch.setenv("BROKER_DATA", str(tmp_path))
    monkeypatch.setenv("BROKER_POLICIES", str(folder(tmp_path)))
    assert main(["doctor"]) == 1
    monkeypatch.setenv("NOT_SET_ANYWHERE", "secret-value")
    assert main(["doctor"]) == 0
    assert "secret-value" not in capsys.readouterr().out

from __future__ import annotations

from pathlib import Path

from broker.agreement import Agreement, Replica
from broker.reload import PolicyFolder
from broker.store.open import Store

SERVERS = "servers: {db: {url: 'http://127.0.0.1:9/mcp', tools: {query: {}}}}\n"


def made(folder: Path) -> Path:
    folder.mkdir()
    (folder / "servers.yaml").write_text(SERVERS)
    return folder


async def replica(folder: Path, store: Store) -> tuple[Agreement, PolicyFolder]:
    policies = PolicyFolder(folder)
    await policies.load()
    agreement = Agreement(store.agreed, policies, store.presence, folder.name)
    await agreement.look()
    return agreement, policies


async def test_a_replica_without_the_newest_policy_says_so_until_it_has_it(store: Store, tmp_path: Path) -> None:
    first, newer = await replica(made(tmp_path / "a"), store)
    second, late = await replica(made(tmp_path / "b"), store)
    assert (first.missing, second.missing) == ("", "")
    for policies, agreement in ((newer, first), (late, second)):
        changed = (tmp_path / ("a" if policies is newer else "b")) / "rules.yaml"
        changed.write_text("defaults: {unmatched: deny}\nrules: []\n")
        await policies.load()
        await agreement.look()
        await second.look()
        assert (first.missing, second.missing) == ("", "" if policies is late else newer.current.digest)


async def test_a_broker_that_starts_with_older_files_changes_nothing(store: Store, tmp_path: Path) -> None:
    first, policies = await replica(made(tmp_path / "a"), store)
    (tmp_path / "a" / "rules.yaml").write_text("defaults: {unmatched: deny}\nrules: []\n")
    await policies.load()
    await first.look()
    stale, _ = await replica(made(tmp_path / "b"), store)
    await first.look()
    assert (first.missing, stale.missing) == ("", policies.current.digest)


async def test_each_broker_sees_which_policy_the_others_run(store: Store, tmp_path: Path) -> None:
    first, policies = await replica(made(tmp_path / "a"), store)
    second, _ = await replica(made(tmp_path / "b"), store)
    old = policies.current.digest
    assert second.replicas == (Replica("a", old, False), Replica("b", old, True))
    (tmp_path / "a" / "rules.yaml").write_text("defaults: {unmatched: deny}\nrules: []\n")
    await policies.load()
    for agreement in (first, second):
        await agreement.look()
    assert second.replicas == (Replica("a", policies.current.digest, False), Replica("b", old, True))

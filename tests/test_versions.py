"""Policies that were in force are kept by digest."""

from __future__ import annotations

from pathlib import Path

from broker.policy.load import compose
from broker.reload import PolicyFolder
from broker.versions import Versions

CONTENTS = {"a.yaml": b"rules: [{id: aa, effect: deny}]", "b.yaml": "consts: {x: ä}".encode()}


def test_a_kept_policy_is_read_back_with_its_digest(tmp_path: Path) -> None:
    kept, policy = Versions(tmp_path / "kept"), compose(CONTENTS)
    kept.keep(CONTENTS)
    kept.keep(CONTENTS)
    assert len(list((tmp_path / "kept").iterdir())) == 1
    read = kept.read(policy.digest)
    assert read is not None
    assert (read.digest, read.people, read.servers) == (policy.digest, policy.people, policy.servers)


def test_what_was_not_kept_or_was_changed_is_not_read(tmp_path: Path) -> None:
    kept, policy = Versions(tmp_path), compose(CONTENTS)
    assert kept.read(policy.digest) is None
    assert kept.read("../../etc/passwd") is None
    kept.keep(CONTENTS)
    (file,) = tmp_path.iterdir()
    file.write_bytes(file.read_bytes().replace(b"deny", b"allow"))
    assert kept.read(policy.digest) is None
    file.write_bytes(b"{")
    assert kept.read(policy.digest) is None


async def test_every_policy_that_comes_into_force_is_kept(tmp_path: Path) -> None:
    folder, kept = tmp_path / "policies", Versions(tmp_path / "kept")
    folder.mkdir()
    source = PolicyFolder(folder, versions=kept)
    digests = []
    for text in ("rules: []", "rules: [", "consts: {x: 1}"):
        (folder / "a.yaml").write_text(text)
        await source.load()
        digests.append(source.current.digest)
    assert [version.digest for version in map(kept.read, digests) if version is not None] == digests
    assert len(list((tmp_path / "kept").iterdir())) == 2


async def test_a_disk_that_is_full_does_not_keep_a_policy_from_coming_into_force(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("rules: []")
    (tmp_path / "no-folder").write_text("")
    source = PolicyFolder(tmp_path, versions=Versions(tmp_path / "no-folder" / "kept"))
    await source.load()
    assert source.problems == ()
    assert source.current.digest.startswith("sha256:")

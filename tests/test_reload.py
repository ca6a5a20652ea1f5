"""A policy folder on disk: good files come into force, wrong ones never do."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import pytest

from broker.errors import PolicyInvalid
from broker.policy.model import Policy
from broker.reload import PolicyFolder

ALLOW = "defaults: {unmatched: allow}\n"
DENY = "defaults: {unmatched: deny}\n"
WRONG = "defaults: {unmatched: perhaps}\n"


class Told:
    """Collects the policies that came into force, and lets a test wait for the next."""

    def __init__(self) -> None:
        self.policies: list[Policy] = []
        self._came = anyio.Event()

    def __call__(self, policy: Policy) -> None:
        self.policies.append(policy)
        self._came.set()
        self._came = anyio.Event()

    async def count(self, wanted: int) -> None:
        with anyio.fail_after(10):
            while len(self.policies) < wanted:
                await self._came.wait()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "rules.yaml").write_text(ALLOW)
    return tmp_path


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
async def source(folder: Path, told: Told) -> AsyncIterator[PolicyFolder]:
    source = PolicyFolder(folder, tell=told)
    await source.load()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(source.watch)
        yield source
        tasks.cancel_scope.cancel()


def replace(folder: Path, text: str) -> None:
    """Write as editors and config maps do: a new file, renamed over the old one."""
    (folder / ".next").write_text(text)
    (folder / ".next").rename(folder / "rules.yaml")


async def until_problems(source: PolicyFolder, *, some: bool) -> None:
    with anyio.fail_after(10):
        while bool(source.problems) is not some:
            await anyio.lowlevel.checkpoint()


async def test_a_changed_file_comes_into_force(source: PolicyFolder, folder: Path, told: Told) -> None:
    first = source.current
    replace(folder, DENY)
    await told.count(2)
    assert told.policies[0] == first
    assert source.current == told.policies[1]
    assert source.current.digest != first.digest


async def test_a_wrong_file_leaves_the_last_good_policy_and_says_where(source: PolicyFolder, folder: Path, told: Told) -> None:
    first = source.current
    replace(folder, WRONG)
    await until_problems(source, some=True)
    assert source.current is first
    assert [str(problem) for problem in source.problems] == [
        "rules.yaml:1:23: `perhaps` is not one of deny, require_approval, allow; write one of `deny`, `require_approval`, `allow`"
    ]
    replace(folder, DENY)
    await told.count(2)
    assert source.problems == ()


async def test_going_back_to_what_is_in_force_clears_the_problems(source: PolicyFolder, folder: Path) -> None:
    first = source.current
    replace(folder, WRONG)
    await until_problems(source, some=True)
    replace(folder, ALLOW)
    await until_problems(source, some=False)
    assert source.current is first


async def test_a_folder_without_files_keeps_the_last_good_policy(source: PolicyFolder, folder: Path) -> None:
    first = source.current
    (folder / "rules.yaml").unlink()
    await until_problems(source, some=True)
    assert source.current is first
    replace(folder, ALLOW)
    await until_problems(source, some=False)
    assert source.current is first


async def test_without_any_good_policy_there_is_none(tmp_path: Path) -> None:
    (tmp_path / "rules.yaml").write_text(WRONG)
    source = PolicyFolder(tmp_path)
    await source.load()
    with pytest.raises(PolicyInvalid):
        _ = source.current


async def test_tests_beside_the_rules_change_nothing(folder: Path) -> None:
    source = PolicyFolder(folder)
    await source.load()
    first = source.current
    (folder / "rules.test.yaml").write_text("cases: []")
    await source.load()
    assert source.current is first


async def test_files_that_were_read_earlier_never_come_into_force_after_later_ones(folder: Path, told: Told) -> None:
    source = PolicyFolder(folder, tell=told)
    many = [f"  - {{id: rule-{n}, match: {{tool: t{n}}}, when: 'args.x == {n}', effect: deny}}\n" for n in range(400)]
    (folder / "rules.yaml").write_text(ALLOW + "rules:\n" + "".join(many))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(source.load)
        with anyio.fail_after(10):
            while not source._seen:  # noqa: ASYNC110 - the files are read, and many rules are being composed
                await anyio.sleep(0.001)
        replace(folder, DENY)
        tasks.start_soon(source.load)
    last = PolicyFolder(folder)
    await last.load()
    assert (source.current.digest, told.policies[-1].digest) == (last.current.digest, last.current.digest)

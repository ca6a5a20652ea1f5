from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.errors import UnknownRequest
from broker.store import keys
from broker.store.listing import Position, merged

positions = st.lists(st.tuples(st.integers(0, 5), st.text("ab", max_size=2)), unique=True, max_size=12).map(
    lambda found: sorted(found, reverse=True)
)


def test_ids_are_unguessable_and_name_their_shard() -> None:
    made = {keys.new_id() for _ in range(1_000)}
    assert len(made) == 1_000
    assert all(re.fullmatch(r"apr_0_[0-9a-hjkmnp-tv-z]{26}", name) for name in made)
    assert {keys.shard_of(name) for name in made} == {0}
    with pytest.raises(UnknownRequest):
        keys.shard_of(keys.new_id(1))


def test_all_keys_of_a_shard_share_its_hash_tag() -> None:
    name = keys.new_id()
    made = (keys.record(name), keys.answer(name), keys.join("x"), keys.due(), keys.audit())
    assert {key.split(":")[1] for key in made} == {"{0}"}


def test_nothing_else_spells_a_key() -> None:
    root = Path(__file__).parents[2]
    tracked = subprocess.run(["git", "ls-files", "broker"], cwd=root, check=True, capture_output=True, text=True).stdout.split()
    spelled = [name for name in tracked if name.endswith((".py", ".lua")) and re.search(r"[\"'f]ab:", (root / name).read_text())]
    assert spelled == ["broker/store/keys.py"]


@given(st.lists(positions, min_size=1, max_size=4), st.integers(1, 5))
def test_pages_of_merged_lists_hold_everything_once(lists: list[list[Position]], size: int) -> None:
    found: list[Position] = []
    after: Position | None = None
    while True:
        page = merged(lists, after, None)[:size]
        found += page
        if len(page) < size:
            break
        after = page[-1]
    assert found == sorted({place for each in lists for place in each}, reverse=True)


@given(st.lists(positions, min_size=1, max_size=4), st.integers(1, 5))
def test_lists_that_were_read_in_part_are_merged_as_far_as_all_of_them_reach(lists: list[list[Position]], room: int) -> None:
    read = [each[:room] for each in lists]
    bound = max((each[-1] for each in read if len(each) == room), default=None)
    everything = merged(lists, None, None)
    found = merged(read, None, bound)
    assert found == everything[: len(found)]
    assert len(found) >= min(room, len(everything))

"""Paging while others publish: a walk loses and repeats nothing, and who follows changes ends with the same list."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from broker.errors import Malformed
from broker.registry.official import Item, latest, precedence
from broker.registry.pages import Page, Wanted, page_of, versions_of

NOON = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)


class Registry:
    """A list that is written while it is read: every write has a stamp of its own."""

    def __init__(self, names: int) -> None:
        self.items: dict[tuple[str, int], Item] = {}
        self.stamp = NOON
        for number in range(names):
            self.publish(f"com.example/s{number:02}")

    def publish(self, name: str) -> Item:
        """A new version; the whole server counts as changed, as `latest` moves."""
        self.stamp += timedelta(microseconds=7)
        number = sum(1 for held, _ in self.items if held == name)
        for key, item in self.items.items():
            if key[0] == name:
                self.items[key] = msgspec.structs.replace(item, latest=False, updated_at=self.stamp)
        body = {"server": {"name": name, "description": f"about {name}"}}
        made = Item(name, f"1.{number}.0", number, self.stamp, "active", True, body)
        self.items[name, number] = made
        return made

    def drop(self, key: tuple[str, int]) -> None:
        self.stamp += timedelta(microseconds=7)
        self.items[key] = msgspec.structs.replace(self.items[key], status="deleted", updated_at=self.stamp)


def walk(registry: Registry, between: Callable[[], Any] = lambda: None, **wanted: Any) -> list[Item]:
    found: list[Item] = []
    cursor = ""
    while True:
        page = page_of(registry.items.values(), Wanted(cursor=cursor, **wanted))
        found += page.items
        cursor = page.cursor
        if not cursor:
            return found
        between()


def test_65_servers_are_30_30_and_5() -> None:
    registry = Registry(65)
    sizes = []
    page = Page((), "")
    while not sizes or page.cursor:
        page = page_of(registry.items.values(), Wanted(cursor=page.cursor))
        sizes.append(len(page.items))
    assert sizes == [30, 30, 5]


@pytest.mark.parametrize("seed", range(40))
@pytest.mark.parametrize("version", ["", "latest"])
def test_a_walk_during_publishing_repeats_nothing_and_misses_nothing_that_was_there(seed: int, version: str) -> None:
    chance, registry = random.Random(seed), Registry(20)
    there = set(registry.items)
    found = walk(
        registry, lambda: registry.publish(f"com.example/s{chance.randrange(30):02}"), limit=chance.randint(1, 6), version=version
    )
    keys = [(item.name, item.number) for item in found]
    assert len(keys) == len(set(keys))
    if version:
        names = [item.name for item in found]
        assert len(names) == len(set(names))
        # a server whose latest version came during the walk, behind the reader, was told of before
        assert {name for name, _ in there} <= set(names)
    else:
        assert there <= set(keys)


@pytest.mark.parametrize("seed", range(40))
def test_who_follows_changes_ends_with_exactly_the_list_and_hears_of_no_state_twice(seed: int) -> None:
    chance, registry = random.Random(seed), Registry(12)
    copy: dict[tuple[str, int], Item] = {}
    heard: list[tuple[str, int, datetime]] = []
    since = NOON

    def between() -> None:
        if chance.random() < 0.3:
            registry.drop(chance.choice(sorted(registry.items)))
        elif len(registry.items) < 60:
            registry.publish(f"com.example/s{chance.randrange(16):02}")

    for round_ in range(6):
        last = round_ == 5
        told = walk(registry, (lambda: None) if last else between, since=since, limit=chance.randint(1, 5))
        for item in told:
            copy[item.name, item.number] = item
            heard.append((item.name, item.number, item.updated_at))
            since = max(since, item.updated_at)
    assert copy == registry.items
    assert len(heard) == len(set(heard))


def test_what_is_deleted_is_told_to_who_asks_for_it_or_follows_changes() -> None:
    registry = Registry(2)
    registry.drop(("com.example/s00", 0))
    items = registry.items.values()
    assert [item.name for item in page_of(items, Wanted()).items] == ["com.example/s01"]
    assert len(page_of(items, Wanted(deleted=True)).items) == 2
    assert [item.name for item in page_of(items, Wanted(since=NOON)).items] == ["com.example/s01", "com.example/s00"]
    assert versions_of(items, "com.example/s00", deleted=False) == []


def test_a_search_looks_into_names_and_descriptions() -> None:
    registry = Registry(3)
    assert [one.name for one in page_of(registry.items.values(), Wanted(search="ABOUT com.example/S02")).items] == [
        "com.example/s02"
    ]
    assert page_of(registry.items.values(), Wanted(search="nothing")).items == ()


@pytest.mark.parametrize(
    ("query", "why"),
    [
        ({"limit": "0"}, "limit"), ({"limit": "101"}, "limit"), ({"limit": "x"}, "limit"), ({"limit": "-1"}, "limit"),
        ({"updated_since": "yesterday"}, "updated_since"), ({"updated_since": "2026-11-24T12:00:00"}, "updated_since"),
        ({"include_deleted": "maybe"}, "include_deleted"),
    ],
)  # fmt: skip
def test_a_wrong_parameter_is_named(query: dict[str, str], why: str) -> None:
    with pytest.raises(Malformed, match=why):
        Wanted.read(query)


@pytest.mark.parametrize("cursor", ["x", "é", "W10", "bnVsbA", "=" * 9])
def test_a_cursor_of_somebody_else_is_refused(cursor: str) -> None:
    with pytest.raises(Malformed, match="cursor"):
        page_of((), Wanted(cursor=cursor))


def test_versions_are_ordered_as_semver_orders_them() -> None:
    ordered = [
        "1.0.0-alpha", "1.0.0-alpha.1", "1.0.0-alpha.beta", "1.0.0-beta", "1.0.0-beta.2", "1.0.0-beta.11", "1.0.0-rc.1",
        "1.0.0", "1.0.1", "1.1.0-rc.1", "1.10.0", "2.0.0",
    ]  # fmt: skip
    shuffled = random.Random(1).sample(ordered, len(ordered))
    assert sorted(shuffled, key=precedence) == ordered
    assert precedence("1.0.0+a") == precedence("1.0.0")
    assert latest([("1.0.0", "active"), ("1.1.0-rc.1", "active"), ("1.0.1", "active")]) == "1.1.0-rc.1"
    assert latest([("1.0.0", "active"), ("2.0.0", "deleted")]) == "1.0.0"

"""What the Slack channel keeps: arrivals, wants and posts, on a real store."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from datetime import timedelta

import anyio

from broker.store.open import Store
from broker.store.slack import Arrivals

Another = Callable[[str], AbstractAsyncContextManager[Store]]


async def test_an_arrival_is_taken_once_and_gone_when_it_was_worked_on(store: Store) -> None:
    arrivals = store.slack.arrivals
    assert await arrivals.put(b"one")
    assert await arrivals.put(b"two")
    (first, second) = await arrivals.take(10)
    assert [first[1], second[1]] == [b"one", b"two"]
    assert await arrivals.take(10) == []
    await arrivals.done(first[0])
    await arrivals.done(second[0])
    await arrivals.done(second[0])


async def test_a_message_with_the_same_mark_is_kept_once(store: Store) -> None:
    arrivals = store.slack.arrivals
    assert [await arrivals.put(b"one", "v0=ab"), await arrivals.put(b"one", "v0=ab"), await arrivals.put(b"two", "v0=cd")] == [
        True,
        False,
        True,
    ]
    assert [body for _, body in await arrivals.take(10)] == [b"one", b"two"]


async def test_what_a_dead_broker_held_is_taken_by_another(store: Store, open_another: Another) -> None:
    async with open_another("broker-2") as second:
        await store.slack.arrivals.put(b"held")
        assert len(await store.slack.arrivals.take(10)) == 1
        assert await second.slack.arrivals.take(10) == []
        heir = Arrivals(second.slack.arrivals._commands, broker="broker-2", takeover=timedelta(0))
        with anyio.fail_after(5):
            assert [body for _, body in await heir.take(10)] == [b"held"]


async def test_a_subject_is_due_once_however_often_it_was_wanted(store: Store) -> None:
    wanted = store.slack.wanted
    await wanted.want("a")
    await wanted.want("b")
    await wanted.want("a")
    later = store.clock() + timedelta(hours=1)
    await wanted.want("c", later)
    now = store.clock() + timedelta(seconds=1)
    due = await wanted.due(10, now)
    assert [subject for subject, _ in due] == ["b", "a"]
    for subject, score in due:
        await wanted.settle(subject, score, None)
    assert await wanted.due(10, now) == []
    assert [subject for subject, _ in await wanted.due(10, later)] == ["c"]
    assert await wanted.waiting() == 1


async def test_what_is_wanted_again_while_it_is_looked_at_stays_wanted(store: Store) -> None:
    wanted = store.slack.wanted
    moment = store.clock() - timedelta(hours=1)
    await wanted.want("a", moment)
    (held,) = await wanted.due(10, store.clock())
    await wanted.want("a", moment)
    await wanted.settle(*held, None)
    (again,) = await wanted.due(10, store.clock())
    assert again == ("a", held[1] + 1)
    await wanted.settle(*again, store.clock() + timedelta(hours=1))
    assert await wanted.due(10, store.clock()) == []


async def test_the_first_post_of_a_place_is_kept(store: Store) -> None:
    posts = store.slack.posts
    assert await posts.first("r1", "#ops", b"one") == b"one"
    assert await posts.first("r1", "#ops", b"two") == b"one"
    await posts.put("r1", "dm", b"three")
    assert await posts.of("r1") == {"#ops": b"one", "dm": b"three"}
    await posts.drop("r1", "dm")
    assert await posts.of("r1") == {"#ops": b"one"}


async def test_a_digest_holds_its_requests_by_age(store: Store) -> None:
    posts, now = store.slack.posts, store.clock()
    await posts.fold("d1", "younger", now)
    await posts.fold("d1", "older", now - timedelta(minutes=1))
    assert await posts.folded("d1") == ["older", "younger"]
    await posts.unfold("d1", "older")
    assert await posts.folded("d1") == ["younger"]
    assert await posts.folded("d2") == []

from __future__ import annotations

from datetime import timedelta

from broker.identity.secrets import hash_of
from broker.identity.sessions import Sessions
from broker.store.credentials import HashedCredentials
from tests.identity.conftest import Clock

ANN, BO = "ann@example.com", "bo@example.com"
HOUR = timedelta(hours=1)


async def test_a_session_is_found_by_its_secret_and_kept_as_a_hash(credentials: HashedCredentials, clock: Clock) -> None:
    sessions = Sessions(credentials, clock=clock)
    begun = await sessions.start(ANN, how="link", groups=("idp-finance",), software="Firefox", address="10.0.0.7")
    assert await sessions.find(begun.secret) == begun
    (kept,) = await credentials.list("session")
    assert kept.hash == hash_of(begun.secret)
    assert begun.secret.encode() not in kept.record


async def test_a_cookie_that_somebody_made_up_is_never_adopted(credentials: HashedCredentials, clock: Clock) -> None:
    sessions = Sessions(credentials, clock=clock)
    planted = "broker-session-" + "a" * 43
    assert await sessions.find(planted) is None
    begun = await sessions.start(ANN, how="link", instead=planted)
    assert begun.secret != planted
    assert await sessions.find(planted) is None


async def test_signing_in_again_ends_the_session_that_came_along(credentials: HashedCredentials, clock: Clock) -> None:
    sessions = Sessions(credentials, clock=clock)
    before = await sessions.start(ANN, how="link")
    after = await sessions.start(BO, how="link", instead=before.secret)
    assert await sessions.find(before.secret) is None
    assert await sessions.find(after.secret) == after


async def test_rotation_gives_a_new_secret_and_keeps_the_limits(credentials: HashedCredentials, clock: Clock) -> None:
    sessions = Sessions(credentials, clock=clock)
    before = await sessions.start(ANN, how="link")
    clock.forward(timedelta(seconds=5))
    after = await sessions.rotate(before)
    assert after.session == before.session
    assert after.secret != before.secret
    assert await sessions.find(before.secret) is None


async def test_a_session_that_is_used_lives_on_and_ends_after_24_hours_all_the_same(
    credentials: HashedCredentials, clock: Clock
) -> None:
    sessions = Sessions(credentials, clock=clock)
    begun = await sessions.start(ANN, how="link")
    for _ in range(23):
        clock.forward(HOUR)
        assert await sessions.find(begun.secret) is not None
    clock.forward(HOUR)
    assert await sessions.find(begun.secret) is None
    assert await sessions.all(ANN) == []


async def test_a_session_that_is_idle_ends_after_8_hours(credentials: HashedCredentials, clock: Clock) -> None:
    sessions = Sessions(credentials, clock=clock)
    begun = await sessions.start(ANN, how="link")
    clock.forward(8 * HOUR)
    assert await sessions.find(begun.secret) is None


async def test_signing_out_everywhere_ends_all_sessions_of_one_person_only(credentials: HashedCredentials, clock: Clock) -> None:
    sessions = Sessions(credentials, clock=clock)
    mine = [await sessions.start(ANN, how="link") for _ in range(3)]
    other = await sessions.start(BO, how="link")
    assert await sessions.end_all(ANN) == 3
    assert [await sessions.find(one.secret) for one in mine] == [None, None, None]
    assert await sessions.find(other.secret) == other


async def test_a_session_that_was_ended_is_not_brought_back_by_a_page_that_was_loading(
    credentials: HashedCredentials, clock: Clock
) -> None:
    sessions = Sessions(credentials, clock=clock)
    begun = await sessions.start(ANN, how="link")
    clock.forward(timedelta(minutes=5))
    await sessions.end(begun.secret)
    assert await sessions._touched(begun.secret, begun.session) is None
    assert await sessions.find(begun.secret) is None


async def test_a_form_token_is_good_in_its_own_session_only(credentials: HashedCredentials, clock: Clock) -> None:
    sessions = Sessions(credentials, clock=clock)
    mine, other = await sessions.start(ANN, how="link"), await sessions.start(ANN, how="link")
    assert mine.posted(mine.csrf)
    assert not mine.posted(other.csrf)
    assert not mine.posted("")
    assert mine.secret not in mine.csrf

"""`broker requests` against a served broker, as a person types it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import anyio
import pytest

from broker.cli.main import main
from broker.domain.requests import RequestState
from broker.store.open import Store
from tests.channels.web.conftest import ANN, BO, Site, served


@pytest.fixture
async def site(store: Store) -> AsyncIterator[Site]:
    async with served(store) as site:
        yield site


async def typed(*words: str) -> int:
    return await anyio.to_thread.run_sync(main, words)


async def as_person(site: Site, person: str, monkeypatch: pytest.MonkeyPatch, *scopes: str) -> None:
    client = await site.api(person, *scopes)
    monkeypatch.setenv("BROKER_URL", site.url)
    monkeypatch.setenv("BROKER_TOKEN", client.headers["authorization"].removeprefix("Bearer "))


async def test_a_request_is_listed_shown_and_approved(
    site: Site, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    request = await site.park("Refund \x1b[31m900 EUR", asks=(("finance", 2),))
    await as_person(site, ANN, monkeypatch)
    assert await typed("requests", "ls") == 0
    assert request.id in capsys.readouterr().out
    assert await typed("requests", "show", request.id) == 0
    shown = capsys.readouterr().out
    assert '"customer": "Acme"' in shown
    assert "\x1b" not in shown
    assert await typed("requests", "approve", request.id, "--yes") == 0
    assert "it still needs 1 of finance" in capsys.readouterr().out
    await as_person(site, BO, monkeypatch)
    assert await typed("requests", "approve", request.id, "--yes") == 0
    assert "approved: your answer was counted" in capsys.readouterr().out
    stored = await site.store.requests.get(request.id)
    assert (stored.state, [review.channel for review in stored.reviews]) == (RequestState.APPROVED, ["terminal", "terminal"])


async def test_who_comes_too_late_hears_by_whom_and_gets_status_1(
    site: Site, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    request = await site.park()
    await site.review(await site.visitor(BO), request, "reject", "credited before")
    await as_person(site, ANN, monkeypatch)
    assert await typed("requests", "approve", request.id, "--yes") == 1
    assert f"the request is already rejected by {BO}" in capsys.readouterr().err


async def test_a_rejection_carries_its_reason(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    request = await site.park()
    await as_person(site, ANN, monkeypatch)
    assert await typed("requests", "reject", request.id, "--reason", "credited before", "--yes") == 0
    assert (await site.store.requests.get(request.id)).note == "credited before"


async def test_many_requests_are_decided_at_once_and_each_has_its_answer(
    site: Site, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second, foreign = await site.park(), await site.park(arguments={"amount": 1}), await site.park(agent="other-bot")
    await as_person(site, ANN, monkeypatch)
    assert await typed("requests", "approve", first.id, second.id, foreign.id, "--yes") == 1
    told = capsys.readouterr().out.splitlines()[-3:]
    assert told == [f"{first.id}  approved", f"{second.id}  approved", f"{foreign.id}  not counted: there is no such request"]
    assert await typed("requests", "reject", foreign.id, first.id, "--reason", "no", "--yes") == 1


async def test_nothing_is_sent_without_a_yes_where_nobody_can_be_asked(
    site: Site, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    request = await site.park()
    await as_person(site, ANN, monkeypatch)
    assert await typed("requests", "approve", request.id) == 2
    assert "nothing was sent: there is nobody to ask, say --yes" in capsys.readouterr().err
    assert await site.state(request) is RequestState.PENDING


async def test_a_token_that_may_only_read_reads_and_does_not_review(
    site: Site, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    request = await site.park()
    await as_person(site, ANN, monkeypatch, "read")
    assert await typed("requests", "show", request.id) == 0
    assert await typed("requests", "approve", request.id, "--yes") == 2
    assert "lacks the scope `review`" in capsys.readouterr().err
    assert await site.state(request) is RequestState.PENDING


@pytest.mark.parametrize(
    ("url", "token", "told"),
    [
        (None, "", "set BROKER_TOKEN"),
        (None, "broker-person-" + "a" * 43, "the token is not known"),
        (None, "broker-agent-" + "a" * 43, "kind `agent`"),
        ("http://127.0.0.1:9", "broker-person-" + "a" * 43, "can't be reached"),
    ],
)
async def test_what_stands_in_the_way_is_said_with_status_2(
    site: Site, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], url: str | None, token: str, told: str
) -> None:
    monkeypatch.setenv("BROKER_URL", url or site.url)
    monkeypatch.setenv("BROKER_TOKEN", token)
    assert await typed("requests", "ls") == 2
    assert told in capsys.readouterr().err


async def test_watching_prints_what_moves_until_the_broker_stops(
    site: Site, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    await as_person(site, ANN, monkeypatch)
    out = ""

    async def seen(word: str) -> None:
        nonlocal out
        with anyio.fail_after(5):
            while word not in out:
                await anyio.sleep(0.02)
                out += capsys.readouterr().out

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(typed, "requests", "watch")
        with anyio.fail_after(5):
            while not site.board_watchers():  # noqa: ASYNC110 - the stream opens in another thread
                await anyio.sleep(0.02)
        request = await site.park()
        await seen(f"{request.id}  pending")
        await site.review(await site.visitor(BO), request, "reject", "no")
        await seen(f"{request.id}  rejected")
        site.parts.closing.set()

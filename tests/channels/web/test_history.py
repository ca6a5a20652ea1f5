from __future__ import annotations

import csv
import io
import json
import re
from datetime import UTC, datetime
from pathlib import Path
from time import process_time

import anyio
import httpx2
import pytest

from broker.channels.web.archivist import Archivist
from broker.channels.web.projection import Projection, Search, mark
from broker.domain.requests import RequestState
from broker.store.open import Store
from tests.channels.web.conftest import ANN, BO, CY, DANA, EVE, Site, served

TODAY = datetime.now(UTC).strftime("%Y-%m-%d")


def titles(page: str) -> list[str]:
    return [re.sub(r"<[^>]+>", "", title) for title in re.findall(r'class="line-title"[^>]*>(.*?)</a>', page)]


async def in_step(site: Site) -> None:
    """Wait until the index holds all that the audit tells."""
    with anyio.fail_after(10):
        while await site.web.projection.place() < await site.store.audit.last():  # noqa: ASYNC110 - a file has no event
            await anyio.sleep(0.01)


def held(folder: Path) -> bytes:
    return b"".join(file.read_bytes() for file in folder.iterdir())


async def some(site: Site) -> httpx2.AsyncClient:
    await site.park("Refund 900 EUR to Acme", {"customer": "Acme"}, show=("args.customer",))
    done = await site.park(
        "Delete the file Zürich", {"path": "zurich.txt"}, server="files", tool="delete", agent="scribe", severity="low"
    )
    await site.park("For security only", {"n": 3}, asks=(("security", 1),))
    await site.review(await site.visitor(BO), done, "reject", "keep it")
    await in_step(site)
    return await site.visitor(ANN)


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", ["Delete the file Zürich", "Refund 900 EUR to Acme"]),
        ("q=acm", ["Refund 900 EUR to Acme"]),
        ("q=zurich+delete", ["Delete the file Zürich"]),
        ("q=acme+zurich", []),
        ("q=billing-bot", ["Refund 900 EUR to Acme"]),
        ("state=rejected", ["Delete the file Zürich"]),
        ("state=pending", ["Refund 900 EUR to Acme"]),
        ("server=files", ["Delete the file Zürich"]),
        ("tool=delete&agent=scribe", ["Delete the file Zürich"]),
        (f"person={BO}", ["Delete the file Zürich"]),
        ("rule=refund-large&severity=low", ["Delete the file Zürich"]),
        (f"since={TODAY}&until={TODAY}", ["Delete the file Zürich", "Refund 900 EUR to Acme"]),
        ("until=2020-01-01", []),
        ('q="+OR+marks+:+*', []),
        ("q=%22%29%28*%3A", ["Delete the file Zürich", "Refund 900 EUR to Acme"]),
    ],
)
async def test_requests_are_found_by_what_is_shown_of_them(site: Site, query: str, found: list[str]) -> None:
    ann = await some(site)
    assert titles((await ann.get(f"/history?{query}")).text) == found


async def test_each_person_finds_what_they_may_see(site: Site) -> None:
    await some(site)
    seen = {person: len(titles((await (await site.visitor(person)).get("/history")).text)) for person in (ANN, CY, DANA, EVE)}
    assert seen == {ANN: 2, CY: 3, DANA: 3, EVE: 0}
    assert titles((await (await site.visitor(ANN)).get("/history?q=security")).text) == []


async def test_observers_find_everything(store: Store) -> None:
    async with served(store, observers=("strangers",)) as site:
        await some(site)
        assert len(titles((await (await site.visitor(EVE)).get("/history")).text)) == 3


async def test_what_is_redacted_is_not_found_and_not_in_the_file(store: Store, tmp_path: Path) -> None:
    async with served(store, history=tmp_path) as site:
        await site.park("Pin 4929 for Acme", {"pin": "4929", "to": "Acme"}, redact=("$.args.pin",), show=("args.pin", "args.to"))
        await in_step(site)
        ann = await site.visitor(ANN)
        assert titles((await ann.get("/history?q=4929")).text) == []
        assert titles((await ann.get("/history?q=acme")).text) == ["Pin [redacted] for Acme"]
        assert b"4929" not in held(tmp_path)


async def test_where_the_store_is_encrypted_no_argument_goes_into_the_file(store: Store, tmp_path: Path) -> None:
    async with served(store, history=tmp_path, encrypted=True) as site:
        await site.park("Pay Zebra", {"to": "Zebra"}, show=("args.to",))
        await in_step(site)
        ann = await site.visitor(ANN)
        assert titles((await ann.get("/history?q=zebra")).text) == []
        assert titles((await ann.get("/history?q=refund_create")).text) == ["Pay Zebra"]
        assert b"ebra" not in held(tmp_path)


async def test_older_pages_follow_one_another(site: Site) -> None:
    for number in range(60):
        await site.park(f"Number {number}", {"n": number})
    await in_step(site)
    ann = await site.visitor(ANN)
    page = (await ann.get("/history?q=number")).text
    assert titles(page) == [f"Number {number}" for number in range(59, 9, -1)]
    older = re.search(r'href="(/history\?[^"]*before=[^"]*)"', page)
    assert older is not None
    assert titles((await ann.get(older[1].replace("&amp;", "&"))).text) == [f"Number {number}" for number in range(9, -1, -1)]


async def test_what_was_found_is_exported_and_no_cell_becomes_a_formula(site: Site) -> None:
    await site.park('=HYPERLINK("http://evil.example")', {"n": 1})
    await site.park("Second, with a comma", {"n": 2})
    await in_step(site)
    ann = await site.visitor(ANN)
    answer = await ann.get("/history/export/csv")
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert [row["title"] for row in rows] == ["Second, with a comma", '\'=HYPERLINK("http://evil.example")']
    assert answer.headers["content-disposition"] == 'attachment; filename="approvals.csv"'
    lines = [json.loads(line) for line in (await ann.get("/history/export/jsonl?q=comma")).text.splitlines()]
    assert [line["title"] for line in lines] == ["Second, with a comma"]
    assert (await ann.get("/history/export/exe")).status_code == 404


@pytest.mark.parametrize("query", ["since=yesterday", "before=x", "before=-1", "until=2026-13-01"])
async def test_an_address_that_makes_no_sense_is_refused(site: Site, query: str) -> None:
    assert (await (await site.visitor(ANN)).get(f"/history?{query}")).status_code == 400


async def test_the_index_is_taken_up_where_it_was_left_and_rebuilt_where_the_audit_was_trimmed(
    store: Store, tmp_path: Path
) -> None:
    async with served(store, history=tmp_path) as site:
        request = await site.park("First", {"n": 1})
        await in_step(site)
    async with served(store) as site:
        await site.review(await site.visitor(ANN), request, "reject", "no")
        await site.park("Second", {"n": 2})
    async with served(store, history=tmp_path) as site:
        await in_step(site)
        ann = await site.visitor(ANN)
        assert titles((await ann.get("/history?state=rejected")).text) == ["First"]
    async with served(store) as site:
        await site.park("Third", {"n": 3})
        await store.audit.trim(await store.audit.last())
    async with served(store, history=tmp_path) as site:
        await in_step(site)
        assert titles((await (await site.visitor(ANN)).get("/history")).text) == ["Third", "Second", "First"]


async def test_a_broken_file_is_made_anew(store: Store, tmp_path: Path) -> None:
    await anyio.Path(tmp_path / "history.sqlite").write_bytes(b"no database" * 500)
    async with served(store, history=tmp_path) as site:
        await site.park("First", {"n": 1})
        await in_step(site)
        assert titles((await (await site.visitor(ANN)).get("/history")).text) == ["First"]


async def test_what_the_store_has_forgotten_is_found_no_more(site: Site) -> None:
    request = await site.park("Gone", {"n": 1})
    await site.review(await site.visitor(BO), request, "reject", "no")
    await in_step(site)
    await site.store.requests.forget(datetime.now(UTC).replace(year=2099), 10)
    ann = await site.visitor(ANN)
    assert titles((await ann.get("/history")).text) == []
    assert await site.web.projection.search(Search(marks=(mark("state", RequestState.REJECTED.value),)), 10) == []


async def test_a_large_index_is_searched_quickly(store: Store, tmp_path: Path) -> None:
    """20,000 here; the figures for 1,000,000 come from the bench."""
    projection = Projection(tmp_path, mask_key=b"k" * 32)
    async with served(store) as site:
        sample = await site.park("Refund", {"n": 1})
    row = projection._row(sample)
    rows = [(row[0] + number, f"{row[1]}{number}", *row[2:]) for number in range(20_000)]
    from broker.channels.web.projection import _put  # noqa: PLC0415 - rows without records

    await projection._run(_put, rows, 0)
    before = process_time()
    hits = await projection.search(Search(words="refund", sight=(mark("group", "finance"), mark("person", ANN))), 50)
    assert (len(hits), hits[0].number) == (50, row[0] + 19_999)
    assert process_time() - before < 0.5
    await projection.close()


async def test_the_archivist_reads_everything_anew_when_it_begins_late(store: Store) -> None:
    projection = Projection(None, mask_key=b"k" * 32)
    async with served(store) as site:
        await site.park("First", {"n": 1})
        archivist = Archivist(projection, store.requests, store.audit, store.changes)
        await archivist._anew(await store.audit.last())
        assert not await archivist.step()
        assert len(await projection.search(Search(), 10)) == 1
    await projection.close()

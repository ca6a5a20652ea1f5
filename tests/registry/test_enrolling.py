"""Enrolling on a real store: what is written, what every broker knows of it, and what is refused."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from typing import Any

import anyio
import msgspec
import pytest

from broker.domain.enrolment import Lifecycle
from broker.domain.events import Noted
from broker.domain.servers import Server
from broker.domain.terms import Actor, Slot, SlotState
from broker.errors import EnrolmentRefused, Forbidden, NotEnrolled, StoreUnavailable, WrongMove
from broker.registered import house_of
from broker.registry.enrolling import Enrolling, House
from broker.registry.roster import Roster
from broker.settings import Settings
from broker.store.open import Store
from tests.fakes.server_json import server_json

OWNER = Actor("olga@example.com", ("payments",))
REVIEWERS = {slot: (slot.value,) for slot in Slot}
HOUSE = house_of(Settings(review_groups={slot.value: (slot.value,) for slot in Slot}))
NAME = "com.example/payments"


async def resolve(host: str) -> Sequence[str]:
    return [host if host[0].isdigit() else "10.0.0.1" if host.startswith("inside") else "8.8.8.8"]


def declared() -> Mapping[str, Server]:
    return {"files": Server(name="files", url="http://127.0.0.1:9/mcp")}


def enrolling(store: Store, house: House = HOUSE) -> tuple[Enrolling, Roster]:
    roster = Roster(store.enrolled, clock=store.clock)
    return Enrolling(store.enrolled, roster, house, declared=declared, resolve=resolve), roster


def reviewer(slot: Slot) -> Actor:
    return Actor(f"{slot}@example.com", (slot.value,))


async def approved(desk: Enrolling, name: str = NAME) -> None:
    for slot in Slot:
        by = reviewer(slot)
        await desk.change(
            name, lambda known, now, slot=slot, by=by: _of(known, name).reviewed(  # type: ignore[misc]
                slot, SlotState.APPROVED, by, now, reviewers=REVIEWERS
            ),
        )  # fmt: skip


def _of(known: Mapping[str, Any], name: str) -> Any:
    return known[name]


async def test_an_enrolled_server_gets_calls_of_its_owners_people_and_of_others_once_it_is_approved(store: Store) -> None:
    desk, roster = enrolling(store)
    await desk.publish(server_json(), OWNER)
    assert {name: server.groups for name, server in roster.servers().items()} == {"payments": {"payments": ("*",)}}
    await desk.submit(NAME, OWNER)
    assert roster.servers() == {}
    await approved(desk)
    assert {name: server.groups for name, server in roster.servers().items()} == {"payments": {"support": ("*",)}}
    await desk.suspend(NAME, OWNER, "it leaks")
    assert roster.servers() == {}
    await desk.resume(NAME, reviewer(Slot.SECURITY), "mended")
    assert list(roster.servers()) == ["payments"]
    await desk.retire(NAME, OWNER, "replaced")
    assert roster.servers() == {}


async def test_a_new_version_of_an_approved_server_takes_its_place_without_a_restart(store: Store) -> None:
    desk, roster = enrolling(store)
    await desk.publish(server_json(), OWNER)
    await desk.submit(NAME, OWNER)
    await approved(desk)
    after = await desk.publish(server_json(version="1.1.0", url="https://elsewhere.example.com/mcp"), OWNER)
    assert (after.lifecycle, roster.servers()["payments"].url) == (Lifecycle.APPROVED, "https://payments.example.com/mcp")
    await approved(desk)
    assert roster.servers()["payments"].url == "https://elsewhere.example.com/mcp"


async def test_an_experiment_past_its_time_gets_no_call_and_what_is_approved_still_does(store: Store) -> None:
    desk, roster = enrolling(store, msgspec.structs.replace(HOUSE, experiments_last=timedelta(milliseconds=40)))
    await desk.publish(server_json(), OWNER)
    await desk.submit(NAME, OWNER)
    await approved(desk)
    await desk.publish(server_json("com.example/trial"), OWNER)
    assert sorted(roster.servers()) == ["payments", "trial"]
    with anyio.fail_after(2):
        while list(roster.servers()) != ["payments"]:  # noqa: ASYNC110 - time passes without an event
            await anyio.sleep(0.01)


async def test_every_broker_knows_a_change_within_a_moment(
    store: Store, open_another: Callable[[str], AbstractAsyncContextManager[Store]]
) -> None:
    desk, _ = enrolling(store)
    async with open_another("broker-2") as second:
        other = Roster(second.enrolled, clock=second.clock)
        async with other.running():
            await desk.publish(server_json(), OWNER)
            with anyio.fail_after(3):
                while list(other.servers()) != ["payments"]:  # noqa: ASYNC110 - it looks by itself
                    await anyio.sleep(0.01)


async def test_while_the_store_cannot_be_read_no_enrolled_server_gets_a_call(store: Store) -> None:
    desk, _ = enrolling(store)
    await desk.publish(server_json(), OWNER)
    ahead = [timedelta()]
    roster = Roster(store.enrolled, clock=lambda: store.clock() + ahead[0])
    await roster.look()
    assert list(roster.servers()) == ["payments"]
    ahead[0] = timedelta(seconds=6)  # nobody has read the store for so long
    assert roster.servers() == {}
    await roster.look()
    assert list(roster.servers()) == ["payments"]


async def test_names_that_files_declare_or_others_hold_are_refused(store: Store) -> None:
    desk, roster = enrolling(store)
    await desk.publish(server_json(), OWNER)
    for name, why in (("com.example/files", "servers.yaml declares `files`: files win"), ("org.other/payments", NAME)):
        with pytest.raises(EnrolmentRefused, match=why):
            await desk.publish(server_json(name), OWNER)
    assert list(roster.enrolments) == [NAME]


@pytest.mark.parametrize("url", ["https://inside.example.com/mcp", "http://192.168.0.1/mcp", "http://169.254.169.254/latest"])
async def test_private_addresses_are_refused(store: Store, url: str) -> None:
    desk, roster = enrolling(store)
    with pytest.raises(EnrolmentRefused, match="private network"):
        await desk.publish(server_json(url=url), OWNER)
    assert roster.enrolments == {}


async def test_what_would_run_or_read_something_here_is_refused_with_every_reason(store: Store) -> None:
    desk, _ = enrolling(store)
    with pytest.raises(EnrolmentRefused) as caught:
        await desk.publish(server_json(packages=[{}], command=["sh"], url="env:HOME"), OWNER)
    assert [problem.split("`")[1] for problem in caught.value.problems] == ["packages", "command", "url", "remotes[0].url"]
    assert (await store.enrolled.read()).records == {}


async def test_a_server_belongs_to_its_owners_and_cannot_be_given_away(store: Store) -> None:
    desk, _ = enrolling(store)
    await desk.publish(server_json(), OWNER)
    with pytest.raises(Forbidden):
        await desk.publish(server_json(version="1.1.0"), Actor("eve@example.com", ("strangers",)))
    with pytest.raises(EnrolmentRefused, match="belongs to `payments`"):
        await desk.publish(server_json(version="1.1.0", owner="strangers"), Actor("eve@example.com", ("strangers", "payments")))
    with pytest.raises(WrongMove, match="a version never changes"):
        await desk.publish(server_json(), OWNER)
    with pytest.raises(NotEnrolled):
        await desk.submit("com.example/nothing", OWNER)


async def test_many_who_publish_at_once_all_get_in_each_with_a_stamp_of_its_own(store: Store) -> None:
    desk, roster = enrolling(store)

    async def publish(number: int) -> None:
        await desk.publish(server_json(f"com.example/s{number}"), OWNER)

    async with anyio.create_task_group() as tasks:
        for number in range(12):
            tasks.start_soon(publish, number)
    stamps = [enrolment.changed_at for enrolment in roster.enrolments.values()]
    assert (len(set(stamps)), (await store.enrolled.read()).count) == (12, 12)


async def test_every_change_is_in_the_audit_in_the_step_that_makes_it(store: Store) -> None:
    desk, _ = enrolling(store)
    await desk.publish(server_json(), OWNER)
    await desk.submit(NAME, OWNER)
    await approved(desk)
    events = [entry.event for entry in await store.audit.read(0, 100) if isinstance(entry.event, Noted)]
    assert [(event.what, event.who, event.fields["step"]) for event in events] == [
        ("server.moved", OWNER.person, "enrolled"), ("server.moved", OWNER.person, "submitted"),
        ("server.moved", "security@example.com", "security approved"),
        ("server.moved", "legal_privacy@example.com", "legal_privacy approved"),
        ("server.moved", "genai@example.com", "genai approved"),
    ]  # fmt: skip
    assert (events[-1].fields["grant"], events[-1].fields["groups"], events[-1].fields["version"]) == ("1", "support", "1.0.0")


async def test_nothing_is_enrolled_while_the_store_is_away(store: Store) -> None:
    _, roster = enrolling(store)

    class Away:
        async def count(self) -> int:
            raise StoreUnavailable("away")

        read = write = count

    away = Enrolling(Away(), roster, HOUSE, declared=declared, resolve=resolve)  # type: ignore[arg-type]  # it only raises
    with pytest.raises(StoreUnavailable):
        await away.publish(server_json(), OWNER)

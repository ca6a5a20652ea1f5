"""Reviews: bound to what was shown, by others than the owner, and what the last one puts in force."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import pytest

from broker.domain.enrolment import Lifecycle
from broker.domain.events import Noted
from broker.domain.servers import Server, ToolDefinition
from broker.domain.terms import Actor, Slot
from broker.errors import Forbidden, Malformed, SelfReview, ShownAnother, UpstreamError, UpstreamUntouched, WrongMove
from broker.policy.load import load
from broker.policy.model import Policy
from broker.registry.enrolling import Enrolling, House
from broker.registry.pins import Pins
from broker.registry.ports import Listing
from broker.registry.reviewing import Reviewing, Sheet
from broker.registry.roster import Roster
from broker.store.open import Store
from tests.fakes.server_json import server_json

NAME, OWNER = "com.example/payments", Actor("olga@example.com", ("payments",))
SECURITY, LEGAL, GENAI = (Actor(f"{slot}@example.com", (slot.value,)) for slot in Slot)
FILES = {
    "people.yaml": "people: {}\ngroups: {support: [eve@example.com, sue@example.com], finance: [dana@example.com]}\n",
    "servers.yaml": "servers: {}\n",
    "rules.yaml": "defaults: {unmatched: allow, unknown_tool: deny}\nrules: []\n",
}


@dataclass
class Server_:
    """What the server offers when it is asked; None is away."""

    tools: list[dict[str, Any]] | None = field(default_factory=lambda: [{"name": "balance"}, {"name": "transfer"}])

    async def listing(self, server: str, *, fresh: bool = False) -> Listing:
        if self.tools is None:
            raise UpstreamUntouched("it is away")
        return Listing(server, tuple(ToolDefinition(server, raw["name"], raw) for raw in self.tools))

    async def read_pins(self) -> None:
        """It keeps none."""


@dataclass
class Bench:
    reviewing: Reviewing
    upstream: Server_
    store: Store

    async def sheet(self) -> Sheet:
        found = await self.reviewing.sheet(self.reviewing.enrolling.roster.enrolments[NAME])
        assert found is not None
        return found

    async def say(self, slot: Slot, by: Actor, state: str = "approved", **more: Any) -> Any:
        shown = more.pop("shown", None) or (await self.sheet()).digest
        return await self.reviewing.review(NAME, slot, state, by, shown=shown, **more)


@pytest.fixture
async def bench(store: Store, tmp_path: Path) -> Bench:
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)

    class Policies:
        current: Policy = load(tmp_path)

    async def resolve(host: str) -> Sequence[str]:
        return ("8.8.8.8",)

    def declared() -> Mapping[str, Server]:
        return {}

    roster = Roster(store.enrolled, clock=store.clock)
    house = House(lambda address: True, {slot: (slot.value,) for slot in Slot})
    enrolling = Enrolling(store.enrolled, roster, house, declared=declared, resolve=resolve)
    await enrolling.publish(server_json(), OWNER)
    await enrolling.submit(NAME, OWNER)
    upstream = Server_()
    return Bench(Reviewing(enrolling, upstream, Pins(store.servers), Policies(), store.clock), upstream, store)


async def test_two_of_three_reviews_let_no_call_through_and_the_third_grants_what_was_shown(bench: Bench) -> None:
    sheet = await bench.sheet()
    assert [stand.tool for stand in sheet.tools] == ["balance", "transfer"]
    assert sheet.widening.told == "this widens access by support and 2 people of people.yaml"
    await bench.say(Slot.SECURITY, SECURITY)
    after = await bench.say(Slot.LEGAL_PRIVACY, LEGAL, ticket="https://tracker.example.com/LEGAL-7")
    assert (after.lifecycle, after.server()) == (Lifecycle.IN_REVIEW, None)
    assert after.proposal.missing == ("genai pending",)
    with pytest.raises(WrongMove, match="needs a reason"):
        await bench.say(Slot.GENAI, GENAI, "n/a")
    after = await bench.say(Slot.GENAI, GENAI, "n/a", reason="no model is called")
    assert (after.lifecycle, after.server().groups, after.grant.number) == (Lifecycle.APPROVED, {"support": ("*",)}, 1)
    assert after.grant.slots[Slot.LEGAL_PRIVACY].ticket == "https://tracker.example.com/LEGAL-7"
    assert {pin.tool: pin.by for pin in await bench.reviewing.pins.every()} == dict.fromkeys(
        ("balance", "transfer"), GENAI.person
    )
    events = [entry.event for entry in await bench.store.audit.read(0, 100) if isinstance(entry.event, Noted)]
    assert (events[-1].who, events[-1].fields["grant"], events[-1].fields["groups"]) == (GENAI.person, "1", "support")


async def test_reviews_of_what_has_changed_since_do_not_count(bench: Bench) -> None:
    before = (await bench.sheet()).digest
    await bench.say(Slot.SECURITY, SECURITY)
    assert bench.upstream.tools is not None
    bench.upstream.tools.append({"name": "drop_everything"})
    with pytest.raises(ShownAnother):
        await bench.say(Slot.LEGAL_PRIVACY, LEGAL, shown=before)
    await bench.say(Slot.LEGAL_PRIVACY, LEGAL)
    after = await bench.say(Slot.GENAI, GENAI)
    assert (after.lifecycle, after.proposal.missing) == (Lifecycle.IN_REVIEW, ("security pending",))
    after = await bench.say(Slot.SECURITY, SECURITY)
    assert after.lifecycle is Lifecycle.APPROVED


async def test_what_cannot_be_seen_cannot_be_approved_and_can_be_rejected(bench: Bench) -> None:
    bench.upstream.tools = None
    assert (await bench.sheet()).problem == "it is away"
    with pytest.raises(UpstreamError, match="nobody can see what would be approved"):
        await bench.say(Slot.SECURITY, SECURITY)
    after = await bench.say(Slot.SECURITY, SECURITY, "rejected", reason="it is away")
    assert after.proposal.missing[0] == "security rejected"


@pytest.mark.parametrize(
    ("slot", "state", "by", "error"),
    [
        (Slot.SECURITY, "approved", Actor("x@example.com", ("security", "payments")), SelfReview),
        (Slot.SECURITY, "approved", Actor(OWNER.person, ("security",)), SelfReview),
        (Slot.SECURITY, "approved", Actor("x@example.com", ("legal_privacy",)), Forbidden),
        (Slot.SECURITY, "pending", SECURITY, Malformed),
        ("privacy", "approved", SECURITY, Malformed),
        (Slot.SECURITY, "yes", SECURITY, Malformed),
    ],
)
async def test_who_may_not_review_does_not(bench: Bench, slot: Slot, state: str, by: Actor, error: type[Exception]) -> None:
    before = bench.reviewing.enrolling.roster.enrolments[NAME]
    with pytest.raises(error):
        await bench.say(slot, by, state)
    assert bench.reviewing.enrolling.roster.enrolments[NAME] == before


async def test_other_groups_in_a_new_version_widen_nothing_before_all_three_have_looked_again(bench: Bench) -> None:
    for slot, by in ((Slot.SECURITY, SECURITY), (Slot.LEGAL_PRIVACY, LEGAL), (Slot.GENAI, GENAI)):
        await bench.say(slot, by)
    await bench.reviewing.enrolling.publish(server_json(version="1.1.0", groups=["support", "finance"]), OWNER)
    sheet = await bench.sheet()
    assert sheet.widening.told == "this widens access by finance and 1 person of people.yaml"
    assert sheet.before.groups == {"support": ("*",)}
    assert bench.reviewing.enrolling.roster.servers()["payments"].groups == {"support": ("*",)}
    for slot, by in ((Slot.SECURITY, SECURITY), (Slot.LEGAL_PRIVACY, LEGAL), (Slot.GENAI, GENAI)):
        after = await bench.say(slot, by)
    assert (after.grant.number, after.grant.terms.groups) == (2, {"support": ("*",), "finance": ("*",)})
    assert msgspec.structs.asdict(after)["grants"][0].terms.groups == {"support": ("*",)}

"""What does not work in Slack is counted, kept for operators with its mend, and gone when it works again."""

from __future__ import annotations

from broker.channels.slack.troubles import Troubles
from broker.checkup import Level, store_findings
from broker.store.open import Store


async def test_the_doctor_tells_what_does_not_work_in_slack(store: Store) -> None:
    troubles = Troubles(store.slack.troubles, store.clock)
    await troubles.note("#ops", "is_archived")
    await troubles.note("#ops", "is_archived")
    (finding,) = [one for one in await store_findings(store) if one.about == "slack"]
    assert (finding.level, finding.told.startswith("#ops: is_archived, 2 times since ")) == (Level.WARNING, True)
    assert finding.mend.startswith("unarchive the conversation")
    await troubles.over("#ops")
    assert [one for one in await store_findings(store) if one.about == "slack"] == []


async def test_another_reason_is_another_trouble(store: Store) -> None:
    troubles = Troubles(store.slack.troubles, store.clock)
    await troubles.note("#ops", "is_archived")
    await troubles.note("#ops", "not_in_channel")
    assert [(one.reason, one.count) for one in await troubles.all()] == [("not_in_channel", 1)]

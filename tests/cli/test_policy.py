"""`broker policy` as its users type it: what it prints, and with which status it ends."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import anyio
import pytest
from msgspec import structs

from broker.cli.main import main
from broker.domain.requests import Change
from broker.domain.reviews import Verdict
from broker.domain.servers import ToolDefinition
from broker.policy.load import compose
from broker.registry.pins import Pins
from broker.store.open import open_store
from broker.versions import Versions
from tests.conftest import empty
from tests.fakes.samples import Move, draft, review

RULES = """\
groups: {leads: [a@example.com, b@example.com]}
servers: {shop: {command: [x], tools: {refund: {destructive: true}}}}
counters: {day: {window: 24h, sum: args.amount}}
rules:
  - {id: small, when: args.amount <= 100, effect: allow}
  - id: large
    title: Refund {args.amount}
    when: args.amount > 100 || counters.day > 1000.0
    effect: require_approval
    approval: {all_of: [{group: leads}]}
"""
TESTS = """\
cases:
  - {name: small, call: [shop, refund, {amount: 40}], expect: allow, rules: [small]}
  - {name: large, call: [shop, refund, {amount: 400}], expect: require_approval, rules: [large]}
"""
RECORDED = {
    "at": "2026-11-24T10:00:00Z",
    "call": {"server": "shop", "tool": "refund", "params": {"arguments": {"amount": 400}}, "caller": {"user": "c@example.com"}},
    "was": {"effect": "allow"},
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BROKER_DATA", str(tmp_path / "data"))
    (tmp_path / "rules.yaml").write_text(RULES)
    (tmp_path / "rules.test.yaml").write_text(TESTS)
    return tmp_path


def run(capsys: pytest.CaptureFixture[str], *typed: object) -> tuple[int, str, str]:
    status = main(["policy", *map(str, typed)])
    printed = capsys.readouterr()
    return status, printed.out, printed.err


def test_check_finds_nothing_in_a_good_folder(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "check", folder) == (0, "0 finding(s)\n", "")


def test_check_fails_for_errors_and_for_warnings_only_when_strict(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "more.yaml").write_text("consts: {lost: 1}")
    assert run(capsys, "check", folder)[0] == 0
    status, out, _ = run(capsys, "check", folder, "--strict")
    assert (status, out) == (
        1,
        "more.yaml:1:10: warning: `consts.lost` is used by no rule [unused]\n    take it away\n1 finding(s)\n",
    )
    (folder / "more.yaml").write_text("const: {lost: 1}")
    assert run(capsys, "check", folder)[0] == 1


@pytest.mark.parametrize("style", ["json", "sarif"])
def test_check_prints_for_machines(folder: Path, capsys: pytest.CaptureFixture[str], style: str) -> None:
    (folder / "more.yaml").write_text("const: 1")
    status, out, _ = run(capsys, "check", folder, "--format", style)
    assert status == 1
    assert json.loads(out)


def test_check_compares_with_what_servers_list(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    listed = {"shop": [{"name": "refund", "inputSchema": {"properties": {"sum": {}}, "required": []}}]}
    (folder / "tools.json").write_text(json.dumps(listed))
    _, out, _ = run(capsys, "check", folder, "--definitions", folder / "tools.json")
    assert "asks about args.amount, which shop/refund does not take [no-such-argument]" in out


def test_test_passes_and_says_its_coverage(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "test", folder, "--min-coverage", "100") == (0, "2 of 2 cases passed, coverage 100 % (6 of 6)\n", "")


def test_test_fails_when_a_case_fails_or_too_little_is_covered(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "rules.test.yaml").write_text(TESTS.splitlines()[0] + "\n" + TESTS.splitlines()[1])
    assert run(capsys, "test", folder)[0] == 0
    status, out, _ = run(capsys, "test", folder, "--min-coverage", "90")
    assert (status, out.splitlines()[0]) == (
        1,
        "rules.yaml:6: `large` is not covered: it never decides a case, nor is it asserted in `shadow`",
    )
    (folder / "rules.test.yaml").write_text(TESTS.replace("expect: allow", "expect: deny"))
    status, out, _ = run(capsys, "test", folder, "--json")
    assert (status, json.loads(out)["failures"][0]["differences"]) == (1, ["effect: expected deny, got allow"])


def test_a_folder_that_can_not_be_used_ends_with_status_2(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "test", folder / "none")[0] == 2
    (folder / "rules.yaml").write_text("rules: 1")
    status, _, err = run(capsys, "test", folder)
    assert (status, err) == (2, "rules.yaml:1:8: 1 is not a list (a rule); write it as [one, two]\n")


def test_explain_shows_a_call_from_the_command_line(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = run(capsys, "explain", "--policies", folder, "shop", "refund", '{"amount": 40}', "--counter", "day=2000")
    assert (status, out.splitlines()[:2]) == (0, ["require_approval by large", "  large: Refund 40  (rules.yaml:6)"])
    assert "counters.day  =  2000.0" in out


def test_explain_shows_a_recorded_call(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "call.json").write_text(json.dumps({**RECORDED, "counters": {"day": 0}}))
    status, out, _ = run(capsys, "explain", "--policies", folder, "--call", folder / "call.json", "--json")
    assert (status, json.loads(out)["decision"]["rules"]) == (0, ["large"])


@pytest.mark.parametrize(
    "typed",
    [[], ["shop"], ["shop", "refund", "{"], ["--call", "none.json"], ["shop", "refund", "--counter", "day=x"]],
)
def test_explain_without_a_call_ends_with_status_2(folder: Path, capsys: pytest.CaptureFixture[str], typed: list[str]) -> None:
    assert run(capsys, "explain", "--policies", folder, *typed)[0] == 2


def test_replay_reports_and_refuses_new_access(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "calls.jsonl").write_text(json.dumps(RECORDED) + "\n{}\n")
    status, out, _ = run(capsys, "replay", "calls.jsonl", "--policies", folder, "--json", folder / "out.json")
    assert (status, out.splitlines()[0]) == (0, "1 calls over 1.0 days, 1 unreadable")
    figures = json.loads((folder / "out.json").read_text())
    assert (figures["matrix"], figures["looser"]) == ({"allow": {"require_approval": 1}}, 0)
    assert run(capsys, "replay", "calls.jsonl", "--policies", folder, "--no-new-access")[0] == 0
    (folder / "calls.jsonl").write_text(json.dumps({**RECORDED, "was": {"effect": "deny"}}))
    assert run(capsys, "replay", "calls.jsonl", "--policies", folder, "--no-new-access")[0] == 1
    assert run(capsys, "replay", "none.jsonl", "--policies", folder)[0] == 2


def test_replay_compares_two_folders(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = folder / "other"
    other.mkdir()
    (other / "rules.yaml").write_text(RULES.replace("<= 100", "<= 500").replace("> 100 ", "> 500 "))
    (folder / "calls.jsonl").write_text(json.dumps(RECORDED))
    _, out, _ = run(capsys, "replay", "calls.jsonl", "--policies", other, "--against", folder)
    assert "newly allowed: 1" in out


@pytest.mark.parametrize(("what", "key"), [("policy", "rules"), ("tests", "cases")])
def test_schema_prints_a_json_schema(capsys: pytest.CaptureFixture[str], what: str, key: str) -> None:
    status, out, _ = run(capsys, "schema", what)
    assert (status, key in json.loads(out)["properties"]) == (0, True)


def test_without_a_folder_the_shipped_policies_are_meant(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "test", "--min-coverage", "100")[0] == 0


@pytest.fixture
def store(folder: Path, embedded_store: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The store that the broker of `folder` uses, empty."""
    monkeypatch.setenv("BROKER_POLICIES", str(folder))
    monkeypatch.setenv("BROKER_REDIS_URL", embedded_store)
    anyio.run(empty, embedded_store)
    return embedded_store


async def pin(folder: Path, url: str, tool: dict[str, Any]) -> None:
    async with open_store(url, data=folder / "data", broker_id="broker-1") as store:
        definition = ToolDefinition("shop", str(tool["name"]), tool)
        await Pins(store.servers).accept(definition, "a@example.com", store.clock(), instead_of=None)


def test_check_compares_with_the_tools_that_are_pinned(folder: Path, capsys: pytest.CaptureFixture[str], store: str) -> None:
    schema = {"properties": {"amount": {"type": "string"}}}
    anyio.run(pin, folder, store, {"name": "refund", "inputSchema": schema})
    status, out, err = run(capsys, "check", folder)
    assert (status, err, [line.rpartition(" ")[2] for line in out.splitlines() if "warning" in line]) == (
        0, "", ["[unguarded-argument]", "[wrong-argument-type]", "[unguarded-argument]", "[wrong-argument-type]"],
    )  # fmt: skip


def test_check_goes_on_and_says_so_where_the_store_does_not_answer(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BROKER_REDIS_URL", f"unix://{folder}/none.sock")
    status, out, err = run(capsys, "check", folder)
    assert (status, out, err.partition(":")[0]) == (0, "0 finding(s)\n", "not compared with pinned tools")


@pytest.mark.parametrize("text", ["{", "[]", '{"shop": {}}'])
def test_check_refuses_a_list_of_tools_that_is_none(folder: Path, capsys: pytest.CaptureFixture[str], text: str) -> None:
    (folder / "tools.json").write_text(text)
    assert run(capsys, "check", folder, "--definitions", folder / "tools.json")[0] == 2


def test_explain_knows_a_pinned_tool(folder: Path, capsys: pytest.CaptureFixture[str], store: str) -> None:
    typed = ("explain", "shop", "payout", '{"amount": 40}')
    assert run(capsys, *typed)[1].splitlines()[0] == "deny by unknown_tool"
    schema = {"properties": {"amount": {"type": "number"}}, "required": ["amount"]}
    anyio.run(pin, folder, store, {"name": "payout", "inputSchema": schema})
    assert run(capsys, *typed)[1].splitlines()[0] == "allow by small"
    assert run(capsys, "explain", "shop", "payout", "{}")[1].splitlines()[0] == "deny by arguments"


async def park(
    folder: Path,
    url: str,
    *,
    policy: str,
    moves: tuple[Move, ...] = (),
    amount: int = 400,
    day: float | None = None,
    encryption: tuple[bytes, ...] = (),
) -> str:
    """A refund that the policy with this digest asked about; `day` is what its counter held then."""
    async with open_store(url, data=folder / "data", broker_id="broker-1", encryption=encryption) as store:
        make = draft(server="shop", tool="refund", arguments={"amount": amount}, group="leads")
        counters = {} if day is None else {"day": day}

        def parked(now: datetime) -> Change:
            change = make(now)
            return Change(structs.replace(change.after, policy=policy, counters=counters), change.event)

        request, _ = await store.requests.open("join", parked)
        for move in moves:
            await store.requests.update(request.id, move)
        return request.id


@pytest.mark.parametrize("kept", [True, False])
def test_explain_shows_a_past_request_by_the_policy_of_its_day(
    folder: Path, capsys: pytest.CaptureFixture[str], store: str, kept: bool
) -> None:
    old = {"rules.yaml": RULES.replace("id: large", "id: old-large").encode()}
    if kept:
        Versions(folder / "data" / "policies").keep(old)
    request = anyio.run(lambda: park(folder, store, policy=compose(old).digest))
    status, out, err = run(capsys, "explain", "--request", request)
    assert (status, out.splitlines()[0]) == (0, f"require_approval by {'old-large' if kept else 'large'}")
    assert ("was not kept" in err) is not kept


def test_explain_and_replay_of_a_past_request_know_what_its_counters_held(
    folder: Path, capsys: pytest.CaptureFixture[str], store: str
) -> None:
    request = anyio.run(lambda: park(folder, store, policy="sha256:old", amount=40, day=2000.0))
    out = run(capsys, "explain", "--request", request)[1]
    assert (out.splitlines()[0], "counters.day  =  2000.0" in out) == ("require_approval by large", True)
    assert run(capsys, "explain", "--request", request, "--counter", "day=0")[1].splitlines()[0] == "allow by small"
    assert run(capsys, "replay", "--no-new-access")[0] == 0


@pytest.mark.usefixtures("store")
def test_explain_of_a_request_that_does_not_exist_ends_with_status_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "explain", "--request", "apr_0_nothing")[0] == 2


@pytest.mark.parametrize("encryption", [(), (b"k" * 32,)], ids=["plain", "encrypted"])
def test_replay_without_a_file_takes_the_requests_of_the_store(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, store: str, encryption: tuple[bytes, ...]
) -> None:
    if encryption:
        monkeypatch.setenv("BROKER_ENCRYPTION_KEYS", encryption[0].hex())
    rejected = review("a@example.com", Verdict.REJECT, groups=("leads",))
    anyio.run(lambda: park(folder, store, policy="sha256:old", moves=(rejected,), encryption=encryption))
    status, out, _ = run(capsys, "replay", "--json", folder / "out.json")
    assert (status, out.splitlines()[:2]) == (0, ["1 calls over 1.0 days", "  require_approval  -> require_approval         1"])
    people = json.loads((folder / "out.json").read_text())["people"]["leads"]
    assert (people["asks_a_day_before"], people["asks_a_day_after"], people["typical_wait"] >= 0) == (1.0, 1.0, True)
    (folder / "rules.yaml").write_text(RULES.replace("<= 100", "<= 500").replace("> 100 ", "> 500 "))
    status, out, _ = run(capsys, "replay", "--no-new-access")
    assert (status, "rejected now passing: 1" in out) == (1, True)

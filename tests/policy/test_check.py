"""What `check` finds: each oddity once where it is, and nothing where it is not."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from broker.policy.argument_lints import argument_lints
from broker.policy.check import check
from broker.policy.findings import Finding, Level, as_json, as_sarif, for_github, for_people
from broker.policy.lints import lints
from broker.policy.model import Problem
from tests.policy.conftest import BASE

TODAY = date(2026, 11, 24)
ASK = "effect: require_approval, approval: {all_of: [{group: leads}]}"
REFUND = "{id: aa, match: {tool: refund}, effect: allow}"
DENIED = "rules: [{id: aa, effect: deny}]\nexceptions: "
ENTRY = "when: args.x == 1, owner: me@example.com"


def codes(policy: Any) -> list[str]:
    return [finding.code for finding in lints(policy, TODAY)]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("rules: [{id: aa, match: {server: payments, tool: refund}, effect: allow}]", []),
        ("rules: [{id: aa, match: {server: paymints}, effect: deny}]", ["no-such-server"]),
        ("rules: [{id: aa, match: {server: payments, tool: refnd}, effect: deny}]", ["no-such-tool"]),
        ("rules: [{id: aa, match: {server: payments, tool: [refund, refnd]}, effect: deny}]", ["no-such-tool"]),
        ('rules: [{id: aa, match: {server: payments, tool: "x*"}, effect: deny}]', ["no-such-tool"]),
        ("rules: [{id: aa, match: {server: payments, not_tool: '*'}, effect: deny}]", ["no-such-tool"]),
        ("rules: [{id: aa, effect: allow}]", ["wide-allow"]),
        ('rules: [{id: aa, match: {tool: "re*"}, effect: allow}]', ["wide-allow"]),
        ("rules: [{id: aa, match: {hints: {destructive: false}}, effect: allow}]", []),
        ("rules: [{id: aa, match: {hints: {read_only: true}}, effect: allow}]", []),
        ("rules: [{id: aa, when: args.x == 1, effect: allow}]", []),
        ("rules: [{id: aa, match: {tool: note, clients: code}, effect: allow}]", ["unproved-client"]),
        ("rules: [{id: aa, match: {tool: note}, when: client.name == 'code', effect: allow}]", ["unproved-client"]),
        ("rules: [{id: aa, match: {tool: note, clients: code}, effect: deny}]", []),
        ("rules: [{id: aa, match: {tool: note}, when: double(args.x) <= 100.0, effect: allow}]", ["double-compared"]),
        ("rules: [{id: aa, match: {tool: note}, when: 100.0 > double(args.x), effect: allow}]", ["double-compared"]),
        ("rules: [{id: aa, match: {tool: note}, when: double(args.x) + 1.0 > 2.0, effect: allow}]", []),
        ("rules: [{id: aa, match: {tool: note}, when: 1.0 + double(args.x.y) > 2.0, effect: allow}]", []),
        ("rules: [{id: aa, severity: critical, effect: require_approval, "
         "approval: {step_up: false, all_of: [{group: leads}]}}]", ["critical-without-step-up"]),
        ("rules: [{id: aa, severity: critical, effect: require_approval, "
         "approval: {caller: true, all_of: [{group: leads}]}}]", ["caller-confirms-step-up"]),
        ("rules: [{id: aa, severity: critical, effect: require_approval, "
         "approval: {caller: true, step_up: false, all_of: [{group: leads}]}}]",
         ["critical-without-step-up", "caller-confirms-critical"]),
        ("rules: [{id: aa, effect: require_approval, approval: {caller: true, all_of: [{group: leads}]}}]", []),
        ("rules: [{id: aa, title: 'Pay {args.card.number}', redact: [$.args.card.*], effect: deny}]", ["shows-redacted"]),
        ("rules: [{id: aa, title: 'Pay {args.card}', redact: [$.args.card.number], effect: deny}]", ["shows-redacted"]),
        ("rules: [{id: aa, title: 'Pay {args.cards}', redact: [$.args.card.number], effect: deny}]", []),
        ("rules: [{id: aa, redact: [$.args.a], effect: require_approval, approval: {show: args.a, all_of: [{group: leads}]}}]",
         ["shows-redacted"]),
        ("rules: [{id: aa, effect: require_approval, approval: {all_of: [{group: leads, count: 3}]}}]", ["group-too-small"]),
        ("rules: [{id: aa, effect: require_approval, approval: {all_of: [{group: leads, count: 2}]}}]", ["group-just-enough"]),
        ("rules: [{id: aa, effect: require_approval, approval: {all_of: [{group: all, count: 9}]}}]", []),
        ("rules: [{id: aa, match: {groups_any: [x], groups_none: [x, y]}, effect: deny}]", ["unreachable"]),
        ("rules: [{id: aa, match: {groups_any: [x, z], groups_none: [x, y]}, effect: deny}]", []),
        ("rules: [{id: aa, match: {groups_all: [x, z], groups_none: [x]}, effect: deny}]", ["unreachable"]),
        ("rules: [{id: aa, match: {hints: {read_only: true, destructive: true}}, effect: deny}]", ["unreachable"]),
        ("consts: {on: false}\nrules: [{id: aa, when: consts.on, effect: deny}]", ["unreachable"]),
        ("consts: {on: true}\nrules: [{id: aa, when: consts.on, effect: deny}]", []),
        ("rules: [{id: aa, when: 1 / 0 == 1, effect: deny}]", []),
        (f"rules: [{REFUND}, {{id: bb, match: {{server: payments}}, effect: deny}}]", []),
        ("rules: [{id: aa, match: {server: payments, tool: refund}, effect: allow}, "
         "{id: bb, match: {server: payments}, effect: deny}]",
         ["shadowed"]),
        (f"rules: [{REFUND}, {{id: bb, match: {{tool: 're*'}}, effect: deny}}]", ["shadowed"]),
        ("rules: [{id: aa, match: {tool: 're*'}, when: args.x == 1, effect: allow}, "
         "{id: bb, match: {tool: refund}, effect: deny}]", []),
        (f"rules: [{REFUND}, {{id: bb, when: args.x > 1, effect: deny}}]", []),
        (f"rules: [{REFUND}, {{id: bb, match: {{groups_any: [x]}}, effect: deny}}]", []),
        ("rules: [{id: aa, match: {tool: refund, groups_any: [x]}, effect: allow}, "
         "{id: bb, match: {groups_any: [x, y]}, effect: deny}]",
         ["shadowed"]),
        (f"rules: [{REFUND}, {{id: bb, match: {{groups_none: [x]}}, effect: deny}}]", []),
        (f"rules: [{REFUND}, {{id: bb, match: {{not_tool: note}}, effect: deny}}]", []),
        ("rules: [{id: aa, match: {tool: refund, env: prod}, effect: allow}, {id: bb, match: {env: [prod, dev]}, effect: deny}]",
         ["shadowed"]),
        (f"rules: [{{id: aa, match: {{tool: refund}}, {ASK}}}, {{id: bb, effect: deny}}]", ["shadowed"]),
        ("rules: [{id: aa, mode: shadow, match: {tool: refund}, effect: allow}, {id: bb, effect: deny}]", []),
        (f"rules: [{REFUND}, {{id: bb, mode: disabled, effect: deny}}]", []),
        (f"{DENIED}[{{id: ee, rules: aa, expires: 2026-11-23, {ENTRY}}}]", ["exception-expired"]),
        (f"{DENIED}[{{id: ee, rules: aa, expires: 2026-11-24, {ENTRY}}}]", []),
        (f"{DENIED}[{{id: ee, rules: aa, expires: 2027-11-24, {ENTRY}}}]", ["exception-long"]),
        ("consts: {used: 1, lost: 2}\nlib: {here: args.x == consts.used, gone: 'true'}\n"
         "counters: {cc: {window: 1h}, dd: {window: 1h}}\n"
         "rules: [{id: aa, when: lib.here, effect: deny}, {id: bb, effect: limit, limit: {counter: cc, max: 1, then: deny}}]",
         ["unused", "unused", "unused"]),
        ("defaults: {unmatched: allow}", ["open-default"]),
        ("people: {Jane@example.com: {}}", ["upper-case-person"]),
        ("servers: {other: {url: http://h/mcp, headers: {Authorization: Bearer abc}}}", ["secret-in-file"]),
        ("servers: {other: {url: http://h/mcp, headers: {X-Key: env:KEY}}}", ["credentials-in-the-clear"]),
        ("servers: {other: {url: https://h/mcp, headers: {X-Key: env:KEY}}}", []),
        ("servers: {other: {url: http://127.0.0.1/mcp, headers: {X-Key: env:KEY}}}", []),
        ("servers: {other: {url: https://h/mcp, headers: {Authorization: 'Bearer env:TOKEN'}}}", []),
        ("servers: {other: {url: https://h/mcp, headers: {authorization: 'file:/run/token', X-Team: a}}}", []),
        ("servers: {other: {url: https://h/mcp, headers: {Authorization: 'Bearer command:vault read -field=t x'}}}", []),
        ("servers: {other: {url: https://h/mcp, auth: {token_url: https://i/t, client_id: b, client_secret: abc}}}",
         ["secret-in-file"]),
    ],
)  # fmt: skip
def test_an_oddity_is_found_and_only_an_oddity(policy_of: Any, text: str, found: list[str]) -> None:
    assert codes(policy_of(text)) == found


PROPERTIES = {
    "amount": {"type": "number"}, "note": {}, "text": {"type": "string"}, "tags": {"type": "array"}, "sure": {"type": "boolean"},
    "card": {"type": "object", "properties": {"number": {"type": "string"}}}, "either": {"type": ["string", "null"]}, "odd": 1,
}  # fmt: skip
TOOL = {"name": "refund", "inputSchema": {"properties": PROPERTIES, "required": [name for name in PROPERTIES if name != "note"]}}


@pytest.mark.parametrize(
    ("condition", "found"),
    [
        ("args.amount > 1", []),
        ("args.note == 'x'", ["unguarded-argument"]),
        ("args.?note.orValue('') == 'x'", []),
        ("has(args.note) && args.note == 'x'", []),
        ("args.amuont > 1", ["no-such-argument"]),
        ("'args.none' == args.text", []),
        ("size(args) > 1", []),
        # Numbers compare with numbers, whole or not.
        ("args.amount > 5000 || args.amount < 2.5 && double(args.amount) * 2.0 > 9.0", []),
        ("args.amount in [1.0, 2.0] && [args.amount, 2.5] != [1.0] && args.amount / 2 > 3", []),
        ("args.amount > '5'", ["wrong-argument-type"]),
        ("args.amount in ['a']", ["wrong-argument-type"]),
        ("args.amount.startsWith('x')", ["wrong-argument-type"]),
        ("args.text.startsWith('x') && has(args.text)", []),
        ("args.text > 5", ["wrong-argument-type"]),
        ("has(args.text) && args.text == 1", ["wrong-argument-type"]),
        ("args.text.exists(t, t == 'x')", ["wrong-argument-type"]),
        ("args.tags.exists(t, t == 'x')", []),
        ("args.tags.contains('x')", ["wrong-argument-type"]),
        ("args.sure == 'true'", ["wrong-argument-type"]),
        ("args.card.number == '4' && args.card.other == 4", []),
        ("args.card.number == 4", ["wrong-argument-type"]),
        ("args.either == 1 && args.odd == 'x'", []),
    ],
)
def test_conditions_are_compared_with_the_schemas_that_servers_list(policy_of: Any, condition: str, found: list[str]) -> None:
    policy = policy_of(f'rules: [{{id: aa, when: "{condition}", effect: deny}}]')
    assert [item.code for item in argument_lints(policy, {"payments": [TOOL]})] == found


def test_a_wrong_type_is_told_with_the_types_of_the_schema(policy_of: Any) -> None:
    policy = policy_of('rules: [{id: aa, when: "args.amount > 1 && args.text > 5", effect: deny}]')
    assert [str(item.problem) for item in argument_lints(policy, {"payments": [TOOL]})] == [
        "f1.yaml:1:24: `aa` does not fit the arguments of payments/refund (args.amount: number, args.text: string): found no "
        "matching overload for '_>_' applied to '(string, int)'; compare it with a value of its own type"
    ]


@pytest.mark.parametrize("schema", [1, [], {"properties": [], "required": 1}, {"properties": {"x": {"type": []}}}])
def test_a_schema_that_says_nothing_sensible_breaks_nothing(policy_of: Any, schema: Any) -> None:
    policy = policy_of('rules: [{id: aa, when: "args.x > 1", effect: deny}]')
    codes = {item.code for item in argument_lints(policy, {"payments": [{"name": "refund", "inputSchema": schema}]})}
    assert codes <= {"no-such-argument", "unguarded-argument"}


@pytest.mark.parametrize(
    ("tools", "found"),
    [
        ([], ["no-such-tool"]),
        (["refund", "report", "note", "payout"], []),
        (["refund", "payout"], ["unpinned-tool", "unpinned-tool"]),
        (["refund", "report", "note"], ["no-such-tool"]),
    ],
)
def test_a_pinned_tool_is_known_and_a_listed_one_that_is_not_pinned_is_told(
    tmp_path: Path, tools: list[str], found: list[str]
) -> None:
    (tmp_path / "a.yaml").write_text(BASE)
    (tmp_path / "b.yaml").write_text("rules: [{id: aa, match: {server: payments, tool: payout}, effect: deny}]")
    definitions = {"payments": [{"name": name} for name in tools], "gone": [{"name": "x"}]}
    assert [item.code for item in check(tmp_path, TODAY, definitions=definitions)] == found


def test_a_group_that_nobody_defines_is_found_at_its_place_whatever_else_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "rules.yaml").write_text(
        "groups: {leads: [a@example.com, b@example.com], broken: 1}\n"
        "defaults: {approval: {all_of: [{group: lead}]}}\n"
        "rules:\n"
        "  - {id: aa, effect: require_approval, approval: {all_of: [{group: finance}, {group: broken}],\n"
        "     escalate: [{after: 1m, to: [{group: leads}, {group: bosses}]}]}}\n"
    )
    found = [item.problem for item in check(tmp_path, TODAY) if item.code == "no-such-group"]
    assert found == [
        Problem("rules.yaml", 2, 40, "there is no group `lead`", "did you mean `leads`?"),
        Problem("rules.yaml", 4, 68, "there is no group `finance`", "define it under `groups`"),
        Problem("rules.yaml", 5, 58, "there is no group `bosses`", "define it under `groups`"),
    ]


@pytest.mark.parametrize(
    ("match", "mend"),
    [
        ("{server: paymnts}", "did you mean `payments`?"),
        ("{server: payments, tool: refnd}", "did you mean `refund`?"),
        ("{server: payments, tool: [refund, refnd]}", "did you mean `refund`?"),
        ("{server: payments, tool: payout}", "mend the name, or list or pin the tool"),
        ("{server: elsewhere}", "mend the name"),
    ],
)
def test_a_mistyped_name_is_told_with_the_likely_one(policy_of: Any, match: str, mend: str) -> None:
    found = lints(policy_of(f"rules: [{{id: aa, match: {match}, effect: deny}}]"), TODAY)
    assert [item.problem.mend for item in found] == [mend]


def test_check_tells_mistakes_of_files_and_tests_in_order(tmp_path: Path) -> None:
    (tmp_path / "b.yaml").write_text("rules: [{id: aa, effect: denied}]")
    (tmp_path / "a.yaml").write_text("consts: {x: 1, x: 2}")
    assert [(item.code, str(item.problem)) for item in check(tmp_path, TODAY)] == [
        ("invalid", "a.yaml:1:16: the key `x` stands twice here; keep one of them; the first is in line 1"),
        (
            "invalid",
            "b.yaml:1:26: `denied` is not one of allow, require_approval, deny, limit; write one of `allow`, "
            "`require_approval`, `deny`, `limit`",
        ),
    ]
    (tmp_path / "a.yaml").unlink()
    (tmp_path / "b.yaml").write_text("rules: [{id: aa, effect: deny}]")
    (tmp_path / "b.test.yaml").write_text("case: []")
    assert [item.code for item in check(tmp_path, TODAY)] == ["invalid", "invalid"]


def test_an_exception_without_a_negative_test_is_found(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(
        "servers: {s: {command: [x], tools: {t: {}}}}\nrules: [{id: aa, effect: deny}]\n"
        "exceptions: [{id: ee, rules: aa, when: args.x == 1, expires: 2026-12-01, owner: me@example.com}]"
    )
    assert [item.code for item in check(tmp_path, TODAY)] == ["exception-untested"]
    (tmp_path / "a.test.yaml").write_text(
        "given: {now: 2026-11-24T10:00:00Z}\ncases: [{name: left alone, call: [s, t, {x: 2}], expect: deny}]"
    )
    assert check(tmp_path, TODAY) == []


FINDING = Finding("shadowed", Level.WARNING, Problem("a,b.yaml", 3, 9, "100 % never\nwins", "mend: it"))
NOTE = Finding("note", Level.NOTE, Problem("c.yaml", 1, 1, "look"))


def test_findings_are_printed_for_people() -> None:
    assert list(for_people([FINDING, NOTE])) == [
        "a,b.yaml:3:9: warning: 100 % never\nwins [shadowed]",
        "    mend: it",
        "c.yaml:1:1: note: look [note]",
    ]


def test_findings_are_printed_for_github_without_breaking_out_of_their_line() -> None:
    assert list(for_github([FINDING, NOTE], "./p:q")) == [
        "::warning file=p%3Aq/a%2Cb.yaml,line=3,col=9,title=shadowed::100 %25 never%0Awins; mend: it",
        "::notice file=p%3Aq/c.yaml,line=1,col=1,title=note::look",
    ]


def test_findings_are_printed_as_json_and_sarif() -> None:
    assert json.loads(as_json([NOTE])) == [
        {"code": "note", "level": "note", "problem": {"file": "c.yaml", "line": 1, "column": 1, "message": "look"}}
    ]
    log = json.loads(as_sarif([FINDING], "./policies/"))
    assert log["version"] == "2.1.0"
    (run,) = log["runs"]
    assert run["tool"]["driver"] == {"name": "broker policy check", "rules": [{"id": "shadowed"}]}
    assert run["results"] == [
        {
            "ruleId": "shadowed",
            "level": "warning",
            "message": {"text": "100 % never\nwins; mend: it"},
            "locations": [
                {
                    "physicalLocation": {
                        "artifactLocation": {"uri": "policies/a%2Cb.yaml"},
                        "region": {"startLine": 3, "startColumn": 9},
                    }
                }
            ],
        }
    ]

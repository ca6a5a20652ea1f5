"""Files in, a policy out: or every mistake at once, each with its place and mend."""

from __future__ import annotations

from pathlib import Path

import pytest

from broker.errors import PolicyInvalid
from broker.policy.load import compose, load

SPECIMENS = Path(__file__).parent / "specimens"

TEN_MISTAKES = """\
defaults: {unmatched: perhaps}
consts: {limit: 100}
rules:
  - id: Refund Large
    effect: deny
  - id: no-effcet
    effcet: deny
  - id: unknown-name
    when: argz.amount > 100
    effect: deny
  - id: mixed-types
    when: |
      args.note == "x" &&
      counters.asks > 5
    effect: deny
  - id: asks-nobody
    effect: require_approval
  - id: bad-title
    title: "Refund {args.amount} of {customer}"
    effect: deny
  - id: bad-pattern
    when: args.text.matches("(")
    effect: deny
  - id: soon
    effect: require_approval
    approval: {all_of: [{group: finance, count: two}], timeout: 15}
  - id: unknown-name
    effect: deny
counters:
  asks: {window: 1h}
"""
TOLD = [
    "rules.yaml:1:23: `perhaps` is not one of deny, require_approval, allow; write one of `deny`, `require_approval`, `allow`",
    "rules.yaml:4:9: `Refund Large` is not an id of lower-case letters, digits and hyphens; write an id such as refund-large",
    "rules.yaml:6:5: a rule lacks `effect`; add `effect`: one of allow, require_approval, deny, limit",
    "rules.yaml:7:5: `effcet` is no key of a rule; did you mean `effect`?",
    "rules.yaml:9:15: CEL: undeclared reference to 'argz.amount' (in container ''); names are args.*, caller.*, client.*, "
    "server.*, tool.*, env, now, consts.*, counters.*, lib.*",
    "rules.yaml:14:21: CEL: found no matching overload for '_>_' applied to '(double, int)'; constants and counters are "
    "doubles: write 100.0 instead of 100",
    "rules.yaml:17:13: the rule asks nobody; add `approval`, or `approval` under `defaults`",
    "rules.yaml:19:12: `customer` can't be filled into a title; write {args.name}, {caller.user}, {tool.name} or {server.name}",
    "rules.yaml:22:29: CEL: the regular expression is wrong; write the pattern in RE2 syntax",
    "rules.yaml:26:49: `two` is not a whole number from 1 to 20; write a whole number from 1 to 20, without quotes",
    "rules.yaml:26:65: 15 is no duration; write a number with its unit: 30s, 15m, 2h or 7d",
    "rules.yaml:27:9: the rule `unknown-name` is defined twice; rename one; the first is rules.yaml:8",
]


def told(*texts: str) -> list[str]:
    """The problems of files `f0.yaml`, `f1.yaml` …"""
    try:
        compose({f"f{index}.yaml": text.encode() for index, text in enumerate(texts)})
    except PolicyInvalid as error:
        return [str(problem) for problem in error.problems]
    return []


def test_ten_mistakes_are_told_in_one_run_each_with_its_place_and_mend() -> None:
    with pytest.raises(PolicyInvalid) as raised:
        compose({"rules.yaml": TEN_MISTAKES.encode()})
    assert [str(problem) for problem in raised.value.problems] == TOLD


def test_one_file_with_a_syntax_error_does_not_hide_the_mistakes_of_another() -> None:
    assert told("rules: [", "defaults: {unmatched: never}") == [
        "f0.yaml:2:1: YAML: did not find expected node content; mend the indentation, quotes or brackets before this place",
        "f1.yaml:1:23: `never` is not one of deny, require_approval, allow; write one of `deny`, `require_approval`, `allow`",
    ]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("consts: &a {x: 1}", "1:9: anchors are not used in policy files; write the value out"),
        ("consts: {x: !!str 1}", "1:13: tags are not used in policy files; take the tag away"),
        ("consts: {x: 1, x: 2}", "1:16: the key `x` stands twice here; keep one of them; the first is in line 1"),
        ("rules: []\n---\nrules: []", "2:1: a file holds one document; move what follows `---` to a file of its own"),
        ("consts: {? [a] : 1}", "1:12: a key is a plain text"),
        ("- a", "1:1: a list is not a policy file; write a mapping with `defaults`, `consts`, `counters`, `lib`, `rules`, "
         "`exceptions`, `people`, `groups`, `servers`"),
        ("rule: []", "1:1: `rule` is no key of a policy file; did you mean `rules`?"),
        ("consts: {x: .inf}", None),
        ("consts: {x: 1e999}", "1:13: inf is not a number; write a number, without quotes"),
        ("consts: {x: []}", "1:13: a list holds at least one value, all of one kind; write only texts, or only numbers"),
        ("consts: {x: [1, a]}", "1:13: a list holds at least one value, all of one kind; write only texts, or only numbers"),
        ("consts: {1x: 1}", "1:10: `1x` is not a name of letters, digits and _; write a name of letters, digits and _"),
        ("defaults: {unmatched: require_approval}",
         "1:23: `unmatched: require_approval` asks nobody; add `approval` to `defaults`"),
        ("defaults: {timezone: Europe/Berlyn}",
         "1:22: there is no time zone `Europe/Berlyn`; write a name such as Europe/Berlin"),
        ("defaults: {approval: {timeout: 5m}}", "1:22: `approval` asks nobody; add `all_of: [{group: finance}]`"),
        ("lib: {a: lib.b, b: 'true'}", "1:10: a snippet uses no other snippet; write the other one out"),
        ("lib: {a: args.x ==}",
         "1:19: CEL: Syntax error: mismatched input '<EOF>' expecting {'[', '{', '(', '.', '-', '!', 'true', "
         "'false', 'null', NUM_FLOAT, NUM_INT, NUM_UINT, STRING, BYTES, IDENTIFIER}; see the CEL language: strings in quotes, "
         "&& || ! for and, or, not"),
        ("rules: [{id: aa, effect: deny, when: lib.x}]", "1:38: there is no snippet `lib.x`; define it under `lib`"),
        ("rules: [{id: aa, effect: deny, when: args.x}]",
         "1:38: a condition is true or false, this is dyn; compare it with something, e.g. `== true`"),
        ("rules: [{id: aa, effect: deny, when: ''}]", "1:38: `` is not a condition in CEL; write a condition such as args.amount "
         "> 100, in quotes where it holds : or #"),
        ("rules: [{id: aa, effect: deny, approval: {all_of: [{group: g}]}}]",
         "1:32: `approval` has no meaning with `effect: deny`; take `approval` away"),
        ("rules: [{id: aa, effect: allow, guardrail: true}]",
         "1:33: `guardrail` has no meaning with `effect: allow`; take `guardrail` away"),
        ("rules: [{id: aa, effect: allow, guardrail: false}]", None),
        ("rules: [{id: aa, effect: limit}]", "1:26: the rule lacks `limit`; add `limit: {counter: …, max: …, then: deny}`"),
        ("rules: [{id: aa, effect: limit, limit: {counter: c, max: 1, then: deny}}]",
         "1:50: there is no counter `c`; define it under `counters`"),
        ("rules: [{id: unmatched, effect: deny}]", "1:14: `unmatched` is a word of the broker; choose another id"),
        ("rules: [{id: aa, effect: deny, match: {tool: []}}]",
         "1:46: the list is empty; write at least one: a name without spaces "
         "or brackets"),
        ("rules: [{id: aa, effect: deny, match: {tools: x}}]", "1:40: `tools` is no key of `match`; did you mean `tool`?"),
        ("rules: [{id: aa, effect: deny, match: {hints: {readOnly: true}}}]",
         "1:48: `readOnly` is no key of `hints`; did you mean `read_only`?"),
        ("rules: [{id: aa, effect: deny, match: {groups_any: 'fin*'}}]",
         "1:52: `fin*` is not a group; write the group's whole name, without * or ?"),
        ("rules: [{id: aa, effect: deny, redact: [card]}]",
         "1:41: `card` is not a JSONPath into the arguments; write it as $.args.card.*"),
        ("counters: {c: {window: 1h, match: {hints: {read_only: true}}}}",
         "1:36: `hints` is no key of `match` of a counter; write one of `server`, `tool`, `not_tool`, `groups_any`, "
         "`groups_all`, `groups_none`, "
         "`users`, `clients`, `workloads`, `surfaces`, `not_surfaces`, `conversations`, `not_conversations`, `env`"),
        ("exceptions: [{id: ee, rules: [zz], when: 'true', expires: 2027-01-01, owner: me}]",
         "1:30: there is no rule `zz`; write the id of a rule"),
        ("rules: [{id: aa, effect: deny, guardrail: true}]\n"
         "exceptions: [{id: ee, rules: aa, when: 'true', expires: 2027-01-01, owner: me}]",
         "2:30: `aa` is a guardrail: nothing takes it away; change the rule itself"),
        ("rules: [{id: aa, effect: allow}]\nexceptions: [{id: ee, rules: aa, when: 'true', expires: 2027-01-01, owner: me}]",
         "2:30: `aa` allows: an exception takes away what asks or denies; leave it out"),
        ("rules: [{id: aa, effect: deny}]\nexceptions: [{id: ee, rules: aa, when: 'true', expires: 2027-02-30, owner: me}]",
         "2:57: `2027-02-30` is no day; write year-month-day: 2027-03-31"),
        ("groups: {finance: []}",
         "1:19: nobody is in the group `finance`; name its members, or `idp:` or `slack:` that fills it"),
        ("groups: {finance: {idp: fin}}", None),
        ("groups: {finance: {members: [], slack: S01}}", None),
        ("servers: {a: {}}", "1:14: the server `a` needs either `url` or `command`; write one of the two"),
        ("servers: {a: {url: http://h/mcp, command: [x]}}",
         "1:14: the server `a` needs either `url` or `command`; write one of the two"),
        ("servers: {a: {url: http://h/mcp, env: {A: b}}}", "1:34: `env` is for servers with `command`; take `env` away"),
        ("servers: {a: {command: [x], headers: {A: b}}}", "1:29: `headers` is for servers with `url`; take `headers` away"),
        ("servers: {a: {url: http://me:secret@h/mcp}}",
         "1:20: this is no http address without user, password and fragment; write it as https://host/mcp; secrets belong into "
         "`headers`"),
        ("servers: {a: {url: ftp://h/mcp}}", "1:20: this is no http address without user, password and fragment; write it as "
         "https://host/mcp; secrets belong into `headers`"),
        ("servers: {a: {command: [x], networks: [private]}}",
         "1:29: `networks` is for servers with `url`; take `networks` away"),
        ("servers: {a: {url: http://h/mcp, networks: [10.0.0.1/8]}}",
         "1:44: `10.0.0.1/8` is no network; write it as 10.0.0.0/8, or `private`"),
        ("servers: {a: {url: http://h/mcp, auth: {client_id: b}}}",
         "1:40: an authorization lacks `token_url`; add `token_url`: an https address"),
        ("servers: {a: {url: http://h/mcp, auth: {client_id: b, token_url: http://idp/token}}}",
         "1:66: the token endpoint would get the secret unencrypted; write its https address"),
        ("servers: {a: {url: http://h/mcp, headers: {authorization: 'env:T'}, auth: {client_id: b, token_url: https://i/t}}}",
         "1:69: `auth` and the header Authorization are two ways to one thing; take one away"),
        ("servers: {a: {command: []}}", "1:24: the list is empty; write at least one: a word of the command"),
        ("servers: {a/b: {url: http://h/mcp}}",
         "1:11: `a/b` is not a server's name: letters, digits, dot, - and _; write a server's "
         "name: letters, digits, dot, - and _"),
        ("servers:\n  a: {url: http://h/mcp}\n  a__b: {url: http://h/mcp}",
         "3:3: `a__b` and `a` could have tools of one name at `/mcp`; rename it so that it does not begin with `a_`"),
        ("servers: {a: {url: http://h/mcp}, a_b: {url: http://h/mcp}, c__d: {url: http://h/mcp}}", None),
        ("servers: {a: {url: http://h/mcp, tools: {t: {readonly: true}}}}",
         "1:46: `readonly` is no key of a tool; did you mean `read_only`?"),
        ("servers: {a: {url: http://h/mcp, trust: full}}", "1:41: `full` is not one of untrusted, reviewed; write one of "
         "`untrusted`, `reviewed`"),
    ],
)  # fmt: skip
def test_a_mistake_is_told_where_it_stands(text: str, problem: str | None) -> None:
    assert told(text) == ([f"f0.yaml:{problem}"] if problem else [])


@pytest.mark.parametrize(
    ("section", "name"),
    [
        ("defaults: {unmatched: deny}", "`defaults`"),
        ("consts: {x: 1}", "`x`"),
        ("counters: {x: {window: 1h}}", "`x`"),
        ("lib: {x: 'true'}", "`x`"),
        ("groups: {x: [a@example.com]}", "`x`"),
        ("people: {x: {}}", "`x`"),
        ("servers: {x: {command: [y]}}", "`x`"),
        ("rules: [{id: xx, effect: deny}]", "the rule `xx`"),
    ],
)
def test_everything_is_defined_once_over_all_files(section: str, name: str) -> None:
    (problem,) = told(section, f"# second\n{section}")
    assert problem.startswith("f1.yaml:2:")
    assert name in problem
    assert "defined twice" in problem
    assert "f0.yaml:1" in problem


@pytest.mark.parametrize(
    "text",
    [
        "a: " + "[" * 30 + "]" * 30,
        "a: *x",
        "\x00",
        "a: \t- b",
        "{" * 5000,
        "a:\n" * 3 + " b",
        "%TAG ! x\n---\n",
        "? ",
        "\ufeffrules: 1",
    ],
)
def test_odd_files_are_problems_and_never_crashes(text: str) -> None:
    assert told(text) != []


def test_a_file_that_is_not_utf8_says_its_line() -> None:
    with pytest.raises(PolicyInvalid) as raised:
        compose({"a.yaml": b"rules: []\n# caf\xe9\n"})
    assert [str(problem) for problem in raised.value.problems] == ["a.yaml:2:1: the file is not UTF-8; save it as UTF-8"]


def test_the_digest_is_over_names_and_contents_and_not_over_tests(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("rules: []")
    first = load(tmp_path).digest
    assert first.startswith("sha256:")
    (tmp_path / "a.test.yaml").write_text("cases: [")
    (tmp_path / ".hidden.yaml").write_text("nonsense")
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "b.yaml").write_text("nonsense")
    assert load(tmp_path).digest == first
    (tmp_path / "a.yaml").rename(tmp_path / "b.yaml")
    assert load(tmp_path).digest != first


def test_a_folder_without_policy_files_is_a_problem(tmp_path: Path) -> None:
    with pytest.raises(PolicyInvalid) as raised:
        load(tmp_path)
    assert [problem.message for problem in raised.value.problems] == ["the folder holds no policy files (*.yaml)"]


def test_a_file_with_the_other_ending_is_not_silently_left_out(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("rules: []")
    (tmp_path / "b.yml").write_text("rules: []")
    with pytest.raises(PolicyInvalid) as raised:
        load(tmp_path)
    assert [str(problem) for problem in raised.value.problems] == [
        "b.yml:1:1: files that end in .yml are not read; rename it to b.yaml"
    ]


def test_a_mistake_in_a_snippet_is_told_at_the_snippet_and_in_a_rule_at_the_rule() -> None:
    text = """\
lib:
  kinds: sql_kinds(args.sql) // all of them
rules:
  - id: reads
    when: lib.kinds.size() > 0 && argz.x == 1 && lib.kinds == []
    effect: deny
"""
    assert told(text) == [
        "f0.yaml:5:39: CEL: undeclared reference to 'argz.x' (in container ''); names are args.*, caller.*, client.*, server.*, "
        "tool.*, env, now, consts.*, counters.*, lib.*"
    ]


def test_a_snippet_in_a_string_or_comment_is_text() -> None:
    assert told("""rules: [{id: aa, effect: deny, when: 'args.x == "lib.nothing" // lib.neither'}]""") == []


def test_a_guardrail_an_exception_and_a_rule_may_stand_in_different_files() -> None:
    rule = "rules: [{id: aa, effect: deny}]"
    exception = "exceptions: [{id: ee, rules: [aa], when: 'true', expires: 2027-01-01, owner: me@example.com}]"
    assert told(exception, rule) == []
    assert told(exception, exception, rule) == [
        "f1.yaml:1:19: the exception `ee` is defined twice; rename one; the first is f0.yaml:1"
    ]

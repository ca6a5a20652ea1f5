"""A policy folder for the bench: as many rules as asked for, of which about one in twenty is asked about the measured call.

That is the share that was seen in rule sets where a tenth of the rules name tools by wildcards (7.8 of 100, 53 of 1,000).
"""

from __future__ import annotations

from pathlib import Path

SERVERS = """
servers:
  bench:
    url: {url}
    owner: {{team: bench}}
    trust: reviewed
    stateless: true
    tools:
      echo: {{read_only: true}}
      slow: {{read_only: true}}
      guarded: {{destructive: true}}
"""
PEOPLE = """
people: {ada@example.com: {name: Ada}, bob@example.com: {name: Bob}}
groups: {reviewers: [ada@example.com], owners: [bob@example.com]}
"""
FIRST = """
defaults: {unmatched: deny, unknown_tool: deny, approval: {all_of: [{group: reviewers}], timeout: 2h}}
rules:
  - {id: says-it-again, match: {server: bench, tool: [echo, slow]}, when: 'args.text != ""', effect: allow}
  - {id: asks, title: "Say {args.text}", match: {server: bench, tool: guarded}, effect: require_approval, approval: {all_of: [{group: reviewers}], timeout: 2h}}
"""  # noqa: E501 - one rule, one line, as people write them
# Each looks at an argument and says no; the others are about other tools, groups and servers.
LOOKS = """  - {{id: looks-{n}, match: {{server: bench}}, when: 'has(args.amount) && args.amount > {limit}', effect: deny}}
"""
OTHER_TOOL = """  - {{id: tool-{n}, match: {{server: bench, tool: "table_{n}_*"}}, effect: require_approval}}
"""
OTHER_GROUP = """  - {{id: group-{n}, match: {{groups_any: [group-{n}]}}, when: args.text.contains("x"), effect: deny}}
"""


def rules(count: int) -> str:
    """Return a rule file with `count` rules."""
    return FIRST + "".join(_kind(n).format(n=n, limit=10_000 + n) for n in range(count - 2))


def _kind(n: int) -> str:
    if n % 100 == 1:
        return OTHER_GROUP
    return LOOKS if n % 25 == 0 else OTHER_TOOL


def write_policy(folder: Path, url: str, count: int) -> Path:
    """Write a whole policy folder: one server at `url`, two people, `count` rules."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "servers.yaml").write_text(SERVERS.format(url=url))
    (folder / "people.yaml").write_text(PEOPLE)
    (folder / "rules.yaml").write_text(rules(count))
    return folder

"""The company on paper: who is in which group, which servers it declares, and by which rules they are used."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.company.toys import Toy

ANN, FIN, EVE, SAM, OLGA = (f"{name}@example.com" for name in ("ann", "fin", "eve", "sam", "olga"))
GROUPS = {ANN: ("ads-eng",), FIN: ("finance",), EVE: (), SAM: ("approvers",), OLGA: ("data-platform",)}
SVC = "spiffe://example.com/nightly-report"
SURFACES, AIRFLOW = ("webapp", "support-bot"), "C0AIRFLOW"
SLOTS = ("security", "legal_privacy", "genai")
PROXY = "127.0.0.2"

RULES = """
defaults: {unmatched: deny, unknown_tool: deny, approval: {all_of: [{group: approvers}], timeout: 15m}}
rules:
  - {id: presto-open, match: {server: presto, tool: [list_tables, status]}, effect: allow}
  - {id: presto-query, match: {server: presto, tool: run_query, groups_any: [ads-eng, finance]}, effect: allow}
  - id: presto-expensive
    title: "Query of {args.estimated_gb} GB"
    match: {server: presto, tool: run_query}
    when: args.?estimated_gb.orValue(0) > 100
    effect: require_approval
    approval: {all_of: [{group: approvers}], timeout: 15m}
  - {id: revenue-of-ads, match: {server: presto, tool: get_revenue_metrics, groups_any: [ads-eng]}, effect: allow}
  - id: overwriting
    title: "Overwrite {args.table}"
    severity: high
    match: {server: presto, tool: overwrite_table}
    effect: require_approval
    approval: {all_of: [{group: approvers}], timeout: 15m, show: [args.table, args.rows], channels: ["slack:#approvals"]}
  - {id: spark-in-its-channel, match: {server: spark, surfaces: [support-bot], conversations: [C0AIRFLOW]}, effect: allow}
  - id: spark-status-asks
    title: "Spark's status"
    match: {server: spark, tool: status, surfaces: [support-bot]}
    effect: require_approval
    approval: {all_of: [{group: approvers}], timeout: 15m}
  - {id: knowledge-open, match: {server: [knowledge, "exp-*", "team-*"]}, effect: allow}
  - {id: webapp-no-experiments, guardrail: true, match: {server: "exp-*", surfaces: [webapp]}, effect: deny}
"""


def people(slack: Mapping[str, str]) -> str:
    """`slack` are accounts by person."""
    persons = {name: {"name": name.partition("@")[0].title()} for name in GROUPS}
    for name, account in slack.items():
        persons[name]["slack_id"] = account
    groups = {group: [name] for name, known in GROUPS.items() for group in known}
    groups["approvers"].append("kim@example.com")
    return json.dumps({"people": persons, "groups": groups | {slot: [f"{slot}@example.com"] for slot in SLOTS}})


def servers(toys: Mapping[str, Toy], secret: Path) -> dict[str, Any]:
    """servers.yaml: what the company declares."""
    reads, owner = {"read_only": True, "destructive": False}, {"team": "Data Platform", "contact": "slack:#data-help"}
    return {
        "presto": {
            "url": toys["presto"].url, "owner": owner, "trust": "reviewed", "tell_caller": True,
            "headers": {"Authorization": f"Bearer file:{secret}"},
            "groups": {"ads-eng": ["*"], "finance": ["list_tables", "status", "run_query", "overwrite_table"]},
            "tools": {
                "list_tables": reads | {"minutes_saved": 2}, "run_query": reads | {"minutes_saved": 6}, "status": reads,
                "get_revenue_metrics": reads | {"minutes_saved": 6}, "overwrite_table": {"destructive": True},
            },
        },
        "spark": {
            "url": toys["spark"].url, "owner": owner, "tell_caller": True,
            "tools": {"diagnose_job": reads, "record_rca": {"read_only": False}, "status": reads},
        },
        "knowledge": {
            "url": toys["knowledge"].url, "owner": owner, "discovery": "public",
            "tools": {"search": reads | {"minutes_saved": 3}},
        },
    }  # fmt: skip

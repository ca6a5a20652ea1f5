"""What the firm of `scenes` has written down: policy files, its servers' tools, and arguments worth a look."""

from __future__ import annotations

from typing import Any

FILES = {
    "people.yaml": """people:
  ann@example.com: {name: Ann Lindqvist}
  bo@example.com: {name: Bo Tanaka}
  cy@example.com: {name: Cy Osei}
  dana@example.com: {name: Dana Ruiz}
  eve@example.com: {name: Eve Stone}
  sam@example.com: {name: Sam Bello}
groups:
  finance: [ann@example.com, bo@example.com, cy@example.com]
  security: [cy@example.com]
  legal_privacy: [bo@example.com]
  genai: [ann@example.com]
  support: [sam@example.com, dana@example.com, eve@example.com]
""",
    "servers.yaml": """servers:
  payments:
    url: https://payments.example.com/mcp
    owner: {team: finance, contact: "slack:#payments-help"}
    trust: reviewed
    tools: {refund_create: {destructive: true}, refund_list: {read_only: true}, payout_create: {destructive: true}}
  warehouse:
    url: https://warehouse.example.com/mcp
    owner: {team: logistics}
    tools: {sql_run: {destructive: true}, stock_set: {}, ship: {destructive: true}, tables: {read_only: true}}
  code:
    command: [code-mcp]
    owner: {team: platform}
    tools: {shell: {}, file_write: {}, branch_delete: {destructive: true}, publish: {}}
  mail: {url: "https://mail.example.com/mcp", owner: {team: support}, tools: {send: {open_world: true}}}
""",
    "rules.yaml": """defaults:
  unmatched: require_approval
  unknown_tool: deny
  approval: {all_of: [{group: security}], timeout: 15m}

rules:
  - {id: reading, match: {hints: {read_only: true}}, effect: allow}
  - {id: refund-small, match: {server: payments, tool: refund_create}, effect: allow}

  - id: refund-large
    title: "Refund {args.amount} {args.currency} to {args.customer}"
    severity: high
    match: {server: payments, tool: refund_create}
    when: args.amount > 100
    effect: require_approval
    approval:
      all_of: [{group: finance}]
      timeout: 30m
      show: [args.customer, args.amount, args.reason]

  - id: refund-evening
    mode: shadow
    match: {server: payments, tool: refund_create}
    when: now.getHours() >= 20
    effect: require_approval
    approval: {all_of: [{group: finance}], timeout: 2h}

  - id: sql
    title: "Run SQL on {args.database}"
    severity: critical
    match: {server: warehouse, tool: sql_run}
    unless: 'sql_kinds(args.sql) == ["select"]'
    effect: require_approval
    approval: {all_of: [{group: finance, count: 2}, {group: security}], timeout: 15m, type_to_confirm: args.database}

  - {id: strangers-never, guardrail: true, match: {groups_any: [support], server: code}, effect: deny}
""",
    "rules.test.yaml": """given: {caller: {user: sam@example.com}, now: 2026-11-24T10:00:00Z}
cases:
  - {name: reading runs, call: [payments, refund_list], expect: allow, rules: [reading]}
  - {name: a small refund runs, call: [payments, refund_create, {amount: 40}], expect: allow, rules: [refund-small]}
  - {name: a large refund asks, call: [payments, refund_create, {amount: 400}], expect: require_approval, rules: [refund-large]}
  - {name: changing the warehouse asks, call: [warehouse, sql_run, {sql: drop table x}], expect: require_approval, rules: [sql]}
  - {name: support stays away from code, call: [code, shell, {}], expect: deny, rules: [strangers-never]}
""",
}  # fmt: skip

ANY = {"type": "object"}
TOOLS: dict[str, list[dict[str, Any]]] = {
    "payments": [
        {
            "name": "refund_create", "title": "Refund a customer", "description": "Pays money back to a customer.",
            "inputSchema": {
                "type": "object", "required": ["customer", "amount"],
                "properties": {
                    "customer": {"type": "string", "description": "Name as on the invoice"}, "amount": {"type": "number"},
                    "currency": {"enum": ["EUR", "USD"]}, "reason": {"type": "string"}, "lines": {"type": "array"},
                },
            },
        },
        {"name": "refund_list", "description": "Lists refunds.", "inputSchema": {"type": "object"}},
        {"name": "payout_create", "description": "Pays out.", "inputSchema": {"type": "object"}},
    ],
    "warehouse": [{"name": name, "inputSchema": ANY} for name in ("sql_run", "stock_set", "ship", "tables", "export")],
    "calendar": [
        {"name": "hours_read", "title": "Free hours", "description": "Says when somebody is free.", "inputSchema": ANY},
        {"name": "date_set", "description": "Makes a date, and writes to everybody who is invited.", "inputSchema": ANY},
    ],
    "tickets": [
        {
            "name": "ticket_read", "title": "Read a ticket", "description": "Returns a ticket with all that was written in it.",
            "inputSchema": {"type": "object", "required": ["id"], "properties": {"id": {"type": "string"}}},
            "annotations": {"readOnlyHint": True},
        },
        {"name": "ticket_close", "description": "Closes a ticket and tells the customer.", "inputSchema": ANY},
    ],
    "wiki": [
        {"name": "page_read", "title": "Read a page", "description": "Returns a page as Markdown.", "inputSchema": ANY},
        {"name": "page_write", "description": "Writes a page. Old texts are kept.", "inputSchema": ANY},
    ],
    "crm": [{"name": "customer_read", "description": "Who a customer is, and what they bought.", "inputSchema": ANY}],
    "faxes": [{"name": "fax_send", "description": "Sends a fax.", "inputSchema": ANY}],
    "code": [{"name": name, "inputSchema": ANY} for name in ("shell", "file_write", "branch_delete", "publish")],
}  # fmt: skip

SQL = """UPDATE stock
   SET count = count - o.count
  FROM orders o
 WHERE o.sku = stock.sku
   AND o.state = 'paid'   -- nothing else
   AND o.day >= '2026-11-01';
DELETE FROM orders WHERE state = 'draft';"""
SHELL = """set -eu
cd /srv/build && git fetch --tags
for host in web-1 web-2; do
  ssh "$host" 'systemctl restart shop'
done"""
LONG_TEXT = """Dear customer,

we are sorry: the lamps of your order were packed without foam, and some broke on the way. You do not have to send them back.

We have refunded the broken ones today, and the new ones leave the warehouse on Monday. If you would rather have your money
for all of them, answer this mail before Friday.

Kind regards
The shop"""

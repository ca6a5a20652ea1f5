"""A policy folder that tests rewrite, with people of the emulator's workspace."""

from __future__ import annotations

from pathlib import Path

from broker.policy.load import load
from broker.policy.model import Policy

SERVERS = """
servers:
  payments: {url: "http://127.0.0.1:9/mcp", tools: {refund_create: {destructive: true}}}
"""
PEOPLE = """
people:
  dana@example.com: {{name: Dana, slack_id: {dana}}}
  fay@example.com: {{name: Fay, slack_id: {fay}}}
  alice@example.com: {{name: Alice, slack_id: {alice}}}
  owen@example.com: {{name: Owen}}
groups:
  finance: [dana@example.com, fay@example.com, alice@example.com]
  leads: {{members: [owen@example.com], slack: S0LEADS}}
  managers: [fay@example.com]
"""
RULES = """
defaults: {{unmatched: deny}}
rules:
  - id: refunds
    title: "Refund {{args.amount}} to {{args.customer}}"
    match: {{server: payments, tool: refund_create}}
    effect: require_approval
    severity: {severity}
    approval: {{all_of: [{{group: finance, count: {count}}}], timeout: {timeout}{channels}{more}}}
"""


class Policies:
    """A policy folder that tests rewrite."""

    def __init__(self, folder: Path, ids: dict[str, str]) -> None:
        self._folder = folder
        folder.mkdir(exist_ok=True)
        self.write(servers=SERVERS, people=PEOPLE.format(**ids))
        self.rules()

    def write(self, **files: str) -> None:
        for name, text in files.items():
            (self._folder / f"{name}.yaml").write_text(text)

    def rules(
        self, *, channels: str = '["slack:#refunds"]', count: int = 1, timeout: str = "2h", severity: str = "high", more: str = ""
    ) -> None:
        channels = f", channels: {channels}" if channels else ""
        self.write(rules=RULES.format(channels=channels, count=count, timeout=timeout, severity=severity, more=more))
        self.load()

    def load(self) -> None:
        self.current: Policy = load(self._folder)

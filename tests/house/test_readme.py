"""The README says what the code does: its tables are made from it, and the commands that it shows exist."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from broker.cli.main import parser
from broker.cli.reference import commands_table, settings_table
from broker.domain.outcomes import Code
from broker.gateway.clients import KNOWN, SAFE, SHARED
from broker.policy.cases import BUILT_IN


@pytest.fixture(scope="module")
def readme(root: Path) -> str:
    return (root / "README.md").read_text()


def between(text: str, mark: str) -> str:
    found = re.search(rf"<!-- {mark} -->\n(.*?)\n<!-- /{mark} -->", text, re.DOTALL)
    assert found, f"the README has no part between <!-- {mark} --> and <!-- /{mark} -->"
    return found.group(1).strip()


def test_the_table_of_settings_is_the_one_that_the_code_gives(readme: str) -> None:
    assert between(readme, "settings") == settings_table()


def test_the_table_of_commands_is_the_one_that_the_parser_gives(readme: str) -> None:
    assert between(readme, "commands") == commands_table()


def test_the_rules_that_no_file_holds_are_told(readme: str) -> None:
    table = readme.partition("| rule | means |")[2].partition("\n\n")[0]
    assert set(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)) == BUILT_IN


def test_the_codes_that_an_agent_reads_are_told(readme: str) -> None:
    table = readme.partition("| `approval-broker/code` | means |")[2].partition("\n\n")[0]
    assert set(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)) == {code.value for code in Code}


def test_the_clients_whose_timers_are_known_are_told(readme: str) -> None:
    table = readme.partition("| a client that calls itself |")[2].partition("\n\n")[0].splitlines()[2:]
    told = {name.strip("`…").lower().replace(" ", "-"): row for row in table for name in row.split("|")[1].strip().split(", ")}
    assert set(told) == {*KNOWN, SHARED}
    for name, patience in (KNOWN | {SHARED: SAFE}).items():
        assert {f"{seconds:.0f} s" for seconds in (patience.quiet, patience.with_progress)} <= set(
            re.findall(r"\d+ s", told[name])
        )


def shell_lines(text: str) -> list[str]:
    blocks = re.findall(r"```(?:sh|console|bash)\n(.*?)```", text, re.DOTALL)
    joined = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    return [line.strip().removeprefix("$ ") for line in joined]


def commands(text: str) -> list[list[str]]:
    """Return the words after `broker` of each line that runs it: the last one, for `docker compose exec broker broker …`."""
    lines = [shlex.split(line, comments=True) for line in shell_lines(text)]
    return [words[len(words) - words[::-1].index("broker") :] for words in lines if "broker" in words]


def test_every_broker_command_in_the_readme_is_understood_by_the_parser(readme: str) -> None:
    typed = commands(readme)
    assert len(typed) > 5
    for words in typed:
        parser().parse_args(words)


def test_every_make_target_in_the_readme_exists(readme: str, root: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (root / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"\bmake ([a-z-]+)", "\n".join(shell_lines(readme))))
    assert named and named - targets == set()


def test_every_file_that_the_readme_links_to_exists(readme: str, root: Path) -> None:
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)", readme) + re.findall(r'src="(?!https?:)([^"]+)"', readme)
    assert [link for link in links if not (root / link).exists()] == []

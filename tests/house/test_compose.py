"""The container files name what exists. (There is no Docker engine in the gate: what can be read is checked.)"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from broker.demo.toys import TOYS
from broker.policy.load import load
from broker.settings import Settings


@pytest.fixture(scope="module")
def services(root: Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((root / "compose.yaml").read_text())["services"]
    return found


def test_every_service_says_how_it_is_known_to_be_well(root: Path, services: dict[str, Any]) -> None:
    own = "HEALTHCHECK" in (root / "Dockerfile").read_text()
    assert {
        name: "healthcheck" in service or (own and "entrypoint" not in service) for name, service in services.items()
    } == dict.fromkeys(("redis", "warehouse", "broker"), True)


def test_every_variable_is_a_setting(root: Path, services: dict[str, Any]) -> None:
    image = re.findall(r"\b(BROKER_[A-Z_]+)=", (root / "Dockerfile").read_text())
    used = {*services["broker"]["environment"], *image}
    assert used - {f"BROKER_{name.upper()}" for name in Settings.model_fields} == set()


def test_the_toy_server_and_the_catalogue_agree(root: Path, services: dict[str, Any]) -> None:
    entry = services["warehouse"]["entrypoint"]
    policy = load(root / "policies/compose")
    assert entry[3] in TOYS
    assert {name: server.url for name, server in policy.servers.items()} == {
        "warehouse": f"http://warehouse:{entry[entry.index('--port') + 1]}/mcp"
    }


def test_the_image_copies_what_exists_and_what_is_not_ignored(root: Path) -> None:
    copied = [line.split()[1:-1] for line in (root / "Dockerfile").read_text().splitlines() if re.match(r"COPY (?!--from)", line)]
    sources = {source for sources in copied for source in sources}
    ignored = (root / ".dockerignore").read_text().splitlines()
    assert [source for source in sources if not (root / source).exists() or f"!{source}" not in ignored] == []


def test_the_image_runs_as_nobody_special(root: Path) -> None:
    lines = (root / "Dockerfile").read_text().splitlines()
    assert "USER broker" in lines
    assert json.loads(next(line for line in lines if line.startswith("ENTRYPOINT")).removeprefix("ENTRYPOINT ")) == ["broker"]

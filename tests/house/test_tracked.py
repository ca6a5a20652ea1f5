"""What git tracks: the top level is what the house has agreed on, and nothing names a registry or one person's machine."""

from __future__ import annotations

import re
from pathlib import Path

TOP_LEVEL = {
    ".ci", ".dockerignore", ".gitignore", "CHANGELOG.md", "Dockerfile", "LICENSE", "Makefile", "README.md", "SECURITY.md",
    "THIRD_PARTY_NOTICES", "broker", "compose.yaml", "policies", "pyproject.toml", "requirements-dev.lock", "requirements.lock",
    "templates", "tests",
}  # fmt: skip

# Written so that this file does not match itself.
HOSTS = re.compile(r"[p]ypi\.org|[p]ythonhosted\.|[r]egistry\.npm|[d]eb\.debian|[f]iles\.python")
MACHINES = re.compile(r"(?<![\w.~])/(?:[h]ome/\w|[U]sers/\w|[w]ork/|[f]arm/|[r]oot/)")
BINARY = {".png", ".ico", ".woff2", ".jpg", ".gif"}


def test_the_top_level_holds_only_what_was_agreed(tracked: list[Path]) -> None:
    assert {path.parts[0] for path in tracked} - TOP_LEVEL == set()


def test_no_tracked_file_names_a_registry_or_a_machine(root: Path, tracked: list[Path]) -> None:
    texts = {path: (root / path).read_text(errors="replace") for path in tracked if path.suffix not in BINARY}
    found = [
        f"{path}: {hit.group()}" for path, text in texts.items() for hit in [HOSTS.search(text) or MACHINES.search(text)] if hit
    ]
    assert found == []


def test_the_patterns_find_what_they_are_for() -> None:
    assert HOSTS.search("https://registry." + "npmjs.org/left-pad")
    assert MACHINES.search("see /" + "home/jane/notes")
    assert not MACHINES.search("https://example.com/work/5 and ~/work/")


def test_no_large_file_is_tracked(root: Path, tracked: list[Path]) -> None:
    assert [str(path) for path in tracked if (root / path).stat().st_size > 512 << 10] == []


def test_what_others_wrote_is_named_in_the_notices(root: Path, tracked: list[Path]) -> None:
    notices = (root / "THIRD_PARTY_NOTICES").read_text()
    vendored = [path.name for path in tracked if "vendor" in path.parts and path.suffix in (".js", ".css", ".woff2", ".svg")]
    assert [name for name in vendored if name not in notices] == []

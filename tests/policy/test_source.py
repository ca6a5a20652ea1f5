"""Rules cut out of their files, put back changed, and the change as a patch that git takes."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from broker.policy.source import Excerpt, patch, rule_text, spliced

FILE = """# about refunds
rules:
  - id: first            # the first
    match:
      server: payments

    effect: allow

  # about the second
  - {id: second, effect: deny,
     title: "two
     lines"}
  - effect: deny
    id: third
    when: |
      args.x > 1

      && args.y
# the end
defaults: {unmatched: deny}
"""


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("first", (3, 7, '  - id: first            # the first\n    match:\n      server: payments\n\n    effect: allow')),
        ("second", (10, 12, '  - {id: second, effect: deny,\n     title: "two\n     lines"}')),
        ("third", (13, 18, "  - effect: deny\n    id: third\n    when: |\n      args.x > 1\n\n      && args.y")),
    ],
)  # fmt: skip
def test_a_rule_is_cut_out_with_its_own_lines_alone(rule: str, expected: tuple[int, int, str]) -> None:
    assert rule_text({"a.yaml": b"groups: {a: [b]}\n", "r.yaml": FILE.encode()}, rule) == Excerpt("r.yaml", *expected)


@pytest.mark.parametrize(
    "file",
    ["rules: [{id: one, effect: deny}, {id: two, effect: allow}]", "rules:\n  -\n    id: one\n", "rules: {id: one}", "[", ""],
)
def test_a_rule_without_lines_of_its_own_is_left_to_an_editor(file: str) -> None:
    assert rule_text({"r.yaml": file.encode()}, "one") is None


@pytest.mark.parametrize("ends", ["\n", "\r\n"])
def test_another_text_takes_its_place_and_nothing_else_moves(ends: str) -> None:
    content = FILE.replace("\n", ends).encode()
    at = rule_text({"r.yaml": content}, "second")
    assert at is not None
    assert spliced(content, at, at.text.replace("\n", "\r\n") + "\r\n") == content
    lines = spliced(content, at, "  - {id: second, effect: allow}").decode().split(ends)
    assert lines == [*FILE.split("\n")[:9], "  - {id: second, effect: allow}", *FILE.split("\n")[12:]]


@pytest.mark.parametrize("end", ["\n", ""])
def test_git_takes_the_patch_with_a_changed_and_a_new_file(tmp_path: Path, end: str) -> None:
    before = {"r.yaml": f"a\nb\u2028c\n\x0cd{end}".encode(), "same.yaml": b"x\n"}
    after = {**before, "r.yaml": f"a\nB\u2028c\n\x0cD{end}".encode(), "new.test.yaml": b"cases:\n  - x\n"}
    for name, content in before.items():
        (tmp_path / name).write_bytes(content)
    subprocess.run(["git", "apply", "-"], input=patch(before, after).encode(), cwd=tmp_path, check=True)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == after


def test_what_did_not_change_makes_no_patch() -> None:
    assert patch({"a": b"x"}, {"a": b"x"}) == ""

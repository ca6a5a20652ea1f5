"""The loader against damaged files: it answers with a policy or with problems, and with nothing else."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.errors import PolicyInvalid
from broker.policy.cases import load_cases
from broker.policy.load import compose

COMPANY = Path(__file__).parent / "specimens" / "company"
TEXT = (COMPANY / "policy.yaml").read_text()
PIECES = [
    "", "null", "true", "0", "-1", "1e999", "''", "[]", "{}", "[[]]", "{a: b}", "*", "&a ", "!!str ", "? ", ": ", "- ", "\t",
    "\n",
    "#", "'", '"', "|", ">", "{", "}", "[", "]", "\x00", "\ufeff", "é", "\U0001f600", "args.", "lib.", "lib.lib", "counters.",
    "consts.", "$.args", "((((", "r'", "//", "{args.", "9" * 400, "x" * 3000, "---\n", "%YAML 1.1\n", "<<: ", "2027-13-45",
]  # fmt: skip


def damaged(seed: int, edits: int) -> str:
    chance, text = random.Random(seed), TEXT
    for _ in range(edits):
        start = chance.randrange(len(text))
        end = start + chance.choice((0, 0, 1, 3, 10, 40, 400))
        text = text[:start] + chance.choice(PIECES) + text[end:]
    return text


def answered(content: bytes) -> None:
    try:
        compose({"policy.yaml": content})
    except PolicyInvalid as error:
        assert error.problems
        for problem in error.problems:
            assert problem.line >= 1
            assert problem.column >= 1
            assert len(str(problem)) < 1500


@pytest.mark.parametrize("count", [400, pytest.param(20_000, marks=[pytest.mark.slow, pytest.mark.timeout(1200)])])
def test_a_damaged_file_is_a_policy_or_a_list_of_problems(count: int) -> None:
    for seed in range(count):
        answered(damaged(seed, edits=1 + seed % 4).encode())


@settings(max_examples=150, deadline=None)
@given(content=st.binary(max_size=200))
def test_any_bytes_are_answered(content: bytes) -> None:
    answered(content)


@settings(max_examples=100, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_a_damaged_test_file_is_answered_too(tmp_path_factory: pytest.TempPathFactory, seed: int) -> None:
    chance, text = random.Random(seed), (COMPANY / "policy.test.yaml").read_text()
    start = chance.randrange(len(text))
    folder = tmp_path_factory.mktemp("cases")
    (folder / "a.test.yaml").write_text(text[:start] + chance.choice(PIECES) + text[start + chance.choice((0, 1, 20)) :])
    policy = compose({"policy.yaml": TEXT.encode()})
    try:
        load_cases(folder, policy)
    except PolicyInvalid as error:
        assert error.problems

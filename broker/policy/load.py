"""From a folder of YAML files to a `Policy`, or to every mistake at once."""

from __future__ import annotations

import hashlib
from pathlib import Path

from broker.errors import PolicyInvalid
from broker.policy import nodes
from broker.policy.build import Files, build
from broker.policy.language import RULES
from broker.policy.model import Policy, Problem
from broker.policy.shapes import Read
from broker.policy.sheet import Sheet

TESTS = ".test.yaml"


def load(folder: Path, *, environment: str = "") -> Policy:
    """Read every `*.yaml` of the folder (not below it, and not its tests) as one policy.

    `environment` is the `env` of conditions and matches. Raises `PolicyInvalid` with every `Problem` of every file.
    Nothing is remembered but parsed files and compiled conditions by content: it may run in a thread.
    """
    return compose(files(folder), environment=environment)


def files(folder: Path) -> dict[str, bytes]:
    """Return the policy files of a folder by name. Raises `PolicyInvalid` where there are none, or one can't be read."""
    problems = [
        Problem(path.name, 1, 1, "files that end in .yml are not read", f"rename it to {path.stem}.yaml")
        for path in _visible(folder, "*.yml")
    ]
    found: dict[str, bytes] = {}
    for path in _visible(folder, "*.yaml"):
        try:
            if not path.name.endswith(TESTS):
                found[path.name] = path.read_bytes()
        except OSError as error:
            problems.append(Problem(path.name, 1, 1, f"the file can't be read: {error.strerror}", "mend its rights"))
    if not found and not problems:
        problems.append(Problem(str(folder), 1, 1, "the folder holds no policy files (*.yaml)", "point BROKER_POLICIES at yours"))
    if problems:
        raise PolicyInvalid(tuple(problems))
    return found


def _visible(folder: Path, pattern: str) -> list[Path]:
    return sorted(path for path in folder.glob(pattern) if not path.name.startswith("."))


def compose(contents: dict[str, bytes], *, environment: str = "") -> Policy:
    """Make a policy from the contents of its files. Raises `PolicyInvalid`."""
    sheets = [Sheet(nodes.read(name, content)) for name, content in sorted(contents.items())]
    reads = as_read(sheets)
    made = build(reads, environment)
    problems = {problem: None for sheet in sheets for problem in sheet.problems}
    if problems or made is None:
        raise PolicyInvalid(tuple(sorted(problems, key=lambda problem: (problem.file, problem.line, problem.column))))
    more = {sheet.document.file for sheet, read in reads if read.values.keys() != {"servers"}}
    beside = digest({name: content for name, content in contents.items() if name in more})
    return Policy(digest=digest(contents), people=made.people, servers=made.servers, compiled=made.rules, beside=beside)


def as_read(sheets: list[Sheet]) -> Files:
    """Return what stands on the sheets, as far as it can be read: mistakes are on them then."""
    reads = [(sheet, RULES.read(sheet.document.root, sheet)) for sheet in sheets if sheet.document.root is not None]
    return [(sheet, read) for sheet, read in reads if isinstance(read, Read)]


def digest(contents: dict[str, bytes]) -> str:
    """Return `sha256:…` over names and contents, in the order of the names."""
    total = hashlib.sha256()
    for name, content in sorted(contents.items()):
        total.update(name.encode() + b"\0" + hashlib.sha256(content).digest())
    return "sha256:" + total.hexdigest()

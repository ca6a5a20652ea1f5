"""`broker policy`: check, test, explain, replay and describe a folder of policy files. None of it needs a running broker."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from broker.cli.policy_calls import from_file, from_request, from_words, past_requests
from broker.cli.policy_tools import listed, pinned
from broker.errors import ConfigInvalid

if TYPE_CHECKING:
    from broker.policy.findings import Finding
    from broker.policy.model import Policy


def add(commands: argparse._SubParsersAction[Any]) -> None:
    """Add `policy check|test|explain|replay|schema`."""
    group = commands.add_parser("policy", help="check, test, explain and replay policy files")
    verbs = group.add_subparsers(dest="verb", metavar="VERB", required=True)
    _add_check(verbs)
    _add_test(verbs)
    _add_explain(verbs)
    _add_replay(verbs)
    schema = verbs.add_parser("schema", help="print the JSON Schema of policy files, for editors")
    schema.add_argument("what", nargs="?", choices=("policy", "tests"), default="policy")
    schema.set_defaults(run=_schema)


def _folder(parser: argparse.ArgumentParser, *, option: bool = False) -> None:
    told = "folder of policy files (the broker's own, if not given)"
    if option:
        parser.add_argument("--policies", dest="folder", type=Path, metavar="FOLDER", help=told)
    else:
        parser.add_argument("folder", nargs="?", type=Path, metavar="FOLDER", help=told)
    parser.add_argument("--env", default=None, metavar="NAME", help="the environment that rules see")


def _add_check(verbs: argparse._SubParsersAction[Any]) -> None:
    check = verbs.add_parser("check", help="find mistakes and oddities; exit status 1 when there are errors")
    _folder(check)
    check.add_argument("--format", choices=("people", "json", "sarif", "github"), default="people")
    check.add_argument("--strict", action="store_true", help="warnings fail too")
    told = "JSON: server -> its tools as in tools/list (those pinned in the broker's store, if not given)"
    check.add_argument("--definitions", type=Path, metavar="FILE", help=told)
    check.add_argument("--today", type=date.fromisoformat, default=None, metavar="DAY", help="for exceptions that expire")
    check.set_defaults(run=_check)


def _add_test(verbs: argparse._SubParsersAction[Any]) -> None:
    test = verbs.add_parser("test", help="run *.test.yaml; exit status 1 when a case fails")
    _folder(test)
    test.add_argument("--min-coverage", type=float, default=0.0, metavar="PERCENT", help="fail below this coverage")
    test.add_argument("--json", action="store_true", help="print the report as JSON")
    test.set_defaults(run=_test)


def _add_explain(verbs: argparse._SubParsersAction[Any]) -> None:
    explain = verbs.add_parser("explain", help="show what every rule says about one call")
    explain.add_argument("server", nargs="?", metavar="SERVER")
    explain.add_argument("tool", nargs="?", metavar="TOOL")
    explain.add_argument("arguments", nargs="?", default="{}", metavar="JSON", help="the call's arguments")
    explain.add_argument("--call", type=Path, metavar="FILE", help="one recorded call as JSON, instead of SERVER TOOL JSON")
    explain.add_argument("--request", metavar="ID", help="a past request, by the policy of its day where that was kept")
    explain.add_argument("--user", default="", metavar="PERSON")
    explain.add_argument("--groups", default=None, metavar="A,B", help="the caller's groups (people.yaml's, if not given)")
    explain.add_argument("--workload", default="", metavar="NAME")
    explain.add_argument("--surface", default="", metavar="NAME", help="the chat, IDE or bot that the call comes through")
    explain.add_argument("--conversation", default="", metavar="ID", help="where in it")
    explain.add_argument("--now", type=datetime.fromisoformat, default=None, metavar="TIME", help="2026-11-24T10:00:00Z")
    told = "what a counter holds; 0, or with --request what it held then, if not given"
    explain.add_argument("--counter", action="append", default=[], metavar="NAME=SUM", help=told)
    explain.add_argument("--json", action="store_true", help="print it as JSON")
    _folder(explain, option=True)
    explain.set_defaults(run=_explain)


def _add_replay(verbs: argparse._SubParsersAction[Any]) -> None:
    replay = verbs.add_parser("replay", help="say what a policy would change about recorded calls")
    told = "recorded calls, JSON Lines (the requests that the store keeps, if not given)"
    replay.add_argument("recording", nargs="?", type=Path, metavar="FILE", help=told)
    replay.add_argument("--against", type=Path, metavar="FOLDER", help="compare with this policy, not with what was recorded")
    replay.add_argument("--examples", type=int, default=5, metavar="N", help="examples of each change (default 5)")
    replay.add_argument("--no-new-access", action="store_true", help="exit status 1 when anything gets looser")
    replay.add_argument("--json", type=Path, metavar="FILE", help="write the figures as JSON")
    _folder(replay, option=True)
    replay.set_defaults(run=_replay)


def _place(args: argparse.Namespace) -> tuple[Path, str]:
    """The folder and environment: as given, else the broker's own."""
    from broker.assets import shipped  # noqa: PLC0415 - the command line starts fast
    from broker.settings import load_settings  # noqa: PLC0415

    settings = load_settings()
    folder = args.folder or settings.policies or shipped("policies")
    if not folder.is_dir():
        raise ConfigInvalid(f"there is no folder {folder}")
    return folder, settings.environment if args.env is None else args.env


def _loaded(args: argparse.Namespace) -> tuple[Path, Policy]:
    from broker.policy.load import load  # noqa: PLC0415

    folder, environment = _place(args)
    return folder, load(folder, environment=environment)


# -- check and test ---------------------------------------------------------------------------------------


def _check(args: argparse.Namespace) -> int:
    from broker.policy.check import check  # noqa: PLC0415
    from broker.policy.findings import Level  # noqa: PLC0415

    folder, environment = _place(args)
    definitions = listed(args.definitions) if args.definitions else pinned()
    findings = check(folder, args.today or datetime.now(UTC).date(), environment=environment, definitions=definitions)
    print(_printed(findings, args.format, str(folder)))
    fatal = (Level.ERROR, Level.WARNING) if args.strict else (Level.ERROR,)
    return int(any(item.level in fatal for item in findings))


def _printed(findings: list[Finding], style: str, folder: str) -> str:
    from broker.policy import findings as printers  # noqa: PLC0415

    def people() -> str:
        return "\n".join((*printers.for_people(findings), f"{len(findings)} finding(s)"))

    styles: dict[str, Callable[[], str]] = {
        "people": people,
        "json": lambda: printers.as_json(findings),
        "sarif": lambda: printers.as_sarif(findings, folder),
        "github": lambda: "\n".join(printers.for_github(findings, folder)),
    }
    return styles[style]()


def _test(args: argparse.Namespace) -> int:
    from broker.policy.cases import load_cases  # noqa: PLC0415
    from broker.policy.suite import lines, run  # noqa: PLC0415

    folder, policy = _loaded(args)
    report = run(policy, load_cases(folder, policy))
    print(_json({**_plain(report), "coverage": report.coverage}) if args.json else "\n".join(lines(report)))
    return int(bool(report.failures) or report.coverage < args.min_coverage)


# -- explain ----------------------------------------------------------------------------------------------


def _explain(args: argparse.Namespace) -> int:
    from broker.policy.explain import explain, lines  # noqa: PLC0415

    if args.request:
        policy, asked = from_request(args.request, args.counter)
    else:
        _, policy = _loaded(args)
        asked = from_file(args.call) if args.call else from_words(args, policy, pinned())
    told = explain(policy, *asked)
    print(_json(_plain(told)) if args.json else "\n".join(lines(told)))
    return 0


# -- replay and schema ------------------------------------------------------------------------------------


def _replay(args: argparse.Namespace) -> int:
    from broker.policy.load import load  # noqa: PLC0415
    from broker.policy.replay import lines, read, replay  # noqa: PLC0415

    _, after = _loaded(args)
    before = load(args.against, environment=args.env or "") if args.against else None
    if args.recording is None:
        report = replay(past_requests(), after, before, examples=args.examples)
    else:
        with _opened(args.recording) as recording:
            report = replay(read(recording), after, before, examples=args.examples)
    if args.json:
        args.json.write_text(_json(_plain(report)) + "\n")
    print("\n".join(lines(report)))
    return int(args.no_new_access and report.looser > 0)


def _opened(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except OSError as error:
        raise ConfigInvalid(f"{path} can't be read: {error.strerror}") from None


def _schema(args: argparse.Namespace) -> int:
    from broker.policy.schema import policy_schema, tests_schema  # noqa: PLC0415

    print(_json(policy_schema() if args.what == "policy" else tests_schema()))
    return 0


def _plain(value: Any) -> Any:
    import msgspec  # noqa: PLC0415

    return msgspec.to_builtins(value)


def _json(value: Any) -> str:
    import msgspec  # noqa: PLC0415

    return msgspec.json.format(msgspec.json.encode(value), indent=2).decode()

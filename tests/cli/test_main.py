"""The command line as a user meets it: exit statuses, help, and a quick start."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

import pytest

from broker import __version__
from broker.cli.main import main, parser
from broker.cli.reference import commands_table, settings_table, written

HEAVY = ("aiohttp", "litestar", "mcp", "pydantic", "redis", "uvicorn", "jinja2", "yaml", "celpy", "cel_expr_python")


def verbs(tree: argparse.ArgumentParser, typed: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    groups = [action for action in tree._actions if isinstance(action, argparse._SubParsersAction)]
    below = [verbs(sub, (*typed, name)) for group in groups for name, sub in group.choices.items()]
    return [leaf for leaves in below for leaf in leaves] or [typed]


@pytest.mark.parametrize("typed", verbs(parser()), ids=" ".join)
def test_every_verb_explains_itself(typed: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([*typed, "--help"])
    assert ended.value.code == 0
    assert f"usage: broker {' '.join(typed)}" in capsys.readouterr().out


def test_every_verb_says_in_the_list_what_it_does() -> None:
    rows = [line.split("|") for line in commands_table().splitlines()[2:]]
    assert [row[1].strip() for row in rows if not row[2].strip()] == []


def test_a_verb_that_does_not_exist_is_said_on_stderr_with_status_2(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["approve-everything"])
    assert ended.value.code == 2
    assert "approve-everything" in capsys.readouterr().err


def test_the_version_is_the_package_s(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--version"])
    assert capsys.readouterr().out == f"broker {__version__}\n"


@pytest.mark.parametrize(
    ("does", "heavy"),
    [
        ("from broker.cli.main import parser; parser()", HEAVY),
        ("import broker.settings", ("aiohttp", "redis", "mcp", "litestar")),
    ],
    ids=["command line", "settings"],
)
def test_the_command_line_and_the_settings_do_without_the_heavy_libraries(does: str, heavy: tuple[str, ...]) -> None:
    code = f"import sys; {does}; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("variable", "value", "named"),
    [("BROKER_PORT", "eighty", "port"), ("BROKER_HOLD", "soon", "hold"), ("BROKER_ON_STORE_DOWN", "hope", "on_store_down")],
)
def test_a_wrong_setting_ends_with_status_2_and_names_itself(
    variable: str, value: str, named: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BROKER_DATA", str(tmp_path / "data"))
    monkeypatch.setenv(variable, value)
    assert main(["serve", "--port", "0"] if variable != "BROKER_PORT" else ["serve"]) == 2
    said = capsys.readouterr().err
    assert named in said and "[config_invalid]" in said
    assert value not in said


def test_half_a_setup_that_shows_while_the_broker_starts_is_told_as_plainly(tmp_path: Path) -> None:
    settings = {"BROKER_DATA": str(tmp_path / "data"), "BROKER_SLACK_BOT_TOKEN": "xoxb-secret", "BROKER_PORT": "0"}
    typed = [sys.executable, "-m", "broker", "serve"]
    done = subprocess.run(typed, cwd=tmp_path, env={**os.environ, **settings}, capture_output=True, text=True, check=False)
    assert (done.returncode, "Traceback" in done.stderr, "secret" in done.stderr) == (2, False, False)
    said = "broker: Slack needs BROKER_SLACK_APP_TOKEN (Socket Mode) or BROKER_SLACK_SIGNING_SECRET (HTTP) [config_invalid]"
    assert done.stderr.splitlines()[-1] == said


def test_the_tables_are_written_between_their_marks_and_nowhere_else() -> None:
    text = "# A\n<!-- settings -->\nold\n<!-- /settings -->\nmiddle\n<!-- commands -->\n<!-- /commands -->\nend\n"
    assert written(text) == (
        f"# A\n<!-- settings -->\n{settings_table()}\n<!-- /settings -->\nmiddle\n"
        f"<!-- commands -->\n{commands_table()}\n<!-- /commands -->\nend\n"
    )
    assert written(written(text)) == written(text)


def test_a_reader_that_has_enough_is_told_nothing_more() -> None:
    typed = [sys.executable, "-m", "broker", "policy", "schema"]
    with subprocess.Popen(typed, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as broker:
        assert broker.stdout is not None
        assert broker.stderr is not None
        broker.stdout.close()
        assert (broker.wait(), broker.stderr.read()) == (141, b"")

"""`broker audit` and `broker receipts` with what is broken: one sentence, and a status that tells \"no\" from \"not done\"."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
from joserfc import jwt
from joserfc.errors import SecurityWarning

from broker.audit.chain import GENESIS, Batch, Seal
from broker.audit.keys import signing_key
from broker.audit.receipts import RECORD, Receipt
from broker.audit.segments import Segments
from broker.cli.main import main
from broker.domain.events import Noted, encode_event

NOW = datetime(2026, 11, 24, 10, tzinfo=UTC)
BROKEN = {
    "none": None,
    "half": "{",
    "list": "[]",
    "empty": "{}",
    "no end": "[" * 20_000,
    "no keys": '{"keys": []}',
    "rsa": '{"keys": [{"kty": "RSA"}]}',
}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BROKER_DATA", str(tmp_path))
    signing_key(tmp_path / "keys" / "signing-key.pem")
    return tmp_path


def segment(home: Path, *numbers: int) -> None:
    """Write a line for each event, as a sealer does; nobody looks at the seals here."""
    for number in numbers:
        seal = Seal(0, number, number, GENESIS, GENESIS, NOW, "key")
        event = encode_event(Noted(at=NOW, what="test.fact", who=f"person-{number}"))
        Segments(home / "audit").append(Batch(seal, (msgspec.Raw(event),)))


@pytest.mark.parametrize("keys", BROKEN)
@pytest.mark.parametrize("command", [("audit", "verify", "--files-only"), ("receipts", "verify", "receipt")])
def test_what_holds_no_public_keys_is_said_and_proves_nothing(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: tuple[str, ...], keys: str
) -> None:
    monkeypatch.chdir(home)
    (home / "receipt").write_text("a.b.c")
    if (content := BROKEN[keys]) is not None:
        (home / "jwks.json").write_text(content)
    assert main([*command, "--keys", "jwks.json"]) == 2
    told = capsys.readouterr()
    assert (told.out, told.err.count("\n"), "public keys" in told.err) == ("", 1, True)


def test_an_export_says_which_events_are_missing_and_writes_the_others(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:  # fmt: skip
    segment(home, 1, 2, 5)
    file = min((home / "audit").iterdir())
    file.write_bytes(file.read_bytes().replace(b'"noted"', b'"never"', 1))
    assert main(["audit", "export"]) == 1
    told = capsys.readouterr()
    assert [json.loads(line)["number"] for line in told.out.splitlines()] == [2, 5]
    assert "events 3 to 4 are not here" in told.err
    assert main(["audit", "export", "--after", "4"]) == 0


@pytest.mark.parametrize("command", [["verify", "--files-only"], ["export"]])
def test_a_segment_file_that_can_not_be_read_is_said_and_proves_nothing(
    home: Path, capsys: pytest.CaptureFixture[str], command: list[str]
) -> None:
    segment(home, 1)
    (home / "audit" / "audit-of-another.jsonl").mkdir()  # whoever runs the tests may be one who reads every file
    assert main(["audit", *command]) == 2
    told = capsys.readouterr()
    assert (told.out, told.err) == ("", "broker: audit-of-another.jsonl can't be read: IsADirectoryError [config_invalid]\n")


def test_a_tools_name_forges_no_line_of_what_a_receipt_says(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tool = "files_list\nserver      payments\x1b[2J"
    claims = Receipt("i", "files", "r.1", 1, 1, tool, "call", "arguments", "policy", ("rule",), ("group",), "definition")
    key = signing_key(home / "keys" / "signing-key.pem")
    header = {"alg": "EdDSA", "kid": key.name, "typ": RECORD}
    with pytest.warns(SecurityWarning):  # of the name EdDSA, see `Issuer`
        (home / "receipt").write_text(jwt.encode(header, msgspec.to_builtins(claims), key.jwk, algorithms=["EdDSA"]))
    assert main(["receipts", "verify", str(home / "receipt")]) == 0
    told = [line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines()]
    assert ["tool", r"files_list\u{a}server      payments\u{1b}[2J"] in told
    assert len(told) == len(Receipt.__struct_fields__)


def test_an_encrypted_signing_key_is_said_to_be_one(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = home / "keys" / "signing-key.pem"
    path.write_bytes(signing_key(path).jwk.as_pem(private=True, password="x"))
    segment(home, 1)
    assert main(["audit", "verify", "--files-only"]) == 2
    assert "has to hold Ed25519 keys as PEM, not encrypted: make one with: openssl" in capsys.readouterr().err

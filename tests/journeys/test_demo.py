"""The demo as a user runs it: in a process of its own, through its command line."""

from __future__ import annotations

import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
import pytest

from broker.demo.agent import REFUND
from broker.demo.attendant import differences
from broker.demo.files import files
from broker.demo.payments import payments
from broker.demo.warehouse import warehouse

PATIENCE = 60


@contextmanager
def demo(*args: str) -> Iterator[subprocess.Popen[str]]:
    """Run the demo in a process group of its own; whatever is left of it is killed at the end."""
    process = subprocess.Popen(
        [sys.executable, "-m", "broker", "demo", *args], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        start_new_session=True,
    )  # fmt: skip
    try:
        yield process
    finally:
        if processes_of(process.pid):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(PATIENCE)
        assert process.stdout
        process.stdout.close()


def processes_of(group: int) -> list[str]:
    """Return the living processes of a process group."""
    listed = subprocess.run(["ps", "-eo", "pgid=,stat=,args="], check=True, capture_output=True, text=True).stdout
    rows = [line.split(None, 2) for line in listed.splitlines()]
    return [row[2] for row in rows if int(row[0]) == group and not row[1].startswith("Z")]


def lines_until(process: subprocess.Popen[str], text: str) -> str:
    """Return what the demo has said, up to the line that holds `text`."""
    assert process.stdout
    said = []
    for line in process.stdout:
        said.append(line)
        if text in line:
            return "".join(said)
    raise AssertionError(f"the demo never said {text!r}:\n{''.join(said)}")


def test_unattended_the_refund_is_paid_once_and_the_stock_is_left_alone() -> None:
    with demo("--unattended") as process:
        said, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, said
    assert "one call allowed, one refused, one approved and run once, one rejected and never run" in said
    assert re.search(r"Approved by Fay.*\n.*Sent to the server\n.*It ran\n", said)


def test_a_person_decides_on_the_page_and_ctrl_c_leaves_nothing_behind() -> None:
    with demo() as process:
        said = lines_until(process, "The rules are in")
        url, home = (
            re.findall(r"Fay decides .*?(http\S+)/sign-in/", said)[0],
            Path(said.split("The rules are in ")[1].strip()).parent,
        )
        with httpx2.Client(base_url=url, follow_redirects=True) as browser:
            browser.post("/sign-in", data={"code": re.findall(r"Fay decides .*(http\S+)", said)[0]}).raise_for_status()
            assert "Refund 900" in browser.get("/").text or lines_until(process, "refund_create is held")
        assert (home / "data").exists()
        os.kill(process.pid, signal.SIGINT)
        assert process.wait(PATIENCE) == 0
        assert processes_of(process.pid) == []
    assert not home.exists()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((urlsplit(url).hostname or "", urlsplit(url).port or 0), 2)


def test_the_check_finds_a_second_refund_and_a_changed_stock(tmp_path: Path) -> None:
    payments(tmp_path / "ledger.db"), warehouse(tmp_path / "warehouse.db"), files(tmp_path / "files")
    with closing(sqlite3.connect(tmp_path / "ledger.db")) as ledger, ledger:
        ledger.execute(
            "INSERT INTO refunds (customer, amount, currency, reason) VALUES (:customer, :amount, :currency, :reason)", REFUND
        )
    assert differences(tmp_path) == []
    with closing(sqlite3.connect(tmp_path / "ledger.db")) as ledger, ledger:
        ledger.execute(
            "INSERT INTO refunds (customer, amount, currency, reason) SELECT customer, amount, currency, reason FROM refunds"
        )
    with closing(sqlite3.connect(tmp_path / "warehouse.db")) as stock, stock:
        stock.execute("DELETE FROM stock WHERE item = 'lamp'")
    assert [line.split(":")[0] for line in differences(tmp_path)] == ["the ledger", "the stock"]

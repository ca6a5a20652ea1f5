"""`broker receipts get|verify`."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    verbs = commands.add_parser("receipts", help="signed statements of approvals").add_subparsers(required=True, metavar="VERB")
    verify = verbs.add_parser("verify", help="check a receipt's signature and print what it says")
    verify.add_argument("file", type=Path, help="file with the receipt; - is standard input")
    verify.add_argument("--keys", type=Path, help="public keys as JWKS (the broker's own key)")
    verify.set_defaults(run=run_verify)
    fetch = verbs.add_parser("get", help="print the receipt of a request that was released, with your token (BROKER_TOKEN)")
    fetch.add_argument("id", metavar="ID")
    fetch.set_defaults(run=run_get)


def run_get(args: argparse.Namespace) -> int:
    """Return 0. Raises a `BrokerError` that says what the broker said."""
    from broker.channels.terminal.client import Api  # noqa: PLC0415 - heavy imports wait until they are needed
    from broker.cli.requests import DEFAULT_URL  # noqa: PLC0415

    with Api(os.environ.get("BROKER_URL") or DEFAULT_URL, os.environ.get("BROKER_TOKEN", "")) as api:
        print(api.receipt(args.id))
    return 0


def run_verify(args: argparse.Namespace) -> int:
    """Return 0 when the signature holds, also for one that has expired: the record may be old. 1 when it does not."""
    from broker.audit.keys import PublicKeys, published, read_public  # noqa: PLC0415 - heavy imports wait until they are needed
    from broker.audit.receipts import ReceiptInvalid, read  # noqa: PLC0415
    from broker.domain.text import visible  # noqa: PLC0415
    from broker.errors import ConfigInvalid  # noqa: PLC0415
    from broker.settings import load_settings  # noqa: PLC0415

    try:
        token = (sys.stdin.read() if str(args.file) == "-" else args.file.read_text()).strip()
    except (OSError, ValueError) as error:
        raise ConfigInvalid(f"the receipt can't be read: {type(error).__name__}") from None
    keys = read_public(args.keys) if args.keys else PublicKeys(published(load_settings().key_file))
    try:
        receipt = read(token, keys)
    except ReceiptInvalid as error:
        print(error.message, file=sys.stderr)
        return 1
    for name in receipt.__struct_fields__:
        value = getattr(receipt, name)
        print(visible(f"{name:<11} {', '.join(value) if isinstance(value, tuple) else value}", keep=""))
    return 0

"""A stdio server without any library, quick to start and as rude as its arguments say.

python tests/fakes/stdio_raw.py [deaf] [silent] [stubborn] [child] [refuses=N] [FILE]
  deaf: says nothing to what it does not know    silent: never answers the handshake    stubborn: ignores stdin's end and SIGTERM
  child: starts a process that outlives it       refuses=FILE: ends at once as often as FILE has lines, taking one each time
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

FLAGS = {flag.partition("=")[0]: flag.partition("=")[2] for flag in sys.argv[1:]}


def send(message: Any) -> None:
    sys.stdout.write(message if isinstance(message, str) else json.dumps(message))
    sys.stdout.write("\n")
    sys.stdout.flush()


def told(text: str) -> dict[str, Any]:
    return {"content": [{"type": "text", "text": text}], "future": {"member": None}}


def call(number: Any, name: str, text: str) -> None:
    """`raw`: the text is written as it is, `ID` standing for the number, and is no answer unless it says so itself."""
    if name == "raw":
        send(text.replace("ID", str(number)))
    elif name == "die":
        os._exit(3)
    elif name != "never":
        send({"jsonrpc": "2.0", "id": number, "result": told(does(name, text)), "extra": 1})
    if name == "after":
        send({"jsonrpc": "2.0", "method": "notifications/message", "params": {"data": text}})


def does(name: str, text: str) -> str:
    match name:
        case "large":
            return "x" * int(text)
        case "pid":
            return str(os.getpid())
        case "shout":
            for line in range(int(text)):
                print(f"line {line} {os.environ.get('SECRET', '')} \x1b[31mred", file=sys.stderr, flush=True)
        case "env":
            return json.dumps(dict(os.environ))
    return text


def take(message: dict[str, Any]) -> None:
    method, number = message.get("method"), message.get("id")
    if method == "initialize" and "silent" not in FLAGS:
        hello = {"protocolVersion": "2025-06-18", "capabilities": {"tools": {}}, "serverInfo": {"name": "raw", "version": "0"}}
        send({"jsonrpc": "2.0", "id": number, "result": hello})
    elif method == "tools/call":
        call(number, message["params"]["name"], str(message["params"].get("arguments", {}).get("text", "")))
    elif method == "tools/list":
        send({"jsonrpc": "2.0", "id": number, "result": {"tools": [{"name": "raw", "inputSchema": {}, "vendor": {"x": 1.0}}]}})
    elif number is not None and method and not {"deaf", "silent"} & set(FLAGS):
        send({"jsonrpc": "2.0", "id": number, "error": {"code": -32601, "message": "Method not found"}})


def refused() -> bool:
    """Take one line off the file of refusals."""
    file = Path(FLAGS["refuses"])
    left = file.read_text().splitlines() if file.exists() else []
    file.write_text("\n".join(left[1:]))
    return bool(left)


if __name__ == "__main__":
    if "refuses" in FLAGS and refused():
        sys.exit(9)
    if "stubborn" in FLAGS:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if "child" in FLAGS:
        subprocess.Popen(["sleep", "600"], stdin=subprocess.DEVNULL)
    print("ready", file=sys.stderr, flush=True)
    for line in sys.stdin:
        take(json.loads(line))
    while "stubborn" in FLAGS:
        time.sleep(1)

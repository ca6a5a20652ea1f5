"""The broker that is measured: `broker serve` in a process of its own, on its embedded store, with a policy of 100 rules."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
from joserfc import jwt
from joserfc.jwk import ECKey

from broker.bench.processes import children, started
from broker.bench.rules import write_policy
from broker.errors import ConfigInvalid

RULES = 100
READY_WITHIN = 30.0
ISSUER = "https://issuer.example.com"
REVIEWER, LINKS = "ada@example.com", 3


class UnderTest(msgspec.Struct, frozen=True):
    """Where it listens, its processes, and the tokens of an agent and of a reviewer. `ready` is its cold start in seconds.

    `person` is a token, `links` are codes of sign-in links, of the reviewer and empty without one. `access` is an access token of
    an issuer that it trusts.
    """

    port: int
    pid: int
    store_pids: tuple[int, ...]
    agent: str
    person: str
    ready: float
    links: tuple[str, ...] = ()
    access: str = ""


@contextmanager
def broker_under_test(
    upstream: str, *, reviewer: bool = False, filled: Callable[[Path], None] | None = None, bare: bool = False,
    trusting: bool = False,
) -> Iterator[UnderTest]:  # fmt: skip
    """Run the broker in front of `upstream`, with tokens for a `reviewer` if wanted; nothing of it is left at the end.

    `filled` puts something into its folder before it starts: `policies` is there, `data` is not. `bare`: it lets anybody call and
    seals nothing. `trusting`: it takes access tokens of an issuer of the bench.
    """
    with TemporaryDirectory(prefix="broker-bench-", ignore_cleanup_errors=True) as folder:
        home = Path(folder)
        write_policy(home / "policies", upstream, RULES)
        env = {
            "BROKER_DATA": str(home / "data"), "BROKER_POLICIES": str(home / "policies"), "BROKER_PORT": "0",
            "BROKER_HOLD": "PT2H", "BROKER_PENDING_PER_AGENT": "0", "BROKER_LOG_LEVEL": "error", "BROKER_HOST": "127.0.0.1",
        }  # fmt: skip
        if filled is not None:
            filled(home)
        access = _issuer(home, env) if trusting else ""
        env |= {"BROKER_OPEN_LOOPBACK": "true"} if bare else {}
        begin = time.perf_counter()
        announced = home / "announced"
        command = [sys.executable, "-m", "broker.bench.bare" if bare else "broker", "serve", "--announce", str(announced)]
        with started(command, env=env, log=home / "log") as process:
            port = _port(announced, process, home / "log")
            ready = time.perf_counter() - begin
            yield UnderTest(
                port=port,
                pid=process.pid,
                store_pids=_store(process.pid, home),
                agent="" if bare else _token(env, "agents", "add", "bench", "--owner", "bob@example.com"),
                person=_token(env, "people", "token", REVIEWER) if reviewer else "",
                ready=ready,
                links=tuple(_token(env, "people", "link", REVIEWER).rsplit("/", 1)[-1] for _ in range(LINKS if reviewer else 0)),
                access=access,
            )


def _issuer(home: Path, env: dict[str, str]) -> str:
    """Make an issuer that the broker trusts; return an access token of it."""
    key = ECKey.generate_key("P-256", {"kid": "bench"})
    (home / "jwks.json").write_bytes(msgspec.json.encode({"keys": [key.as_dict(private=False)]}))
    trusted = {"issuer": ISSUER, "jwks_file": str(home / "jwks.json"), "audiences": ["bench"]}
    env["BROKER_OAUTH_ISSUERS"] = msgspec.json.encode([trusted]).decode()
    claims = {"iss": ISSUER, "aud": "bench", "sub": "bob@example.com", "client_id": "bench", "exp": int(time.time()) + 86_400}
    return jwt.encode({"alg": "ES256", "kid": "bench"}, claims, key)


def _port(announced: Path, process: subprocess.Popen[bytes], log: Path) -> int:
    until = time.monotonic() + READY_WITHIN
    while time.monotonic() < until and process.poll() is None:
        if announced.exists():
            return int(announced.read_text().strip().rsplit(":", 1)[1])
        time.sleep(0.005)
    said = log.read_text(errors="replace").strip().splitlines()[-1:]
    raise ConfigInvalid(f"the broker under test did not start: {said[0] if said else 'it said nothing'}")


def _token(env: dict[str, str], *verb: str) -> str:
    import os  # noqa: PLC0415

    done = subprocess.run(
        [sys.executable, "-m", "broker", *verb], env=os.environ | env, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise ConfigInvalid(f"no token could be made: {done.stderr.strip()}")
    return done.stdout.split()[0]


def _store(pid: int, home: Path) -> tuple[int, ...]:
    """The store's process: it is no child of the broker, but names its folder."""
    found = [pid for pid in children(1) if str(home) in _command(pid) and "store.sock" in _command(pid)]
    return tuple(found)


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""

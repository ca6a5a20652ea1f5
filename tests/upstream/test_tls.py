"""TLS to a server: its certificate and name have to hold before anything is said."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import anyio
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from broker import outgoing
from broker.errors import UpstreamUntouched
from broker.upstream.http import HttpServers, Target
from tests.fakes.raw_server import BODY, GOOD


def certified(folder: Path, *names: x509.GeneralName, until: timedelta = timedelta(days=1)) -> tuple[Path, Path]:
    """Make a certificate for `names` that stands for itself; return its files."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a server")])
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now - timedelta(days=2), now + until)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    plain = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "key.pem").write_bytes(plain)
    (folder / "cert.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    return folder / "cert.pem", folder / "key.pem"


HERE = x509.IPAddress(ip_address("127.0.0.1"))
OLD = timedelta(days=-1)


class Listener:
    """A TLS server that answers; `seen` is what reached it."""

    def __init__(self, cert: Path, key: Path) -> None:
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(cert, key)
        self.seen: list[bytes] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1 << 16):
            self.seen.append(data)
            writer.write(GOOD)
        writer.close()


@pytest.fixture(autouse=True)
def anew() -> Iterator[None]:
    outgoing.verified.cache_clear()
    yield
    outgoing.verified.cache_clear()


async def answered(listener: Listener) -> AsyncIterator[bytes]:
    """Ask twice."""
    running = await asyncio.start_server(listener.serve, "127.0.0.1", 0, ssl=listener.context)
    servers = HttpServers(lambda name: Target(f"https://127.0.0.1:{running.sockets[0].getsockname()[1]}/mcp"))
    try:
        with anyio.fail_after(10):
            for _ in range(2):
                answer = await servers.forward("s", "POST", {}, BODY)
                yield await answer.read()
    finally:
        await servers.close()
        running.close()
        await running.wait_closed()


@pytest.fixture(scope="module", params=[False, True], ids=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, bool]]:
    """uvloop is what the broker runs on, asyncio what it falls back to."""
    return "asyncio", {"use_uvloop": request.param}


async def test_a_server_whose_certificate_holds_is_spoken_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cert, key = certified(tmp_path, HERE)
    monkeypatch.setenv("SSL_CERT_FILE", str(cert))
    listener = Listener(cert, key)
    assert [body async for body in answered(listener)] == [b"{}", b"{}"]
    assert [BODY in seen for seen in listener.seen] == [True, True]


@pytest.mark.parametrize(
    ("name", "until", "trusted"),
    [(HERE, -OLD, False), (x509.DNSName("elsewhere.example.com"), -OLD, True), (HERE, OLD, True)],
    ids=["of nobody we know", "for another name", "expired"],
)
async def test_a_server_whose_certificate_does_not_hold_gets_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: x509.GeneralName, until: timedelta, trusted: bool
) -> None:
    cert, key = certified(tmp_path, name, until=until)
    if trusted:
        monkeypatch.setenv("SSL_CERT_FILE", str(cert))
    listener = Listener(cert, key)
    with pytest.raises(UpstreamUntouched, match=r"can't be reached \(SSLCertVerificationError\)"):
        assert [body async for body in answered(listener)] == []
    assert listener.seen == []

"""Signing keys (Ed25519, RFC 8032): one private key a broker, kept in a file that only it may read.

The file may hold more: the first signs, the others did before. Public keys are published as a JWKS (RFC 7517). A key is named by
its thumbprint (RFC 7638), so a name can't lie.
"""

from __future__ import annotations

import json
import os
import re
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from joserfc.errors import JoseError
from joserfc.jwk import KeySet, OKPKey

from broker.errors import ConfigInvalid

_PEM = re.compile(rb"-----BEGIN [A-Z ]+-----.+?-----END [A-Z ]+-----", re.DOTALL)
_ED25519 = ("OKP", "Ed25519")
_MAKE = "make one with: openssl genpkey -algorithm ed25519"


class SigningKey:
    """A private key and its name."""

    def __init__(self, key: OKPKey) -> None:
        self.jwk = key
        self.name = key.thumbprint()

    def sign(self, message: bytes) -> str:
        """Return the hex signature of `message`."""
        return self.jwk.private_key.sign(message).hex()  # type: ignore[union-attr]  # an Ed25519 key has `sign`

    def public(self) -> dict[str, Any]:
        """Return the public JWK with `kid`, `use` and `alg`."""
        return {**self.jwk.as_dict(private=False), "kid": self.name, "use": "sig", "alg": "EdDSA"}


def signing_key(path: Path) -> SigningKey:
    """Return the first key of a file, which is made if it is not there: mode 0600. Raises `ConfigInvalid`."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not path.exists():
            made_once(path, OKPKey.generate_key("Ed25519").as_pem(private=True))
    except OSError as error:
        raise ConfigInvalid(f"the signing key {path} can't be made: {type(error).__name__}") from None
    first = _keys(path)[0]
    if not first.is_private:
        raise ConfigInvalid(f"the first key of {path} has to be a private one, it signs: {_MAKE}")
    return SigningKey(first)


def published(path: Path) -> dict[str, Any]:
    """Return the public half of every key of a file as a JWKS: keys that signed before stay there. Raises `ConfigInvalid`."""
    return {"keys": [SigningKey(key).public() for key in _keys(path)]}


def read_public(path: Path) -> PublicKeys:
    """Return the keys of a JWKS file. Raises `ConfigInvalid`."""
    try:
        return PublicKeys(json.loads(path.read_text()))
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigInvalid(f"the public keys {path} can't be read: {type(error).__name__}") from None


def _keys(path: Path) -> list[OKPKey]:
    try:
        keys = [OKPKey.import_key(block) for block in _PEM.findall(path.read_bytes())]
        if not keys or any(key.curve_name != "Ed25519" for key in keys):
            raise ValueError
    except OSError as error:
        raise ConfigInvalid(f"the signing keys of {path} can't be read: {type(error).__name__}") from None
    except (ValueError, TypeError, JoseError):  # TypeError: the key is encrypted
        raise ConfigInvalid(f"{path} has to hold Ed25519 keys as PEM, not encrypted: {_MAKE}") from None
    return keys


def made_once(path: Path, key: bytes) -> None:
    """Write a key into a file of its owner alone, whole or not at all. Where another process was faster, its key stays."""
    fresh = path.with_suffix(f".{secrets.token_hex(8)}")
    with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:  # noqa: PTH123 - mode at creation
        file.write(key)
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(fresh, path)  # fails if another process was faster: then its key counts
    except FileExistsError:
        pass
    finally:
        fresh.unlink()


class PublicKeys:
    """Public keys by name. `holds` is False for a key that nobody vouches for."""

    def __init__(self, jwks: Mapping[str, Any]) -> None:
        """Raises `ConfigInvalid` for what is no JWKS with at least one Ed25519 key; others that it holds are passed over."""
        try:
            found = [OKPKey.import_key(dict(key)) for key in jwks["keys"] if (key["kty"], key.get("crv")) == _ED25519]
        except (KeyError, TypeError, ValueError, AttributeError, JoseError):
            found = []
        if not found:
            raise ConfigInvalid("these public keys are no JWKS with an Ed25519 key: the broker's is at /.well-known/jwks.json")
        self._keys = {key.thumbprint(): key for key in found}

    def holds(self, name: str, message: bytes, signature: str) -> bool:
        """Was `message` signed by the key `name`?"""
        key = self._keys.get(name)
        if key is None:
            return False
        try:
            key.public_key.verify(bytes.fromhex(signature), message)  # type: ignore[union-attr]  # Ed25519 has `verify`
        except Exception:  # cryptography raises InvalidSignature, bad hex ValueError: both are a plain no
            return False
        return True

    def as_set(self) -> KeySet:
        return KeySet(list(self._keys.values()))

"""Policies that were in force, kept by digest, so that an old request can be explained by the policy of its day."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from broker.errors import PolicyInvalid
from broker.policy.load import compose, digest
from broker.policy.model import Policy


class Versions:
    """A folder of policy contents, one file each. Secrets are not in them: policy files only refer to them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def keep(self, contents: dict[str, bytes]) -> None:
        """Write the contents of a policy, unless they are there. Raises `OSError`."""
        path = self._path(digest(contents))
        if path.exists():
            return
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        draft = path.with_suffix(f".{os.getpid()}")
        draft.write_bytes(msgspec.json.encode({name: content.decode() for name, content in contents.items()}))
        draft.rename(path)

    def read(self, policy_digest: str, *, environment: str = "") -> Policy | None:
        """Return the policy with this digest; None where it was not kept, or can't be read by this version of the broker."""
        try:
            kept = msgspec.json.decode(self._path(policy_digest).read_bytes(), type=dict[str, str])
            policy = compose({name: text.encode() for name, text in kept.items()}, environment=environment)
        except (OSError, msgspec.DecodeError, PolicyInvalid):
            return None
        return policy if policy.digest == policy_digest else None

    def _path(self, policy_digest: str) -> Path:
        name = "".join(char for char in policy_digest if char.isalnum())
        return self._folder / f"{name}.json"

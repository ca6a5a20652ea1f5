"""What the server promises about a power cut, as its own configuration says."""

from __future__ import annotations

from broker.store.connection import Commands


class Durability:
    """Asks the server; hosted ones may refuse to tell."""

    def __init__(self, commands: Commands) -> None:
        self._commands = commands

    async def told(self) -> tuple[str, str]:
        """Return (appendonly, appendfsync), each empty where the server does not tell."""
        row = await self._commands.run("INFO", "persistence")
        on = "yes" if b"aof_enabled:1" in row else "no"
        try:
            found = await self._commands.run("CONFIG", "GET", "appendfsync")
        except Exception:  # a hosted server that knows no CONFIG answers with an error of its own
            return on, ""
        return on, found[1].decode() if len(found) > 1 else ""

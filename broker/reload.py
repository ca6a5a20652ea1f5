"""The policy in force: read from its folder, watched, swapped whole, and kept when the files are wrong."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from pathlib import Path

import anyio
import structlog
import watchfiles

from broker.errors import PolicyInvalid
from broker.policy.load import compose, digest, files
from broker.policy.model import Policy, Problem
from broker.versions import Versions

_log = structlog.get_logger(__name__)
# Changes are looked for by the operating system; this often, also without its word: network folders give none.
_RECHECK = 5_000
_SETTLED = 100
# Seconds after which the event loop gets its turn back while rules are composed in a thread; Python's own is 5 ms.
_TURN = 0.001


class PolicyFolder:
    """A `PolicySource` over one folder. What is on disk and wrong never comes into force: the last good policy stays.

    `held` is `current`, None when there never was a good one. `tell` is called with each policy that comes into force, the first
    one too; `versions` keeps each. Call `load` once, then run `watch`.
    """

    def __init__(
        self,
        folder: Path,
        *,
        environment: str = "",
        tell: Callable[[Policy], None] = lambda policy: None,
        versions: Versions | None = None,
    ) -> None:
        self._folder = folder
        self._environment = environment
        self._tell = tell
        self._versions = versions
        self.held: Policy | None = None
        self._problems: tuple[Problem, ...] = ()
        self._seen = ""
        self._loading = anyio.Lock()

    @property
    def current(self) -> Policy:
        """The policy in force. Raises `PolicyInvalid` when there never was a good one."""
        if self.held is None:
            raise PolicyInvalid(self._problems)
        return self.held

    @property
    def problems(self) -> tuple[Problem, ...]:
        """What is wrong with the files on disk; empty when they are in force."""
        return self._problems

    async def load(self) -> None:
        """Read the folder, in a thread, if its files changed. Never raises for what they hold: see `problems`."""
        async with self._loading:  # one after the other: what was read earlier must not come into force later
            await self._load()

    async def _load(self) -> None:
        try:
            seen, self._seen = self._seen, ""
            contents = await anyio.to_thread.run_sync(files, self._folder)
            self._seen = digest(contents)
            if self._seen == seen:
                return
            policy = await anyio.to_thread.run_sync(self._composed, contents)
        except PolicyInvalid as error:
            self._refuse(error.problems)
            return
        self._problems = ()
        if self.held is None or policy.digest != self.held.digest:
            await anyio.to_thread.run_sync(self._keep, contents)
            self.held = policy
            _log.info("policy in force", digest=policy.digest, files=len(contents))
            self._tell(policy)

    async def watch(self) -> None:
        """Follow the folder until cancelled."""
        stop = anyio.Event()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_set_when_cancelled, stop)
            while True:
                try:
                    await self._follow(stop)
                except OSError as error:
                    told = f"the folder can't be watched: {error.strerror or error}"
                    self._refuse((Problem(str(self._folder), 1, 1, told),))
                await anyio.sleep(_RECHECK / 1000)

    async def _follow(self, stop: anyio.Event) -> None:
        changes = watchfiles.awatch(
            self._folder, watch_filter=None, debounce=_SETTLED, step=_SETTLED // 2, rust_timeout=_RECHECK,
            yield_on_timeout=True, recursive=False, stop_event=stop,
        )  # fmt: skip
        async for _ in changes:
            await self.load()

    def _composed(self, contents: dict[str, bytes]) -> Policy:
        """Compose without cyclic collection: many new objects provoke a full one, which stops the event loop for 50 ms."""
        collects, turn = gc.isenabled(), sys.getswitchinterval()
        gc.disable()
        sys.setswitchinterval(_TURN)
        try:
            return compose(contents, environment=self._environment)
        finally:
            sys.setswitchinterval(turn)
            if collects:
                gc.enable()

    def _keep(self, contents: dict[str, bytes]) -> None:
        if self._versions is None:
            return
        try:
            self._versions.keep(contents)
        except OSError as error:
            _log.warning("the policy could not be kept for later explanations", error=error.strerror)

    def _refuse(self, problems: tuple[Problem, ...]) -> None:
        if problems == self._problems:
            return
        self._problems = problems
        kept = self.held.digest if self.held is not None else "none: every call is refused"
        _log.error("policy files are wrong", in_force=kept, problems=[str(problem) for problem in problems[:20]])


async def _set_when_cancelled(stop: anyio.Event) -> None:
    """The watching thread ends at its own time-out, or at once where it is told: cancellation does not reach it."""
    try:
        await anyio.sleep_forever()
    finally:
        stop.set()

"""The releaser: claims approved requests and runs each once, outside any request handler.

The claim is written before the upstream is called. What was reviewed is what runs: policy, tool definition, groups
and counters are asked again first (`fitness.py`), with the clock of that moment.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager, suppress
from datetime import datetime, timedelta
from typing import Protocol

import anyio
import anyio.abc
import msgspec
import structlog

from broker.approvals.fitness import Fit, Fitness
from broker.approvals.ports import Changes, RequestStore, Upstreams
from broker.domain.calls import digest_of
from broker.domain.outcomes import errored
from broker.domain.requests import ApprovalRequest, Change, Claim, RequestId, RequestState
from broker.errors import BrokerError, ChannelError, OutcomeLost, RequestError, StoreUnavailable, UpstreamUntouched

log = structlog.get_logger()

# How long a broker without an attached caller lets one with it go first, and how often it looks for forgotten requests.
GRACE = 1.0
SCAN = 1.0
# Seconds that running calls get at shutdown.
DRAIN = 3.0
# Messages an attached caller may lag behind; the answer itself never goes this way.
BACKLOG = 1_000
# Claims that a broker remembers, and what is said of a request that comes back after its own.
REMEMBERED = 50_000
PUT_BACK = "this broker began to run it before, and the store has forgotten that: it was put back, or failed over"
TOOL_ERROR = "the tool ran and answered with an error"


class Line(Protocol):
    """What one attached caller reads while its call is released on this broker."""

    async def next(self, within: float) -> bytes | None:
        """Return the next JSON-RPC message that the upstream sent before its answer, None after `within` seconds."""
        ...


class _Queue:
    def __init__(self) -> None:
        self._messages: asyncio.Queue[bytes] = asyncio.Queue(BACKLOG)

    def put(self, message: bytes) -> None:
        with suppress(asyncio.QueueFull):
            self._messages.put_nowait(message)

    async def next(self, within: float) -> bytes | None:
        with anyio.move_on_after(within):
            return await self._messages.get()
        return None


class _Ear:
    def __init__(self, put: Callable[[bytes], None]) -> None:
        self.put = put


class Releaser:
    """Runs approved calls. A broker with an attached caller claims at once, the others `grace` seconds later."""

    def __init__(
        self,
        requests: RequestStore,
        changes: Changes,
        upstreams: Upstreams,
        fitness: Fitness,
        *,
        broker: str,
        lease: timedelta,
        grace: float = GRACE,
    ) -> None:
        self._requests = requests
        self._changes = changes
        self._upstreams = upstreams
        self._fitness = fitness
        self._broker = broker
        self._lease = lease
        self._grace = grace
        self._lines: dict[RequestId, list[_Queue | _Ear]] = {}
        self._busy: set[RequestId] = set()
        self._claimed: OrderedDict[RequestId, None] = OrderedDict()
        self._idle = asyncio.Event()
        self._idle.set()

    @contextmanager
    def attach(self, request_id: RequestId) -> Iterator[Line]:
        """Say that a caller holds its stream here, and receive what the upstream sends before the answer."""
        line = _Queue()
        with self._attached(request_id, line):
            yield line

    def listen(self, request_id: RequestId, hear: Callable[[bytes], None]) -> AbstractContextManager[None]:
        """As `attach`, for a caller that is told of each message as it comes and needs no queue. `hear` must not raise."""
        return self._attached(request_id, _Ear(hear))

    @contextmanager
    def _attached(self, request_id: RequestId, line: _Queue | _Ear) -> Iterator[None]:
        self._lines.setdefault(request_id, []).append(line)
        try:
            yield
        finally:
            self._lines[request_id].remove(line)
            if not self._lines[request_id]:
                del self._lines[request_id]

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Release what gets approved while this is open. At the end running calls get `DRAIN` seconds, then are UNKNOWN."""
        async with anyio.create_task_group() as works:
            async with anyio.create_task_group() as ears:
                ears.start_soon(self._follow, works)
                ears.start_soon(self._scan, works)
                try:
                    yield
                finally:
                    ears.cancel_scope.cancel()
            with anyio.move_on_after(DRAIN, shield=True):
                await self._idle.wait()
            works.cancel_scope.cancel()

    async def _follow(self, tasks: anyio.abc.TaskGroup) -> None:
        async with self._changes.follow() as changes:
            async for change in changes:
                if change.state is RequestState.APPROVED:
                    self._start(tasks, change.request, 0.0 if change.request in self._lines else self._grace)

    async def _scan(self, tasks: anyio.abc.TaskGroup) -> None:
        """Find what was approved while nobody listened: after a crash, or a reconnect."""
        while True:
            with suppress(StoreUnavailable):
                for request_id in await self._requests.approved(limit=200):
                    self._start(tasks, request_id, 0.0 if request_id in self._lines else self._grace)
            await anyio.sleep(SCAN)

    def _start(self, tasks: anyio.abc.TaskGroup, request_id: RequestId, after: float) -> None:
        if request_id not in self._busy:
            self._busy.add(request_id)
            self._idle.clear()
            tasks.start_soon(self._release, request_id, after)

    async def _release(self, request_id: RequestId, after: float) -> None:
        try:
            await anyio.sleep(after)
            await self.release(request_id)
        except (RequestError, StoreUnavailable, ChannelError) as error:
            log.info("release.left", request=request_id, code=error.code)
        except Exception:
            log.exception("release.failed", request=request_id)
        finally:
            self._busy.discard(request_id)
            if not self._busy:
                self._idle.set()

    async def release(self, request_id: RequestId) -> None:
        """Claim and run one approved request, unless it no longer fits. Harmless where somebody else has it."""
        request = await self._requests.get(request_id)
        if request.state is not RequestState.APPROVED:
            return
        fit = await self._fitness.judge(request)
        if fit is None:
            return
        nonce = f"{self._broker}:{request.version}"
        claimed = await self._requests.update(
            request_id,
            lambda now_request, now: now_request.claimed(
                self._broker, nonce, now, lease=self._lease, policy=fit.policy, definition=fit.definition
            ),
        )
        with structlog.contextvars.bound_contextvars(trace=claimed.origin.trace):
            if request_id in self._claimed:
                log.error("release.again", request=request_id)
                await self._lost(request_id, PUT_BACK)
            elif claimed.claim is not None:
                self._remember(request_id)
                await self._run(claimed, claimed.claim, fit)

    def _remember(self, request_id: RequestId) -> None:
        """Nothing that is claimed is ever approved again, unless the store went back: after a failover, or by somebody's hand."""
        self._claimed[request_id] = None
        if len(self._claimed) > REMEMBERED:
            self._claimed.popitem(last=False)

    async def _run(self, request: ApprovalRequest, claim: Claim, fit: Fit) -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._keep_lease, request.id, claim.fence)
            await self._execute(request, claim.fence, fit)
            tasks.cancel_scope.cancel()

    async def _execute(self, request: ApprovalRequest, fence: int, fit: Fit) -> None:
        try:
            if fit.unreachable:
                raise UpstreamUntouched(fit.unreachable)
            answer = await self._upstreams.execute(request, lambda message: self._relay(request.id, message))
        except UpstreamUntouched as error:
            await self._fitness.unspent(request)
            await self._close(request.id, fence, failed=error.message)
        except OutcomeLost as error:
            await self._lost(request.id, error.message)
        except BrokerError as error:
            await self._lost(request.id, f"the call broke off: {error.message}")
        except Exception:
            log.exception("release.broke", request=request.id)
            await self._lost(request.id, "the broker failed while the call ran")
        except BaseException:
            with anyio.CancelScope(shield=True):
                await self._lost(request.id, "the broker was stopped while the call ran")
            raise
        else:
            await self._close(request.id, fence, answer=answer)

    def _relay(self, request_id: RequestId, message: bytes) -> None:
        for line in self._lines.get(request_id, ()):
            line.put(message)

    async def _keep_lease(self, request_id: RequestId, fence: int) -> None:
        while True:
            await anyio.sleep(self._lease.total_seconds() / 3)
            with suppress(StoreUnavailable):
                try:
                    await self._requests.update(request_id, lambda held, now: held.renewed(fence, now, lease=self._lease))
                except RequestError:
                    return  # the lease is over: the answer may still close the request, by its fence

    async def _close(self, request_id: RequestId, fence: int, *, answer: bytes | None = None, failed: str = "") -> None:
        """Write how it ended, for as long as it takes the store to come back."""
        told = "the server answered with an error" if answer is not None and _is_error(answer) else failed
        mark = digest_of(msgspec.json.decode(answer)) if answer is not None and not told else ""
        odd = TOOL_ERROR if answer is not None and errored(answer) else ""

        def closed(held: ApprovalRequest, now: datetime) -> Change:
            return held.failed(fence, now, told, answer) if told else held.completed(fence, now, answer or b"", mark, odd)

        while True:
            try:
                await self._requests.update(request_id, closed)
                return
            except StoreUnavailable:
                await anyio.sleep(SCAN)

    async def _lost(self, request_id: RequestId, why: str) -> None:
        with suppress(StoreUnavailable, RequestError):
            await self._requests.update(request_id, lambda held, now: held.lost(now, why))


def _is_error(answer: bytes) -> bool:
    return "error" in msgspec.json.decode(answer, type=dict[str, msgspec.Raw])

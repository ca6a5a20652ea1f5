"""The report of the policy's own tests, for the page."""

from __future__ import annotations

from pathlib import Path

import anyio
import structlog

from broker.errors import BrokerError
from broker.policy.cases import load_cases
from broker.policy.model import Policy
from broker.policy.suite import Report, run

log = structlog.get_logger()


class PolicyTests:
    """Runs them once for each policy, in a thread."""

    def __init__(self) -> None:
        self._digest = ""
        self._report: Report | None = None

    async def report(self, policy: Policy, folder: Path | None) -> Report | None:
        """None where there are no tests, or they can't be run."""
        if folder is not None and policy.digest != self._digest:
            self._digest, self._report = policy.digest, None
            try:
                self._report = await anyio.to_thread.run_sync(lambda: run(policy, load_cases(folder, policy)))
            except BrokerError as error:
                log.warning("web.policy_tests", code=error.code)
        return self._report

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.fakes.serving import running


@pytest.fixture(scope="module")
def fixture_url() -> Iterator[str]:
    """Our fixture server, in a process of its own."""
    with running("tests.fakes.conformance_server") as url:
        yield url

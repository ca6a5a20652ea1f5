from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

from broker.data_keys import data_keys
from broker.settings import Settings

AT_ONCE = 8


def test_whoever_starts_at_the_same_moment_has_the_same_key(tmp_path: Path) -> None:
    for attempt in range(20):
        data, ready = tmp_path / str(attempt), Barrier(AT_ONCE)

        def first(data: Path = data, ready: Barrier = ready) -> bytes:
            ready.wait(10)
            (key,) = data_keys(Settings(data=data))
            return key

        with ThreadPoolExecutor(AT_ONCE) as together:
            found = [started.result() for started in [together.submit(first) for _ in range(AT_ONCE)]]
        assert len(set(found)) == 1
        assert [(path.name, path.stat().st_mode & 0o777) for path in (data / "keys").iterdir()] == [("data-key", 0o600)]

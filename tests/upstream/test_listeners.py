from __future__ import annotations

import pytest

from broker.errors import UpstreamUntouched
from broker.upstream.flights import Message
from broker.upstream.listeners import Listeners, Peer


async def test_a_subscription_that_did_not_arrive_is_tried_again() -> None:
    tried = []

    async def away() -> Peer:
        tried.append("memo://one")
        raise UpstreamUntouched("it starts again")

    listeners = Listeners(away)
    for _ in range(2):
        with pytest.raises(UpstreamUntouched):
            await listeners.subscribe("memo://one")
    assert tried == ["memo://one"] * 2


async def test_a_subscription_is_shared_and_a_refused_one_is_tried_again() -> None:
    answers: list[Message] = [{"error": {"code": -1, "message": "no"}}, {"result": {}}]
    asked: list[str] = []

    class Server:
        older = True

        @property
        def hello(self) -> Message:
            return {}

        async def ask(self, request: Message, sink: object, owner: object = None) -> Message:
            asked.append(request["params"]["uri"])
            return answers.pop(0)

        async def tell(self, message: Message) -> None:
            """It hears nothing else."""

        async def cancel(self, owner: object, request_id: object, params: Message) -> None:
            """It is never cancelled."""

    server = Server()

    async def there() -> Peer:
        return server

    listeners = Listeners(there)
    assert await listeners.subscribe("memo://one") == {"error": {"code": -1, "message": "no"}}
    assert [await listeners.subscribe("memo://one") for _ in range(2)] == [None, None]
    assert asked == ["memo://one"] * 2

from __future__ import annotations

from typing import Any

import msgspec

from broker.gateway.voices import Voice


def progress(token: Any, now: float, **more: Any) -> bytes:
    params = {"progressToken": token, "progress": now, **more}
    return msgspec.json.encode({"jsonrpc": "2.0", "method": "notifications/progress", "params": params})


def heard(message: dict[str, Any] | None) -> dict[str, Any]:
    assert message is not None
    return dict(message["params"])


def test_waiting_moves_in_tiny_steps_and_becomes_the_offset_of_the_servers_own_progress() -> None:
    voice = Voice(1, "mine", first=True)
    assert [heard(voice.waiting("w"))["progress"] for _ in range(3)] == [0.001, 0.002, 0.003]
    assert heard(voice.relayed(progress("req-1", 0, total=3))) == {"progressToken": "mine", "progress": 0.004, "total": 3.003}
    assert heard(voice.relayed(progress("req-1", 1, total=3, message="one"))) == {
        "progressToken": "mine",
        "progress": 1.003,
        "total": 3.003,
        "message": "one",
    }


def test_without_waiting_the_servers_progress_is_unchanged() -> None:
    voice = Voice(1, 7, first=True)
    assert heard(voice.relayed(progress("req-1", 0.5, total=1))) == {"progressToken": 7, "progress": 0.5, "total": 1}


def test_progress_grows_even_where_the_servers_does_not() -> None:
    voice = Voice(1, 7, first=True)
    told = [heard(voice.relayed(progress("req-1", now)))["progress"] for now in (2, 2, 1, 3)]
    assert told == sorted(set(told))


def test_who_asked_for_no_progress_hears_none() -> None:
    voice = Voice(1, None, first=True)
    assert (voice.waiting("w"), voice.relayed(progress("req-1", 1))) == (None, None)


def test_the_servers_questions_reach_only_the_first_caller_and_its_news_reach_all() -> None:
    asked = b'{"jsonrpc":"2.0","id":"q","method":"roots/list"}'
    news = b'{"jsonrpc":"2.0","method":"notifications/message","params":{"data":1}}'
    first, joined = Voice(1, None, first=True), Voice(2, None, first=False)
    assert (first.relayed(asked), joined.relayed(asked)) == (msgspec.json.decode(asked), None)
    assert first.relayed(news) == joined.relayed(news) == msgspec.json.decode(news)


def test_what_is_no_message_is_not_passed_on() -> None:
    voice = Voice(1, 7, first=True)
    odd = [b"", b"{", b"[]", b"1", b'{"id":1,"result":{}}', b'{"method":5}', b'{"method":"notifications/progress"}']
    odd += [progress("x", "fast"), b"[" * 20_000]  # type: ignore[arg-type]
    assert [voice.relayed(message) for message in odd] == [None] * len(odd)

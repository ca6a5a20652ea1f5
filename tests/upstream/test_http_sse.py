from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.errors import OutcomeLost
from broker.upstream.sse import LARGEST_EVENT, Cutter, Event

STREAM = b"\xef\xbb\xbfid: 1\ndata: a\n\n: ping\r\n\r\ndata: b\r\ndata: c\r\n\r\nretry: 250\rid: 2\r\rdata:d\n\ndata: half"
WANTED = [("1", b"a"), ("", b""), ("", b"b\nc"), ("2", b""), ("", b"d")]


def fields(events: list[Event]) -> list[tuple[str, bytes]]:
    return [(event.id, event.data) for event in events]


@given(st.lists(st.integers(0, len(STREAM)), max_size=12))
def test_events_are_the_same_however_the_bytes_are_cut(cuts: list[int]) -> None:
    cutter, edges = Cutter(), [0, *sorted(cuts), len(STREAM)]
    events = [event for start, end in itertools.pairwise(edges) for event in cutter.feed(STREAM[start:end])]
    assert fields(events) == WANTED


def test_an_event_goes_on_as_it_came_with_one_empty_line() -> None:
    [event] = Cutter().feed(b"event: message\r\nid: 7\r\ndata: {}\r\n\r\n")
    assert event.raw == b"event: message\r\nid: 7\r\ndata: {}\n\n"


def test_a_server_may_say_when_it_wants_to_be_asked_again() -> None:
    told = [event.retry for event in Cutter().feed(b"retry: 250\n\nretry: soon\n\nretry: 99999999999\n\nid: 1\n\n")]
    assert told == [0.25, None, None, None]


def test_an_event_without_an_end_is_given_up() -> None:
    cutter = Cutter()
    with pytest.raises(OutcomeLost):
        for _ in range(LARGEST_EVENT // (1 << 20) + 1):
            cutter.feed(b"x" * (1 << 20))


def test_a_large_event_in_small_pieces_is_cut_in_linear_time() -> None:
    cutter, count = Cutter(), 0
    for _ in range(20_000):
        count += len(cutter.feed(b"x" * 1_000))
    assert [len(event.raw) for event in cutter.feed(b"\n\n")] == [20_000_002]

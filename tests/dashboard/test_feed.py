import json
import threading

import pytest

from formation.clock import Virtual
from formation.dashboard.feed import EVERY, Feed, event


@pytest.fixture
def clock():
    return Virtual(1)


def test_one_snapshot_a_second_for_all(clock):
    made = []
    feed = Feed(lambda: made.append(1) or {"number": len(made)}, clock.monotonic)
    assert [feed.latest() for _ in range(3)] == [(1, b'{"number":1}')] * 3
    clock.advance(EVERY)
    assert feed.latest() == (2, b'{"number":2}')


def test_nobody_waits_for_who_makes_it(clock):
    begun, go = threading.Event(), threading.Event()

    def make():
        begun.set()
        assert go.wait(10)
        return 7

    feed, found = Feed(make, clock.monotonic), []
    thread = threading.Thread(target=lambda: found.append(feed.latest()))
    thread.start()
    assert begun.wait(10)
    assert feed.latest() == (0, b"")
    go.set()
    thread.join()
    assert found == [feed.latest()] == [(1, b"7")]


def test_a_snapshot_that_cannot_be_made_is_logged_and_the_last_one_stays(clock, caplog):
    made = iter([1])
    feed = Feed(lambda: next(made), clock.monotonic)
    assert feed.latest() == (1, b"1")
    clock.advance(EVERY)
    assert feed.latest()[1] == b"1"
    assert "could not make a snapshot" in caplog.text


def test_streams_are_few(clock):
    feed = Feed(dict, clock.monotonic)
    assert [feed.enter(2), feed.enter(2), feed.enter(2)] == [True, True, False]
    feed.leave()
    assert feed.enter(2)
    feed.closed.set()
    feed.leave()
    assert not feed.enter(2)


def test_waits_for_the_next_one_but_never_long_and_never_in_a_spin(clock):
    feed = Feed(dict, clock.monotonic)
    assert feed.wait() == pytest.approx(0.02)
    feed.latest()
    assert feed.wait() == pytest.approx(EVERY)


def test_an_event_is_one_line_whatever_is_in_it():
    data = json.dumps({"name": "a\n\ndata: b\r\n\u2028"}).encode()
    assert event(1, data).count(b"\n") == 4

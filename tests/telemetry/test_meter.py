import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from formation.clock import Virtual
from formation.telemetry.meter import (
    BUCKETS,
    OTHER,
    OUTCOMES,
    SAMPLES,
    SECONDS,
    TEMPLATES,
    Meter,
    Watch,
    bucket,
    middle,
)


@pytest.fixture
def clock():
    return Virtual(1)


@pytest.fixture
def meter(clock):
    return Meter("api", clock.monotonic, clock.time)


def call(meter, clock, seconds=0.1, *, outcome="ok", template=None, retries=0, cache=None):
    started = clock.monotonic()
    meter.begin()
    clock.advance(seconds)
    return meter.end(started, outcome, template, retries, cache)


@given(st.floats(1e-5, 900))
def test_a_bucket_is_off_by_five_percent_at_most(seconds):
    assert abs(middle(bucket(seconds)) / seconds - 1) < 0.051


@given(st.floats(-1, 1e12))
def test_every_latency_has_a_bucket(seconds):
    assert 0 <= bucket(seconds) < BUCKETS


def test_a_minute_later_nothing_is_left(meter, clock):
    call(meter, clock)
    assert meter.sums().calls == 1
    clock.advance(61)
    assert (meter.sums().calls, meter.sums().p50, set(meter.seconds())) == (0, None, {(0, 0)})


def test_slices_are_used_again(meter, clock):
    for _ in range(300):
        call(meter, clock, seconds=1)
    assert 50 <= meter.sums().calls <= 60


def test_percentiles(meter, clock):
    for number in range(100):
        call(meter, clock, seconds=0.001 if number < 89 else 0.1 if number < 98 else 2)
    sums = meter.sums()
    assert [round(each, 3) for each in (sums.p50, sums.p90, sums.p99)] == pytest.approx([0.001, 0.1, 2], rel=0.06)


def test_the_picture_has_sixty_seconds_and_what_went_badly_in_them(meter, clock):
    call(meter, clock, 0)
    call(meter, clock, 0, outcome="failed")
    clock.advance(1)
    call(meter, clock, 0)
    clock.advance(1)
    assert (len(meter.seconds()), meter.seconds()[-2:]) == (SECONDS - 1, [(2, 1), (1, 0)])


def test_templates_beyond_the_limit_share_a_row(meter, clock):
    for number in range(TEMPLATES + 5):
        call(meter, clock, template=f"/{number}")
    found = dict(meter.templates())
    assert len(found) == TEMPLATES + 1
    assert found[OTHER].calls == 5


def test_memory_is_fixed(meter, clock):
    for number in range(1000):
        if call(meter, clock, 0.5, outcome=OUTCOMES[number % 6], template=f"/{number}"):
            meter.keep(0, name="a", outcome="ok", status=None, error=None, attempts=())
    assert len(meter.samples) == SAMPLES
    assert len(meter.templates()) <= TEMPLATES + 1


def test_of_a_second_one_call_of_a_kind_is_wanted(meter, clock):
    kinds = [{}, {}, {"retries": 1}, {"retries": 2}, {"outcome": "failed"}, {"outcome": "rejected"}]
    assert [call(meter, clock, 0, **each) for each in kinds] == [True, False, True, False, True, False]
    clock.advance(1)
    assert call(meter, clock, 0)


def test_an_outcome_that_is_not_known_is_counted_as_cancelled(meter, clock):
    call(meter, clock, outcome="disconnected")
    assert dict(zip(OUTCOMES, meter.sums().outcomes, strict=True))["cancelled"] == 1


def test_threads_lose_no_call(meter, clock):
    def many():
        for _ in range(2000):
            call(meter, clock, 0)

    threads = [threading.Thread(target=many) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (meter.sums().calls, meter.under_way) == (8000, 0)


def test_somebody_watches_until_the_last_one_is_gone():
    class Watcher:
        pass

    one, two, watch = Watcher(), Watcher(), Watch()
    watch.begin(one)
    watch.begin(two)
    watch.end(one)
    watch.end(one)
    assert watch.is_on
    watch.end(two)
    assert not watch.is_on

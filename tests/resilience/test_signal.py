from concurrent.futures import ThreadPoolExecutor
from math import inf
from threading import Thread

import pytest

from formation.resilience import signal as module
from formation.resilience.signal import Signal
from tests.resilience.interrupts import at_each_point


@pytest.mark.parametrize("seconds", [None, 1e300, inf])
def test_who_waits_for_longer_than_a_clock_can_tell_waits_until_it_is_set(seconds):
    signal = Signal()
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(signal.wait, seconds)
        signal.set()
        assert waiting.result(10)


def test_a_plain_wait_in_the_thread_that_has_to_set_it_would_never_end():
    signal = Signal()
    with ThreadPoolExecutor(1) as pool:
        assert (signal.would_never_come(), pool.submit(signal.would_never_come).result(10)) == (True, False)


def test_wherever_an_interrupt_comes_in_one_who_waits_the_others_go_on():
    def prepare():
        signal = Signal()

        def run():
            signal.set()
            signal.wait(10)

        def outcome():
            signal.set()  # once more, as those do who may be interrupted
            other = Thread(target=signal.wait, daemon=True)
            other.start()
            other.join(10)
            return other.is_alive()

        return run, outcome

    outcomes = list(at_each_point([module], prepare))
    assert not any(outcomes)

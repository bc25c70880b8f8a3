from concurrent.futures import ThreadPoolExecutor
from math import inf

import pytest

from formation.resilience.signal import Signal


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

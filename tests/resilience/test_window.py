from hypothesis import given
from hypothesis import strategies as st

from formation.resilience.window import SLICES, Window


def test_calls_count_for_the_window_and_go_by_slices():
    window = Window(10)
    for _ in range(3):
        window.add(100, failed=True)
    window.add(105, failed=False)
    assert (window.calls, window.failures) == (4, 3)
    window.add(109.9, failed=False)
    assert (window.calls, window.failures) == (5, 3)
    window.add(110, failed=False)
    assert (window.calls, window.failures) == (3, 0)
    window.add(1000, failed=True)
    assert (window.calls, window.failures) == (1, 1)
    window.clear()
    assert (window.calls, window.failures) == (0, 0)


@given(st.lists(st.tuples(st.floats(0, 5), st.booleans())))
def test_what_is_younger_counts_and_what_is_older_by_a_slice_does_not(steps):
    window, now, calls = Window(10), 0.0, []
    for step, failed in steps:
        now += step
        calls.append((now, failed))
        window.add(now, failed=failed)
        certain = [bad for at, bad in calls if now - at < 10 - 10 / SLICES]
        possible = [bad for at, bad in calls if now - at < 10]
        assert len(certain) <= window.calls <= len(possible)
        assert sum(certain) <= window.failures <= sum(possible)

from concurrent.futures import ThreadPoolExecutor

from formation.resilience.seldom import Seldom


def test_it_is_due_at_first_and_then_once_in_so_many_seconds():
    now = [1000.0]
    is_due = Seldom(10, clock=lambda: now[0])
    said = []
    for second in range(25):
        now[0] = 1000.0 + second
        said += [second] if is_due() else []
    assert said == [0, 10, 20]


def test_one_of_many_threads_is_told():
    is_due = Seldom(clock=lambda: 0.0)
    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(lambda _: is_due(), range(100))) == 1

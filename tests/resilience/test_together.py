from formation.resilience.together import Together, Trip


def test_who_joins_before_the_landing_follows_and_who_comes_later_leads():
    together, first, second, third = Together(), Trip(), Trip(), Trip()
    assert together.join("tea", first) is first
    assert together.join("tea", second) is first
    assert together.join("milk", second) is second
    assert together.land("tea", first)
    assert not together.land("milk", second)
    assert together.join("tea", third) is third
    assert not together.land("tea", third)
    assert len(together) == 0


def test_the_end_of_a_trip_is_not_that_of_another_one():
    together, mine, yours = Together(), Trip(), Trip()
    together.join("tea", mine)
    together.end("tea", yours)
    assert together.join("tea", yours) is mine
    assert not mine.signal.wait(0)
    for _ in range(2):
        together.end("tea", mine)
        assert mine.signal.wait(0)
    assert together.join("tea", yours) is yours

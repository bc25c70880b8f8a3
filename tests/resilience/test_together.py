from formation.resilience.together import Together


def test_who_joins_before_the_landing_follows_and_who_comes_later_leads():
    together = Together()
    trip, leads = together.join("a")
    assert leads
    assert together.join("b")[1]
    assert together.join("a") == (trip, False)
    assert len(together) == 2
    assert together.land("a", trip)
    other, leads = together.join("a")
    assert leads
    assert other is not trip
    assert not together.land("a", other)
    assert len(together) == 1

"""RFC 9211: Cache-Status."""

import pytest

from formation.caching.policy import Verdict
from formation.caching.status import FORWARDED, REASONS, cache_status, ttl
from tests.caching.exchanges import NOW, stored


def test_section_2_a_member_is_the_name_of_the_cache():
    assert cache_status("formation", hit=True) == "formation; hit"
    assert cache_status("two words", hit=True) == '"two words"; hit'
    assert cache_status('"\\\n\xfc', hit=True) == r'"\"\\??"; hit'


def test_section_2_all_parameters_in_order():
    status = cache_status(
        "c", fwd="stale", fwd_status=304, ttl=60, stored=True, collapsed=True, key="http://example.com/", detail="x y"
    )
    assert status == (
        'c; fwd=stale; fwd-status=304; ttl=60; stored; collapsed; key="http://example.com/"; detail="x y"'
    )


def test_section_2_a_cache_that_has_not_looked_says_nothing():
    assert cache_status("c") == "c"


@pytest.mark.parametrize("fwd", sorted(FORWARDED))
def test_section_2_2_a_request_is_sent_on_for_a_reason(fwd):
    assert cache_status("c", fwd=fwd) == f"c; fwd={fwd}"


@pytest.mark.parametrize("wrong", [{"hit": True, "fwd": "miss"}, {"fwd": "because"}])
def test_section_2_hit_and_fwd_exclude_each_other(wrong):
    with pytest.raises(ValueError, match="expected hit, or fwd as one of"):
        cache_status("c", **wrong)


def test_section_2_2_what_is_decided_is_a_reason():
    asking = {Verdict.VALIDATE, Verdict.REFRESH, Verdict.RELOAD, Verdict.MISS}
    assert set(REASONS) == asking
    assert set(REASONS.values()) <= FORWARDED


def test_section_2_4_the_time_to_live_is_negative_if_it_is_stale():
    entry = stored({"Cache-Control": "max-age=60"})
    assert [ttl(entry, NOW + after) for after in (0, 60, 90)] == [60, 0, -30]
    assert cache_status("c", hit=True, ttl=-0.5) == "c; hit; ttl=-1"

"""RFC 8246: what does not change while it is fresh."""

from tests.caching.exchanges import stored, verdict

RESPONSE = {"Cache-Control": "max-age=60, immutable", "ETag": '"1"', "Date": 0}


def test_section_2_a_reload_does_not_validate_what_is_immutable_and_fresh():
    assert verdict(stored(RESPONSE), 1, {"Cache-Control": "max-age=0"}) == "FRESH"


def test_section_2_what_is_immutable_and_stale_is_validated():
    assert verdict(stored(RESPONSE), 61, {"Cache-Control": "max-age=0"}) == "VALIDATE"
    assert verdict(stored(RESPONSE), 61) == "VALIDATE"


def test_section_2_1_the_client_can_have_it_validated_by_no_cache():
    assert verdict(stored(RESPONSE), 1, {"Cache-Control": "no-cache"}) == "RELOAD"


def test_section_2_immutable_makes_nothing_fresh():
    assert stored({"Cache-Control": "immutable"}) is None

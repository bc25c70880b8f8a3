"""RFC 9213: directives for some caches only."""

import pytest

from formation.caching.directives import parse_targeted
from formation.caching.policy import Policy
from tests.caching.exchanges import NOW, PRIVATE, SHARED, field, get, lines, sentences, stored, verdict

TARGETS = Policy(shared=True, targets=["Mine-Cache-Control", "CDN-Cache-Control"])


def lifetime(headers, policy=SHARED):
    return policy.entry(get(), 200, lines(headers), requested_at=NOW, received_at=NOW).lifetime


LIFETIMES = [
    # section, sentence, seconds, the response
    ("2.2", "a targeted field goes before Cache-Control", 60,
     {"CDN-Cache-Control": "max-age=60", "Cache-Control": "max-age=3600, s-maxage=3600"}),
    ("2.2", "beside a targeted field Expires means nothing", 0,
     {"CDN-Cache-Control": "none", "Expires": 60, "Date": 0}),
    ("2.2", "a targeted field goes before Expires", 60, {"CDN-Cache-Control": "max-age=60", "Expires": "0"}),
    ("2.2", "a field that is no target means nothing", 60,
     {"Cache-Control": "max-age=60", "Other-Cache-Control": "max-age=3600"}),
    ("2.1", "a field that is empty is ignored", 60, {"Cache-Control": "max-age=60", "CDN-Cache-Control": ""}),
    ("2.1", "a field that is malformed is ignored", 60,
     {"Cache-Control": "max-age=60", "CDN-Cache-Control": "max-age=3600, &"}),
    ("2.1", "a field in upper case is malformed", 60,
     {"Cache-Control": "max-age=60", "CDN-Cache-Control": "MAX-AGE=3600"}),
    ("2.1", "a field with space around = is malformed", 60,
     {"Cache-Control": "max-age=60", "CDN-Cache-Control": "max-age =3600"}),
    ("2.1", "a number in quotes is no number", 0, {"CDN-Cache-Control": 'max-age="3600"'}),
    ("2.1", "a number with a fraction is no number of seconds", 0, {"CDN-Cache-Control": "max-age=3600.5"}),
    ("2.1", "a negative number is none of seconds", 0, {"CDN-Cache-Control": "max-age=-1"}),
    ("2.1", "a large number is as in Cache-Control", 2**31, {"CDN-Cache-Control": "max-age=99999999999"}),
    ("2.1", "parameters are ignored", 60, {"CDN-Cache-Control": 'max-age=60;a;b=1;c="x, y"'}),
    ("2.1", "of two members of a name the last counts", 60, {"CDN-Cache-Control": "max-age=3600, max-age=60"}),
    ("2.1", "two lines are one field", 60, {"CDN-Cache-Control": ["foo", "max-age=60"]}),
    ("2.2", "directives that are not known are ignored", 60, {"CDN-Cache-Control": "foo, bar=(1 2), max-age=60"}),
]  # fmt: skip


@pytest.mark.parametrize("row", LIFETIMES, ids=sentences(LIFETIMES))
def test_lifetime(row):
    _, _, seconds, response = row
    assert lifetime(response) == seconds


def test_section_2_2_a_cache_that_is_not_the_target_goes_by_cache_control():
    response = {"CDN-Cache-Control": "max-age=60", "Cache-Control": "max-age=3600"}
    assert lifetime(response, PRIVATE) == 3600
    assert lifetime(response, Policy(shared=True, targets=())) == 3600


def test_section_2_2_the_first_of_the_targets_that_is_valid_counts():
    response = {"Mine-Cache-Control": "max-age=1", "CDN-Cache-Control": "max-age=2", "Cache-Control": "max-age=3"}
    assert lifetime(response, TARGETS) == 1
    assert lifetime(response | {"Mine-Cache-Control": "?"}, TARGETS) == 2
    assert lifetime(response | {"Mine-Cache-Control": "", "CDN-Cache-Control": "?"}, TARGETS) == 3


@pytest.mark.parametrize("said", ["no-store", "private"])
def test_section_2_2_a_targeted_field_may_forbid_what_cache_control_allows(said):
    assert stored({"CDN-Cache-Control": said, "Cache-Control": "max-age=60"}) is None


def test_section_2_2_a_targeted_field_may_allow_what_cache_control_forbids():
    for said in ("no-store", "private"):
        assert stored({"CDN-Cache-Control": "max-age=60", "Cache-Control": said})


def test_section_3_1_a_field_that_says_nothing_known_sets_cache_control_aside():
    assert stored({"CDN-Cache-Control": "none", "Cache-Control": "no-store", "ETag": '"1"'}).lifetime == 0


def test_section_2_2_no_cache_and_must_revalidate_mean_the_same():
    assert verdict(stored({"CDN-Cache-Control": "no-cache, max-age=60", "ETag": '"1"'}), 0) == "VALIDATE"
    entry = stored({"CDN-Cache-Control": "max-age=60, must-revalidate", "Cache-Control": "stale-if-error=60"})
    assert not SHARED.may_serve_stale(get(), entry, NOW + 61)


def test_section_2_2_the_age_counts():
    assert verdict(stored({"CDN-Cache-Control": "max-age=60", "Age": "60"}), 0) == "VALIDATE"


def test_section_3_the_field_is_passed_on():
    assert field(stored({"CDN-Cache-Control": "max-age=60"}).headers, "CDN-Cache-Control") == ["max-age=60"]


def test_targets_are_a_list():
    with pytest.raises(TypeError, match="expected targets as a list of names, got 'CDN-Cache-Control'"):
        Policy(shared=True, targets="CDN-Cache-Control")


DICTIONARIES = [
    ("a", {"a": None}),
    (" a ", {"a": None}),
    ("a,b", {"a": None, "b": None}),
    ("a \t,\t b", {"a": None, "b": None}),
    ("a=?1", {"a": None}),
    ("a=1", {"a": "1"}),
    ("a=-1.5", {"a": "-1.5"}),
    ("a=tok/en:x", {"a": "tok/en:x"}),
    ('a="b, c"', {"a": "b, c"}),
    (r'a="\"\\"', {"a": '"\\'}),
    ("a;x;y=2, b;z", {"a": None, "b": None}),
    ("a=(1 2);x", {"a": "(1 2)"}),
    ("*a-b_c.d=1", {"*a-b_c.d": "1"}),
]


@pytest.mark.parametrize(("value", "expected"), DICTIONARIES)
def test_section_2_1_a_dictionary_is_read(value, expected):
    assert parse_targeted(value) == expected


MALFORMED = ["", " ", ",", "a,", ",a", "a,,b", "A", "1", "a=", "a= 1", "a =1", "a=?0", "a=?2", "a=:eA==:", "a=1.2345"]
MALFORMED += ["a=" + "1" * 16, 'a="', 'a="\\x"', 'a="\xfc"', "a b", "a;", "a;X", "a=(", "a=1x", "a=@1", "a\n", "\ta"]


@pytest.mark.parametrize("value", [*MALFORMED, None])
def test_section_2_1_what_is_malformed_is_not(value):
    assert parse_targeted(value) is None

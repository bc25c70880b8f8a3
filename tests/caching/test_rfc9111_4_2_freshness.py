"""RFC 9111, section 4.2: for how long a response is fresh, how old it is, and what its directives say about that."""

import pytest

from formation.caching.policy import Policy
from tests.caching.exchanges import NOW, PRIVATE, SHARED, date, field, get, lines, sentences, stored, verdict

LONG = "max-age=3600"
FOREVER = 2**31

LIFETIMES = [
    # section, sentence, seconds, the response, and what else is not as usual
    ("4.2.1", "max-age is the lifetime", 60, {"Cache-Control": "max-age=60"}, {}),
    ("4.2.1", "s-maxage goes before max-age in a shared cache", 60,
     {"Cache-Control": "max-age=3600, s-maxage=60"}, {}),
    ("4.2.1", "s-maxage goes before max-age in whichever order and line", 3600,
     {"Cache-Control": ["s-maxage=3600", "max-age=60"]}, {}),
    ("4.2.1", "s-maxage means nothing to a private cache", 60,
     {"Cache-Control": "s-maxage=3600, max-age=60"}, {"policy": PRIVATE}),
    ("4.2.1", "Expires less Date is the lifetime", 60, {"Expires": 60, "Date": 0}, {}),
    ("4.2.1", "Expires less Date is the lifetime whatever our clock says", 60, {"Expires": 960, "Date": 900}, {}),
    ("4.2.1", "Expires without Date counts from when the response came", 55, {"Expires": 60}, {"took": 5}),
    ("4.2.1", "Expires in the past is stale", 0, {"Expires": -60, "Date": 0, "ETag": '"1"'}, {}),
    ("4.2.1", "two max-age that differ are stale", 0, {"Cache-Control": "max-age=60, max-age=3600", "ETag": '"1"'}, {}),
    ("4.2.1", "two max-age that are the same are one", 60, {"Cache-Control": ["max-age=60", "max-age=60"]}, {}),
    ("4.2.1", "two lines of Expires are stale", 0, {"Expires": [60, 60], "Date": 0, "ETag": '"1"'}, {}),
    ("4.2.2", "without a lifetime it is a tenth of the time since Last-Modified", 8640,
     {"Last-Modified": -86400, "Date": 0}, {}),
    ("4.2.2", "the part of the time since Last-Modified can be set", 43200,
     {"Last-Modified": -86400, "Date": 0}, {"policy": Policy(shared=True, heuristic=0.5)}),
    ("4.2.2", "a guess can be forbidden", 0,
     {"Last-Modified": -86400, "Date": 0}, {"policy": Policy(shared=True, heuristic=0)}),
    ("4.2.2", "a guess is a week at most", 7 * 86400,
     {"Last-Modified": "Tue, 01 Jan 1980 00:00:00 GMT", "Date": 0}, {}),
    ("4.2.2", "a guess is as long as is allowed at most", 60,
     {"Last-Modified": -86400, "Date": 0}, {"policy": Policy(shared=True, max_heuristic=60)}),
    ("4.2.2", "Last-Modified in the future gives no lifetime", 0, {"Last-Modified": 60, "Date": 0}, {}),
    ("4.2.2", "there is no guess beside a lifetime of 0", 0,
     {"Cache-Control": "max-age=0", "Last-Modified": -86400, "Date": 0}, {}),
    ("4.2.2", "there is no guess beside a max-age that cannot be read", 0,
     {"Cache-Control": "max-age=x", "Last-Modified": -86400, "Date": 0}, {}),
    ("4.2.2", "there is no guess beside an Expires that cannot be read", 0,
     {"Expires": "0", "Last-Modified": -86400, "Date": 0}, {}),
    ("4.2.2", "there is no guess for a status that is not heuristically cacheable", 0,
     {"Cache-Control": "private", "Last-Modified": -86400, "Date": 0}, {"status": 403, "policy": PRIVATE}),
    ("4.2.2", "public allows a guess for any status", 8640,
     {"Cache-Control": "public", "Last-Modified": -86400, "Date": 0}, {"status": 403}),
    ("5.4", "Pragma: no-cache without Cache-Control forbids a guess", 0,
     {"Pragma": "no-cache", "Last-Modified": -86400, "Date": 0}, {}),
    ("5.4", "Pragma: no-cache means nothing beside Cache-Control", 60,
     {"Pragma": "no-cache", "Cache-Control": "max-age=60"}, {}),
    ("5.2", "the name of a directive may be in any case", 60, {"Cache-Control": "MaX-aGe=60"}, {}),
    ("5.2", "an argument may be quoted", 60, {"Cache-Control": 'max-age="60"'}, {}),
    ("5.2", "an argument in single quotes cannot be read", 0, {"Cache-Control": "max-age='60'", "ETag": '"1"'}, {}),
    ("5.2", "a directive in a quoted string is none, before the real one", 1,
     {"Cache-Control": 'a="max-age=3600", max-age=1'}, {}),
    ("5.2", "a directive in a quoted string is none, after the real one", 1,
     {"Cache-Control": 'max-age=1, a="b, max-age=3600"'}, {}),
    ("5.2", "a quote that is escaped does not end a string", 1,
     {"Cache-Control": r'a="\", max-age=3600, \"", max-age=1'}, {}),
    ("5.2", "space before the = is not allowed", 0, {"Cache-Control": "max-age =60", "ETag": '"1"'}, {}),
    ("5.2", "space after the = is not allowed", 0, {"Cache-Control": "max-age= 60", "ETag": '"1"'}, {}),
    ("5.2", "what has no name is no directive", 60, {"Cache-Control": "=, =1, ;, max-age=60"}, {}),
    ("5.2", "members of the list may be empty", 60, {"Cache-Control": ",, max-age=60 ,"}, {}),
    ("1.2.2", "zeros before a number mean nothing", 60, {"Cache-Control": "max-age=00060"}, {}),
    ("1.2.2", "a number that is too large counts as 2 to the power of 31", FOREVER,
     {"Cache-Control": "max-age=99999999999999999999"}, {}),
    ("1.2.2", "2147483647 is not too large", FOREVER - 1, {"Cache-Control": "max-age=2147483647"}, {}),
    ("4.2.1", "a max-age that is negative is stale", 0, {"Cache-Control": "max-age=-60", "ETag": '"1"'}, {}),
    ("4.2.1", "a max-age with a fraction is stale", 0, {"Cache-Control": "max-age=60.0", "ETag": '"1"'}, {}),
    ("4.2.1", "a max-age with letters is stale", 0, {"Cache-Control": "max-age=60s", "ETag": '"1"'}, {}),
    ("4.2.1", "a max-age in digits that are not ASCII is stale", 0,
     {"Cache-Control": "max-age=\u00b2", "ETag": '"1"'}, {}),
    ("4.2.1", "a max-age without a number is stale", 0, {"Cache-Control": "max-age", "ETag": '"1"'}, {}),
    ("4.2.1", "an s-maxage that cannot be read is stale though max-age can", 0,
     {"Cache-Control": "s-maxage=x, max-age=60", "ETag": '"1"'}, {}),
    ("5.3", "max-age goes before Expires, though that is in the past", 60,
     {"Cache-Control": "max-age=60", "Expires": -60, "Date": 0}, {}),
    ("5.3", "max-age goes before Expires, though that is longer", 60,
     {"Cache-Control": "max-age=60", "Expires": 3600, "Date": 0}, {}),
    ("5.3", "max-age goes before Expires, though that cannot be read", 60,
     {"Cache-Control": "max-age=60", "Expires": "0", "Date": 0}, {}),
    ("5.3", "s-maxage goes before Expires in a shared cache", 60,
     {"Cache-Control": "s-maxage=60", "Expires": -60, "Date": 0}, {}),
    ("5.3", "s-maxage does not go before Expires in a private cache", 30,
     {"Cache-Control": "s-maxage=60", "Expires": 30, "Date": 0}, {"policy": PRIVATE}),
    ("5.3", "0 is a date in the past", 0, {"Expires": "0", "Date": 0, "ETag": '"1"'}, {}),
    ("4.2", "a date in upper case is one", 60, {"Expires": date(60).upper().replace("GMT", "gMt"), "Date": 0}, {}),
    ("4.2", "a zone other than GMT is none", 0,
     {"Expires": date(60).replace("GMT", "UTC"), "Date": 0, "ETag": '"1"'}, {}),
    ("5.3", "Expires in more than 32 bits is a date", FOREVER,
     {"Expires": "Sun, 21 Nov 2286 04:46:39 GMT", "Date": 0}, {}),
    ("-", "Surrogate-Control means nothing", 60,
     {"Cache-Control": "max-age=60", "Surrogate-Control": "max-age=3600, no-store"}, {}),
]  # fmt: skip


@pytest.mark.parametrize(("section", "sentence", "seconds", "response", "more"), LIFETIMES, ids=sentences(LIFETIMES))
def test_lifetime(section, sentence, seconds, response, more):
    request = more.get("request") or get()
    policy = more.get("policy", SHARED)
    at = {"requested_at": NOW, "received_at": NOW + more.get("took", 0)}
    assert policy.entry(request, more.get("status", 200), lines(response), **at).lifetime == seconds


def test_section_4_2_a_response_is_fresh_while_its_lifetime_is_greater_than_its_age():
    entry = stored({"Cache-Control": "max-age=60", "Date": 0})
    assert [verdict(entry, after) for after in (0, 59.9, 60, 61)] == ["FRESH", "FRESH", "VALIDATE", "VALIDATE"]


AGES = [
    # section, sentence, seconds at receipt, the response, seconds it took
    ("4.2.3", "a response without Date and Age is as old as it took to come", 5, {}, 5),
    ("4.2.3", "a response is as old as its Date says", 100, {"Date": -100}, 0),
    ("4.2.3", "a Date in the future is no age", 0, {"Date": 100}, 0),
    ("4.2.3", "a response is as old as its Age says, and as it took to come", 105, {"Age": "100", "Date": 0}, 5),
    ("4.2.3", "of Date and Age the older counts", 205, {"Age": "100", "Date": -200}, 5),
    ("5.1", "of a list in Age the first member counts", 7200, {"Age": "7200, 0", "Date": 0}, 0),
    ("5.1", "of two lines of Age the first counts", 0, {"Age": ["0", "7200"], "Date": 0}, 0),
    ("5.1", "an Age that is no number is ignored", 0, {"Age": "old", "Date": 0}, 0),
    ("5.1", "an Age that is negative is ignored", 0, {"Age": "-7200", "Date": 0}, 0),
    ("5.1", "an Age with a fraction is ignored", 0, {"Age": "7200.0", "Date": 0}, 0),
    ("1.2.2", "an Age that is too large counts as 2 to the power of 31", FOREVER, {"Age": "9" * 30, "Date": 0}, 0),
]


@pytest.mark.parametrize(("section", "sentence", "seconds", "response", "took"), AGES, ids=sentences(AGES))
def test_age(section, sentence, seconds, response, took):
    assert stored({"Cache-Control": LONG} | response, took=took).age == seconds


def test_section_4_2_3_an_entry_ages_with_the_clock():
    entry = stored({"Cache-Control": LONG, "Age": "100"})
    assert entry.age_at(NOW + 60) == 160


def test_section_4_2_3_an_entry_does_not_get_younger_when_the_clock_is_set_back():
    entry = stored({"Cache-Control": LONG, "Age": "100"})
    assert entry.age_at(NOW - 3600) == 100


def test_section_4_an_answer_has_the_age_in_whole_seconds_in_place_of_any_other():
    entry = stored({"Cache-Control": LONG, "Age": ["100", "7"]})
    assert field(SHARED.answer(get(), entry, NOW + 60.9).headers, "Age") == ["160"]


DIRECTIVES = [
    # section, sentence, verdict, the response, seconds later, the request
    ("5.2.1.1", "max-age is about the age", "RELOAD", LONG, 61, "max-age=60"),
    ("5.2.1.1", "an age that is equal to max-age will do", "FRESH", LONG, 60, "max-age=60"),
    ("5.2.1.1", "max-age=0 has the entry validated", "RELOAD", LONG, 1, "max-age=0"),
    ("5.2.1.1", "a max-age that cannot be read is 0", "RELOAD", LONG, 1, "max-age=x"),
    ("5.2.1.1", "a long max-age makes nothing fresh", "VALIDATE", "max-age=60", 61, "max-age=3600"),
    ("5.2.1.1", "beside max-age nothing stale is wanted", "VALIDATE", "max-age=9, stale-while-revalidate=99", 10,
     "max-age=3600"),
    ("5.2.1.1", "beside max-age and max-stale it is", "REFRESH", "max-age=9, stale-while-revalidate=99", 10,
     "max-age=3600, max-stale"),
    ("5.2.1.2", "max-stale takes what is stale by so much", "STALE", "max-age=60", 160, "max-stale=100"),
    ("5.2.1.2", "max-stale does not take what is stale by more", "VALIDATE", "max-age=60", 161, "max-stale=100"),
    ("5.2.1.2", "max-stale=0 takes what has just become stale", "STALE", "max-age=60", 60, "max-stale=0"),
    ("5.2.1.2", "max-stale without a number takes anything", "STALE", "max-age=60", 10**6, "max-stale"),
    ("5.2.1.2", "a max-stale that cannot be read takes nothing", "VALIDATE", "max-age=60", 61, "max-stale=x"),
    ("5.2.1.2", "max-stale does not lift must-revalidate", "VALIDATE", "max-age=60, must-revalidate", 61, "max-stale"),
    ("5.2.1.2", "max-stale does not lift no-cache", "VALIDATE", "max-age=60, no-cache", 1, "max-stale"),
    ("5.2.1.2", "max-stale does not lift s-maxage", "VALIDATE", "s-maxage=60", 61, "max-stale"),
    ("5.2.1.3", "min-fresh wants it fresh for so much longer", "RELOAD", "max-age=60", 41, "min-fresh=20"),
    ("5.2.1.3", "min-fresh will do with just so much", "FRESH", "max-age=60", 40, "min-fresh=20"),
    ("5.2.1.3", "min-fresh takes the age into account", "RELOAD", "max-age=60", 41, "min-fresh=20"),
    ("5.2.1.3", "a min-fresh that cannot be read is more than there is", "RELOAD", LONG, 1, "min-fresh=x"),
    ("5.2.1.4", "no-cache has the entry validated", "RELOAD", LONG, 1, "no-cache"),
    ("5.2.1.4", "no-cache of a stale entry is no reload", "VALIDATE", "max-age=60", 61, "no-cache"),
    ("5.2.1.5", "no-store may be answered from what is stored already", "FRESH", LONG, 1, "no-store"),
    ("5.2.1.7", "only-if-cached is answered from a fresh entry", "FRESH", LONG, 1, "only-if-cached"),
    ("5.2.1.7", "only-if-cached is 504 if the entry is stale", "UNAVAILABLE", "max-age=60", 61, "only-if-cached"),
    ("5.2.1.7", "only-if-cached is 504 if the entry is not good enough", "UNAVAILABLE", LONG, 2,
     "only-if-cached, max-age=1"),
    ("5.2.1.7", "only-if-cached and max-stale are answered from a stale entry", "STALE", "max-age=60", 61,
     "only-if-cached, max-stale"),
    ("5.2.1", "a directive that is not known changes nothing", "FRESH", LONG, 1, "x, y=1"),
    ("5.2.2.2", "must-revalidate may be used while fresh", "FRESH", "max-age=60, must-revalidate", 59, ""),
    ("5.2.2.2", "must-revalidate is validated once stale", "VALIDATE",
     "max-age=60, must-revalidate, stale-while-revalidate=60", 61, ""),
    ("5.2.2.4", "no-cache is validated before each use", "VALIDATE", "no-cache, max-age=60", 0, ""),
    ("5.2.2.4", "No-CaChE is no-cache", "VALIDATE", "No-CaChE, max-age=60", 0, ""),
    ("5.2.2.8", "proxy-revalidate is validated by a shared cache once stale", "VALIDATE",
     "max-age=60, proxy-revalidate, stale-while-revalidate=60", 61, ""),
    ("5.2.2.10", "s-maxage is validated by a shared cache once stale", "VALIDATE",
     "s-maxage=60, stale-while-revalidate=60", 61, ""),
    ("4.2.4", "a stale response is not used without being allowed to", "VALIDATE", "max-age=60", 61, ""),
]  # fmt: skip


@pytest.mark.parametrize("row", DIRECTIVES, ids=sentences(DIRECTIVES))
def test_directives(row):
    _, _, expected, response, after, wanted = row
    entry = stored({"Cache-Control": response, "ETag": '"1"', "Date": 0})
    assert verdict(entry, after, {"Cache-Control": wanted} if wanted else {}) == expected


@pytest.mark.parametrize("said", ["proxy-revalidate", "s-maxage=60"])
def test_section_5_2_2_what_is_for_shared_caches_does_not_bind_a_private_one(said):
    response = {"Cache-Control": f"max-age=60, stale-while-revalidate=60, {said}"}
    assert verdict(stored(response, policy=PRIVATE), 61, policy=PRIVATE) == "REFRESH"


def test_section_5_2_1_7_only_if_cached_is_504_if_there_is_no_entry():
    assert verdict(None, 0, {"Cache-Control": "only-if-cached"}) == "UNAVAILABLE"
    assert verdict(None, 0) == "MISS"


def test_section_5_4_pragma_is_no_cache_where_there_is_no_cache_control():
    entry = stored({"Cache-Control": LONG})
    assert verdict(entry, 1, {"Pragma": "no-cache"}) == "RELOAD"
    assert verdict(entry, 1, {"Pragma": "no-cache", "Cache-Control": "max-age=60"}) == "FRESH"
    assert verdict(entry, 1, {"Pragma": "x"}) == "FRESH"


@pytest.mark.parametrize("name", ["heuristic", "max_heuristic", "stale_if_error"])
@pytest.mark.parametrize("value", [-1, float("inf"), float("nan"), "1", True])
def test_a_setting_that_cannot_be_is_refused(name, value):
    with pytest.raises(ValueError, match=f"expected {name} as a number"):
        Policy(shared=True, **{name: value})

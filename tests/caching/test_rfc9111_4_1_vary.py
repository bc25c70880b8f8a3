"""RFC 9111, section 4.1: which requests a stored response answers."""

import pytest

from tests.caching.exchanges import NOW, PRIVATE, SHARED, get, sentences, stored

A_PAGE = {"Cache-Control": "public, max-age=3600", "Date": 0}
YES, NO = True, False

TABLE = [
    # section, sentence, whether it answers, Vary, the request stored, the request presented
    ("4.1", "a response without Vary answers any request", YES, "", {"Foo": "1"}, {"Foo": "2"}),
    ("4.1", "a Vary that is empty is none", YES, " , ", {"Foo": "1"}, {"Foo": "2"}),
    ("4.1", "a request with the same value is answered", YES, "Foo", {"Foo": "1"}, {"Foo": "1"}),
    ("4.1", "a request with another value is not", NO, "Foo", {"Foo": "1"}, {"Foo": "2"}),
    ("4.1", "the name in Vary may be in any case", NO, "fOO", {"Foo": "1"}, {"foo": "2"}),
    ("4.1", "a value in another case is another", NO, "Foo", {"Foo": "a"}, {"Foo": "A"}),
    ("4.1", "a request without the header is not answered", NO, "Foo", {"Foo": "1"}, {}),
    ("4.1", "a request with the header is not answered if it was not there", NO, "Foo", {}, {"Foo": "1"}),
    ("4.1", "a header that is there and empty is not the same as none", NO, "Foo", {"Foo": ""}, {}),
    ("4.1", "a header that was missing may be missing", YES, "Foo", {}, {}),
    ("4.1", "a header that Vary does not name is of no matter", YES, "Foo", {"Foo": "1", "Bar": "1"}, {"Foo": "1"}),
    ("4.1", "all headers have to match", NO, "Foo, Bar", {"Foo": "1", "Bar": "1"}, {"Foo": "1", "Bar": "2"}),
    ("4.1", "all lines of Vary count", NO, ["Foo", "Bar"], {"Foo": "1", "Bar": "1"}, {"Foo": "1", "Bar": "2"}),
    ("4.1", "the order of headers is of no matter", YES, "Foo, Bar", {"Foo": "1", "Bar": "2"},
     {"Bar": "2", "Foo": "1"}),
    ("4.1", "two lines are the same as one", YES, "Foo", {"Foo": "1, 2"}, {"Foo": ["1", "2"]}),
    ("4.1", "two lines in another order are not", NO, "Foo", {"Foo": ["1", "2"]}, {"Foo": ["2", "1"]}),
    ("4.1", "space around commas means nothing", YES, "Foo", {"Foo": "1,2"}, {"Foo": " 1 ,\t2 "}),
    ("4.1", "space anywhere else does", NO, "Foo", {"Foo": "1 2"}, {"Foo": "12"}),
    ("4.1", "space around a comma in quotes does", NO, "Foo", {"Foo": '"1, 2"'}, {"Foo": '"1,2"'}),
    ("4.1", "space around a comma in a cookie does", NO, "Cookie", {"Cookie": "a=1, 2"}, {"Cookie": "a=1,2"}),
    ("4.1", "space around a comma in credentials does", NO, "Authorization", {"Authorization": "x a, b"},
     {"Authorization": "x a,b"}),
    ("4.1", "languages may be in any case", YES, "Accept-Language", {"Accept-Language": "en, de"},
     {"Accept-Language": "eN, De"}),
    ("4.1", "languages are in the order of preference", YES, "Accept-Language", {"Accept-Language": "en, de;q=0.5"},
     {"Accept-Language": "de; Q=0.5, en"}),
    ("4.1", "of languages that are equal the first may be what the server takes", NO, "Accept-Language",
     {"Accept-Language": "en, de"}, {"Accept-Language": "de, en"}),
    ("4.1", "a language of another preference is another", NO, "Accept-Language", {"Accept-Language": "en, de;q=0.5"},
     {"Accept-Language": "en, de;q=0.6"}),
    ("4.1", "encodings may be in any case", YES, "Accept-Encoding", {"Accept-Encoding": "GZIP, br"},
     {"Accept-Encoding": "gzip,br"}),
]  # fmt: skip


@pytest.mark.parametrize("row", TABLE, ids=sentences(TABLE))
def test_vary(row):
    _, _, answers, vary, before, after = row
    entry = stored(A_PAGE | {"Vary": vary}, request=get(before))
    assert (SHARED.select(get(after), [entry]) is not None) is answers


@pytest.mark.parametrize("vary", ["*", "*, *", ["*", "*"], ", *", ["", "*"], "*, Foo", "Foo, *"])
def test_section_4_1_a_star_matches_nothing(vary):
    assert stored(A_PAGE | {"Vary": vary}, request=get({"Foo": "1"})) is None


def test_rfc_9110_section_7_6_1_what_a_proxy_takes_away_is_nothing_to_choose_by():
    foo = {"Foo": "1", "Connection": "close, FOO"}  # so the answer is the one for requests without Foo
    assert stored(A_PAGE | {"Vary": "Foo"}, request=get(foo)) is None
    assert stored(A_PAGE | {"Vary": "Bar"}, request=get(foo)) is not None


def test_section_4_1_a_star_that_is_stored_all_the_same_answers_no_request():
    headers = [("Vary", "*"), ("Cache-Control", "max-age=60")]
    entry = SHARED.entry(get(), 200, headers, requested_at=NOW, received_at=NOW)
    assert SHARED.select(get(), [entry]) is None


def test_section_4_the_most_recent_of_those_that_match_is_used():
    older = stored(A_PAGE | {"Vary": "Foo", "Date": -10}, request=get({"Foo": "1"}))
    newer = stored(A_PAGE | {"Vary": "Bar", "Date": -5}, request=get({"Foo": "1"}))
    assert SHARED.select(get({"Foo": "1"}), [older, newer]) is newer
    assert SHARED.select(get({"Foo": "1"}), [newer, older]) is newer


def test_section_4_1_variants_live_side_by_side():
    entries = [stored(A_PAGE | {"Vary": "Foo"}, request=get({"Foo": value})) for value in ("1", "2")]
    assert [SHARED.select(get({"Foo": value}), entries) for value in ("1", "2")] == entries
    assert SHARED.select(get({"Foo": "3"}), entries) is None


@pytest.mark.parametrize("when", [-10, 10, 3599])
def test_section_4_1_an_entry_without_vary_is_not_used_beside_one_that_has_it(when):
    for_one = stored(A_PAGE | {"Vary": "Cookie"}, request=get({"Cookie": "1"}))
    for_all = stored(A_PAGE | {"Date": when})
    assert SHARED.select(get({"Cookie": "2"}), [for_one, for_all]) is None


def test_section_4_1_an_entry_without_vary_is_used_if_those_that_have_it_were_stale_when_it_came():
    for_one = stored(A_PAGE | {"Vary": "Cookie"}, request=get({"Cookie": "1"}))
    for_all = stored(A_PAGE | {"Date": 3600})
    for cookie in "12":
        assert SHARED.select(get({"Cookie": cookie}), [for_one, for_all]) is for_all


@pytest.mark.parametrize("name", ["Authorization", "Cookie", "Proxy-Authorization"])
def test_of_a_secret_that_an_entry_was_chosen_by_a_hash_is_kept(name):
    entry = stored(A_PAGE | {"Vary": name}, request=get({name: "x secret"}))
    assert b"secret" not in entry.pack()
    assert SHARED.select(get({name: " x secret"}), [entry]) is entry
    assert SHARED.select(get({name: "x Secret"}), [entry]) is None


def test_section_4_a_response_to_head_answers_no_get():
    entry = stored(A_PAGE, request=get(method="HEAD"))
    assert SHARED.select(get(), [entry]) is None
    assert SHARED.select(get(method="HEAD"), [entry]) is entry


def test_rfc_9110_section_9_3_2_a_response_to_get_answers_head():
    entry = stored(A_PAGE)
    answer = SHARED.answer(get(method="HEAD"), SHARED.select(get(method="HEAD"), [entry]), NOW)
    assert (answer.status, answer.body) == (200, None)


def test_section_4_any_other_method_is_answered_by_no_entry():
    assert SHARED.select(get(method="OPTIONS"), [stored(A_PAGE)]) is None


def test_what_a_private_cache_has_stored_is_nothing_to_a_shared_one():
    entry = stored(A_PAGE | {"Cache-Control": "private, max-age=60"}, policy=PRIVATE)
    assert PRIVATE.select(get(), [entry]) is entry
    assert SHARED.select(get(), [entry]) is None

"""RFC 9111, section 3 and the directives that are about storing: what may be stored, and what of it."""

import pytest

from tests.caching.exchanges import NOW, PRIVATE, SHARED, URL, date, field, get, lines, sentences, stored

FRESH = {"Cache-Control": "max-age=60"}
OLD = {"Last-Modified": -86400, "Date": 0}
YES, NO = True, False

TABLE = [
    # section, sentence, whether it is stored, the response, and what else is not as usual
    ("3", "a response to GET that says for how long it is fresh is stored", YES, FRESH, {}),
    ("3", "a response to HEAD is stored", YES, FRESH, {"request": get(method="HEAD")}),
    ("3", "a response to a method that is not understood is not stored", NO, FRESH, {"request": get(method="FOO")}),
    ("3", "a response to PUT is not stored", NO, FRESH, {"request": get(method="PUT")}),
    ("3", "a response to OPTIONS is not stored", NO, FRESH, {"request": get(method="OPTIONS")}),
    ("3", "a response whose status is not final is not stored", NO, FRESH, {"status": 103}),
    ("3", "a status that is no status of HTTP is not stored", NO, FRESH, {"status": 600}),
    ("3", "206 is not stored, for it is no whole and parts are not combined", NO, FRESH, {"status": 206}),
    ("3", "304 is not stored, for it has no body", NO, FRESH, {"status": 304}),
    ("3", "412 is not stored, for it answers the conditions of one request", NO, FRESH, {"status": 412}),
    ("3", "416 is not stored, for it answers the Range of one request", NO, FRESH, {"status": 416}),
    ("3", "417 is not stored, for it answers the Expect of one request", NO, FRESH, {"status": 417}),
    ("3", "an unknown status is stored if the response says for how long it is fresh", YES, FRESH, {"status": 599}),
    ("3", "an unknown status is not stored if nothing says that it may be", NO, OLD, {"status": 599}),
    ("3", "201 is not stored if nothing says that it may be", NO, OLD, {"status": 201}),
    ("3", "an error is stored if it says for how long it is fresh", YES, FRESH, {"status": 500}),
    ("3", "404 may be stored without being asked to", YES, OLD, {"status": 404}),
    ("3", "public allows any final status", YES, OLD | {"Cache-Control": "public"}, {"status": 599}),
    ("3", "private allows any final status in a private cache", YES,
     OLD | {"Cache-Control": "private"}, {"status": 599, "policy": PRIVATE}),
    ("3", "s-maxage allows nothing in a private cache", NO,
     OLD | {"Cache-Control": "s-maxage=60"}, {"status": 599, "policy": PRIVATE}),
    ("3", "Expires allows any final status", YES, {"Expires": 60, "Date": 0}, {"status": 599}),
    ("3", "what can never be used is not stored", NO, {"Content-Type": "text/plain"}, {}),
    ("3", "what is stale at once is stored if it can be validated", YES,
     {"Cache-Control": "max-age=0", "ETag": '"1"'}, {}),
    ("3", "what is stale at once and cannot be validated is not stored", NO, {"Cache-Control": "max-age=0"}, {}),
    ("3", "a response for which Vary is a star is not stored", NO, FRESH | {"Vary": "Accept, *"}, {}),
    ("3", "a response for which Vary cannot be read is not stored", NO, FRESH | {"Vary": "Accept Cookie"}, {}),
    ("3", "a request with Range may be answered with the whole, which is stored", YES, FRESH,
     {"request": get({"Range": "bytes=0-1"})}),
    ("3.1", "a response is not stored whose Connection names what it would be read by", NO,
     FRESH | {"Connection": "close, Vary"}, {}),
    ("3.5", "a shared cache does not store the response to a request with Authorization", NO, FRESH,
     {"request": get({"Authorization": "x"})}),
    ("3.5", "a private cache stores the response to a request with Authorization", YES, FRESH,
     {"request": get({"Authorization": "x"}), "policy": PRIVATE}),
    ("3.5", "a shared cache stores the response to a request with Authorization if it says public", YES,
     {"Cache-Control": "public, max-age=60"}, {"request": get({"Authorization": "x"})}),
    ("3.5", "a shared cache stores the response to a request with Authorization if it says must-revalidate", YES,
     {"Cache-Control": "must-revalidate, max-age=60"}, {"request": get({"Authorization": "x"})}),
    ("3.5", "a shared cache stores the response to a request with Authorization if it says s-maxage", YES,
     {"Cache-Control": "s-maxage=60"}, {"request": get({"Authorization": "x"})}),
    ("3.5", "proxy-revalidate is not enough for the response to a request with Authorization", NO,
     {"Cache-Control": "proxy-revalidate, max-age=60"}, {"request": get({"Authorization": "x"})}),
    ("5.2.1.5", "a request with no-store has its response not stored", NO, FRESH,
     {"request": get({"Cache-Control": "no-store"})}),
    ("5.2.2.3", "must-understand sets no-store aside for a status that is understood", YES,
     {"Cache-Control": "max-age=60, no-store, must-understand"}, {}),
    ("5.2.2.3", "a response with must-understand is not stored if its status is not understood", NO,
     {"Cache-Control": "max-age=60, must-understand"}, {"status": 599}),
    ("5.2.2.3", "must-understand does not set no-store aside for a status that is not understood", NO,
     {"Cache-Control": "max-age=60, no-store, must-understand"}, {"status": 299}),
    ("5.2.2.4", "a response with no-cache is stored if it can be validated", YES,
     {"Cache-Control": "no-cache", "ETag": '"1"'}, {}),
    ("5.2.2.5", "a response with no-store is not stored", NO, {"Cache-Control": "no-store"}, {}),
    ("5.2.2.5", "a response with nO-sToRe is not stored", NO, {"Cache-Control": "max-age=60, nO-sToRe"}, {}),
    ("5.2.2.5", "a private cache does not store a response with no-store either", NO,
     {"Cache-Control": "max-age=60, no-store"}, {"policy": PRIVATE}),
    ("5.2.2.5", "no-store counts in whichever line it is", NO, {"Cache-Control": ["max-age=60", "no-store"]}, {}),
    ("5.2.2.5", "no-store counts though it is malformed", NO, {"Cache-Control": "max-age=60, no-store;x=1"}, {}),
    ("5.2.2.5", "no-store counts though it has an argument", NO, {"Cache-Control": 'max-age=60, no-store="x"'}, {}),
    ("5.2", "a response is not stored if a quoted string in Cache-Control does not end", NO,
     {"Cache-Control": 'max-age=60, a="b, no-store'}, {}),
    ("5.2", "no-store in a quoted string is none", YES, {"Cache-Control": 'max-age=60, a="no-store"'}, {}),
    ("5.2.2.7", "a shared cache does not store a response with private", NO,
     {"Cache-Control": "private, max-age=60"}, {}),
    ("5.2.2.7", "a private cache stores a response with private", YES,
     {"Cache-Control": "private, max-age=60"}, {"policy": PRIVATE}),
    ("5.2.2.7", "a shared cache stores a response of which only some fields are private", YES,
     {"Cache-Control": 'private="Set-Cookie", max-age=60'}, {}),
    ("5.2.2.7", "private with and without fields is private", NO,
     {"Cache-Control": 'private="X-User", private, max-age=60'}, {}),
    ("5.2.2.7", "private with a list that is empty is private", NO, {"Cache-Control": 'private="", max-age=60'}, {}),
    ("5.2.2.7", "private counts as a whole if its fields are what the response is used by", NO,
     {"Cache-Control": 'private="Vary", max-age=60'}, {}),
    ("5.2.2.7", "private is stronger than public", NO, {"Cache-Control": "public, private, max-age=60"}, {}),
    ("5.2.3", "a directive that is not known changes nothing", YES, {"Cache-Control": "max-age=60, x, y=1"}, {}),
    ("5.2.3", "a community that is not known does not make private public", NO,
     {"Cache-Control": 'private, community="UCI", max-age=60'}, {}),
    ("7.3", "a response with Set-Cookie is stored if it says for how long it is fresh", YES,
     FRESH | {"Set-Cookie": "a=1"}, {}),
    ("7.3", "a shared cache does not store Set-Cookie on a guess", NO, OLD | {"Set-Cookie": "a=1"}, {}),
    ("7.3", "a shared cache does not store on a guess what a cookie was sent for", NO, OLD,
     {"request": get({"Cookie": "a=1"})}),
    ("7.3", "a shared cache does not store even for validation what a cookie was sent for", NO, {"ETag": '"1"'},
     {"request": get({"Cookie": "a=1"})}),
    ("7.3", "a private cache stores Set-Cookie on a guess", YES, OLD | {"Set-Cookie": "a=1"}, {"policy": PRIVATE}),
]  # fmt: skip


@pytest.mark.parametrize(("section", "sentence", "is_stored", "response", "more"), TABLE, ids=sentences(TABLE))
def test_storing(section, sentence, is_stored, response, more):
    assert (stored(response, **more) is not None) is is_stored


HOP_BY_HOP = ["Connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authentication-Info", "Proxy-Authorization"]
HOP_BY_HOP += ["Proxy-Connection", "TE", "Trailer", "Transfer-Encoding", "Upgrade"]


@pytest.mark.parametrize("name", HOP_BY_HOP)
def test_section_3_1_what_is_between_neighbours_is_not_stored(name):
    entry = stored(FRESH | {name: "x", "X-Other": "1"})
    assert field(entry.headers, name) == []
    assert field(entry.headers, "X-Other") == ["1"]


def test_section_3_1_what_connection_names_is_not_stored():
    entry = stored(FRESH | {"Connection": ["a, B", "c"], "A": "1", "b": "2", "C": "3", "D": "4"})
    assert [name for name, _ in entry.headers] == ["Cache-Control", "D", "Date"]


@pytest.mark.parametrize("name", ["Content-Length", "Content-Range", "Content-Encoding", "Set-Cookie2", "X-Anything"])
def test_section_3_1_everything_else_is_stored(name):
    assert field(stored(FRESH | {name: "1"}).headers, name) == ["1"]


def test_two_lines_of_set_cookie_are_stored_as_two():
    assert field(stored(FRESH | {"Set-Cookie": ["a=1", "b=2, c"]}).headers, "Set-Cookie") == ["a=1", "b=2, c"]


def test_section_5_2_2_7_a_shared_cache_does_not_store_the_fields_that_are_private():
    response = {"Cache-Control": 'private="X-User, set-cookie", max-age=60', "X-User": "me", "Set-Cookie": "a=1"}
    entry = stored(response)
    assert [name for name, _ in entry.headers] == ["Cache-Control", "Date"]


def test_section_5_2_2_7_a_private_cache_stores_the_fields_that_are_private():
    response = {"Cache-Control": 'private="X-User", max-age=60', "X-User": "me"}
    assert field(stored(response, policy=PRIVATE).headers, "X-User") == ["me"]


def test_section_5_2_2_4_the_fields_that_no_cache_names_are_not_stored():
    response = {"Cache-Control": ['no-cache="a"', "max-age=60", "no-cache=b"], "A": "1", "B": "2", "C": "3"}
    entry = stored(response)
    assert not entry.no_cache
    assert [name for name, _ in entry.headers if len(name) == 1] == ["C"]


def test_section_5_2_2_4_no_cache_that_names_what_the_response_is_used_by_is_about_all_of_it():
    entry = stored({"Cache-Control": 'no-cache="ETag", max-age=60', "ETag": '"1"'})
    assert entry.no_cache
    assert field(entry.headers, "ETag") == ['"1"']


def test_rfc_9110_section_6_6_1_a_response_without_date_is_given_the_time_when_it_came():
    assert field(stored(FRESH, took=5).headers, "Date") == [date(5)]


def test_rfc_9110_section_6_6_1_a_date_that_cannot_be_read_is_replaced():
    assert field(stored(FRESH | {"Date": "yesterday"}).headers, "Date") == [date(0)]


def test_rfc_9110_section_6_6_1_a_date_is_kept_as_it_came():
    assert field(stored(FRESH | {"Date": "sun, 09 SEP 2001 01:46:30 gmt"}).headers, "Date") == [
        "sun, 09 SEP 2001 01:46:30 gmt"
    ]


@pytest.mark.parametrize("location", [URL, "/a", "", "HTTP://EXAMPLE.com:80/a"])
def test_rfc_9110_section_9_3_3_a_response_to_post_that_is_what_get_would_get_is_stored_for_get(location):
    entry = stored(FRESH | {"Content-Location": location}, request=get(method="POST"))
    assert entry.method == "GET"
    assert SHARED.select(get(), [entry]) is entry
    assert SHARED.select(get(method="POST"), [entry]) is None


@pytest.mark.parametrize(
    ("status", "headers"),
    [
        (200, FRESH),
        (200, FRESH | {"Content-Location": "/b"}),
        (200, FRESH | {"Content-Location": "//["}),
        (200, OLD | {"Content-Location": "/a"}),
        (201, FRESH | {"Content-Location": "/a"}),
    ],
)
def test_rfc_9110_section_9_3_3_any_other_response_to_post_is_not_stored(status, headers):
    assert stored(headers, status=status, request=get(method="POST")) is None


def test_the_reason_for_a_refusal_is_told():
    assert SHARED.refusal(get(), 200, lines({"Cache-Control": "private"})) == "private"
    assert SHARED.refusal(get(), 200, lines({})) == "nothing to use it by"


def test_what_is_stale_at_once_is_stored_if_it_may_stand_in_for_an_error():
    assert stored({"Cache-Control": "max-age=0, stale-if-error=60"})
    assert stored({"Cache-Control": "max-age=0, stale-while-revalidate=60"})


def test_an_entry_knows_when_it_was_asked_for():
    entry = stored(FRESH, took=5)
    assert (entry.requested_at, entry.received_at) == (NOW, NOW + 5)

"""RFC 9111, section 4.3: what is asked about stored responses, and what comes of the answer."""

from itertools import pairwise

import pytest

from tests.caching.exchanges import NOW, PRIVATE, SHARED, date, field, get, lines, sentences, stored

STALE = {"Cache-Control": "max-age=0", "Date": -100}
LATER = {"requested_at": NOW + 50, "received_at": NOW + 51}


def conditions(pairs):
    return {name.lower(): value for name, value in pairs if name.lower().startswith(("if-", "range"))}


def asked(entry, headers=(), entries=None, **more):
    sent = SHARED.conditional(get(headers, **more), entry, [entry] if entries is None else entries)
    return None if sent is None else conditions(sent)


def freshened(entry, headers, request=None, policy=SHARED):
    return policy.freshen(request or get(), entry, lines(headers), **LATER)


# 4.3.1, what is asked


def test_section_4_3_1_the_entity_tag_is_asked_about_as_it_came():
    assert asked(stored(STALE | {"ETag": 'W/"1"'})) == {"if-none-match": 'W/"1"'}


def test_section_4_3_1_last_modified_is_asked_about():
    assert asked(stored(STALE | {"Last-Modified": -1000})) == {"if-modified-since": date(-1000)}


def test_section_4_3_1_both_are_asked_about_if_there_are_both():
    entry = stored(STALE | {"ETag": '"1"', "Last-Modified": -1000})
    assert asked(entry) == {"if-none-match": '"1"', "if-modified-since": date(-1000)}


def test_section_4_3_1_without_a_validator_nothing_is_asked():
    assert asked(stored({"Cache-Control": "max-age=60"})) is None


def test_section_4_3_1_a_last_modified_that_is_no_date_is_no_validator():
    assert asked(stored({"Cache-Control": "max-age=60", "Last-Modified": "yesterday"})) is None


@pytest.mark.parametrize("etag", ["*", "", '"1', 'W"1"', "a b", "a,b", '"1", "2"'])
def test_section_4_3_1_what_is_no_entity_tag_is_not_asked_about(etag):
    assert asked(stored({"Cache-Control": "max-age=60", "ETag": etag})) is None


def test_section_4_3_1_a_tag_without_quotes_is_asked_about_for_many_servers_mean_one():
    assert asked(stored(STALE | {"ETag": "abc"})) == {"if-none-match": "abc"}


CALLERS = {"If-None-Match": '"9"', "If-Modified-Since": 0, "Range": "bytes=0-1", "If-Range": '"9"'}


def test_section_4_3_1_our_conditions_replace_those_of_the_caller():
    assert asked(stored(STALE | {"ETag": '"1"'}), CALLERS) == {"if-none-match": '"1"'}


def test_section_4_3_1_the_rest_of_the_request_goes_as_it_is():
    request = {"Accept": "text/html", "X-Name": ["1", "2"]}
    sent = SHARED.conditional(get(CALLERS | request), stored(STALE | {"ETag": '"1"'}))
    assert sent == [*lines(request), ("If-None-Match", '"1"')]


def test_section_4_3_2_where_we_have_nothing_the_conditions_of_the_caller_go_as_they_are():
    assert SHARED.conditional(get(CALLERS), None, []) is None
    assert SHARED.conditional(get(CALLERS), stored({"Cache-Control": "max-age=60"})) is None


def test_section_5_2_1_5_a_request_with_no_store_goes_as_it_is():
    assert asked(stored(STALE | {"ETag": '"1"'}), {"Cache-Control": "no-store"}) is None


@pytest.mark.parametrize("name", ["If-Match", "If-Unmodified-Since"])
def test_section_4_3_2_what_is_for_the_origin_goes_there_as_it_is(name):
    entry = stored({"Cache-Control": "max-age=60", "ETag": '"1"', "Date": 0})
    request = get({name: '"1"' if name == "If-Match" else 0})
    assert SHARED.decide(request, entry, NOW).name == "MISS"
    assert SHARED.conditional(request, entry, [entry]) is None
    assert not SHARED.may_serve_stale(request, entry, NOW)


def variants(headers="Foo", **fields):
    """Two entries that differ by a header of the request, each with its own fields."""
    return [
        stored(
            STALE | {"Vary": headers} | {name.replace("_", "-"): values[index] for name, values in fields.items()},
            request=get({headers: str(index)}),
        )
        for index in (0, 1)
    ]


def test_section_4_3_1_the_tags_of_all_variants_are_asked_about_the_selected_first():
    entries = variants(ETag=['"0"', '"1"'])
    assert asked(entries[1], {"Foo": "1"}, entries) == {"if-none-match": '"1", "0"'}
    assert asked(None, {"Foo": "2"}, entries) == {"if-none-match": '"0", "1"'}


def test_section_4_3_1_a_variant_that_is_not_selected_does_not_lend_its_last_modified():
    entries = variants(Last_Modified=[-1000, -1000])
    assert asked(None, {"Foo": "2"}, entries) is None


def test_section_4_3_1_a_weak_tag_of_another_variant_is_not_asked_about_for_it_may_be_that_of_this_one_too():
    entries = variants(ETag=['W/"1"', 'W/"1"'])
    assert asked(None, {"Foo": "2"}, entries) is None
    assert asked(entries[1], {"Foo": "1"}, entries) == {"if-none-match": 'W/"1"'}
    entries = variants(ETag=['W/"0"', '"1"'])
    assert asked(None, {"Foo": "2"}, entries) == {"if-none-match": '"1"'}


def test_section_4_3_1_a_selected_last_modified_is_not_put_out_by_the_tags_of_others():
    without, with_tag = variants(Last_Modified=[-1000, -1000], ETag=[[], '"1"'])
    assert asked(without, {"Foo": "0"}, [without, with_tag]) == {"if-modified-since": date(-1000)}


@pytest.mark.parametrize("name", ["Cookie", "Authorization"])
def test_section_4_3_1_what_was_chosen_by_who_the_user_is_does_not_lend_its_tag(name):
    headers = STALE | {"Cache-Control": "public, max-age=0", "Vary": name, "ETag": '"1"'}
    entry = stored(headers, request=get({name: "me"}))
    assert asked(None, {name: "you"}, [entry]) is None
    assert asked(entry, {name: "me"}, [entry]) == {"if-none-match": '"1"'}


def test_section_4_3_1_so_many_tags_are_asked_about_as_a_server_takes():
    entries = [
        stored(STALE | {"Vary": "Foo", "ETag": f'"{i}"', "Date": -i}, request=get({"Foo": str(i)})) for i in range(99)
    ]
    tags = asked(None, {}, entries)["if-none-match"].split(", ")
    assert tags == [f'"{i}"' for i in range(16)]


def test_section_4_3_1_a_tag_that_two_variants_have_is_asked_about_once():
    entries = variants(ETag=['"1"', '"1"'])
    assert asked(entries[0], {"Foo": "0"}, entries) == {"if-none-match": '"1"'}


# 4.3.3 and 4.3.4, which of them a 304 is about

MATCHES = [
    # section, sentence, the entry it selects, the tags stored, which of them Vary selected, the tag in the 304
    ("4.3.4", "a strong tag selects the entry that has it", 0, ['"0"', '"1"'], 0, '"0"'),
    ("4.3.4", "a strong tag selects the entry that has it, though Vary selected another", 1, ['"0"', '"1"'], 0, '"1"'),
    ("4.3.4", "a strong tag selects the entry that has it, though Vary selected none", 1, ['"0"', '"1"'], None, '"1"'),
    ("4.3.4", "a strong tag that no entry has selects none", None, ['"0"', '"1"'], 0, '"2"'),
    ("4.3.4", "a strong tag does not select a weak one", None, ['W/"0"', 'W/"1"'], 0, '"0"'),
    ("4.3.4", "a weak tag selects the entry that has it", 0, ['W/"0"', 'W/"1"'], 0, 'W/"0"'),
    ("4.3.4", "a weak tag selects the strong one", 1, ['"0"', '"1"'], 0, 'W/"1"'),
    ("4.3.4", "without a tag the one that was asked about is selected", 0, ['"0"', []], 0, None),
    ("4.3.4", "without a tag none of several is selected", None, ['"0"', '"1"'], 0, None),
    ("4.3.4", "without a tag none that Vary did not select is selected", None, ['"0"', []], None, None),
    ("4.3.4", "of two that have the tag the selected one is selected", 1, ['"0"', '"0"'], 1, '"0"'),
]  # fmt: skip


@pytest.mark.parametrize("row", MATCHES, ids=sentences(MATCHES))
def test_which_entry_a_304_is_about(row):
    _, _, expected, tags, selected, told = row
    entries = variants(ETag=tags, Last_Modified=[-1000, -1000])
    selected = None if selected is None else entries[selected]
    headers = {} if told is None else {"ETag": told}
    found = SHARED.validated(get(), lines(headers), selected, entries)
    assert found is (None if expected is None else entries[expected])


def test_section_4_3_4_a_304_to_if_modified_since_is_about_the_selected_entry():
    entry = stored(STALE | {"Last-Modified": -1000})
    assert SHARED.validated(get(), lines({"Last-Modified": -1000}), entry, [entry]) is entry
    assert SHARED.validated(get(), lines({}), entry, [entry]) is entry
    assert SHARED.validated(get(), lines({"ETag": '"new"', "Last-Modified": -1000}), entry, [entry]) is entry


@pytest.mark.parametrize("told", [{"ETag": '"new"'}, {"ETag": '"new"', "Last-Modified": -999}])
def test_section_4_3_4_a_304_with_validators_that_the_selected_entry_has_not_is_not_about_it(told):
    entry = stored(STALE | {"Last-Modified": -1000})
    assert SHARED.validated(get(), lines(told), entry, [entry]) is None


def test_section_4_3_4_a_304_is_not_about_what_was_not_asked_about():
    entry = stored(STALE | {"Vary": "Cookie", "ETag": '"1"'}, request=get({"Cookie": "me"}))
    assert SHARED.validated(get({"Cookie": "you"}), lines({"ETag": '"1"'}), None, [entry]) is None


def test_section_4_3_2_a_304_is_the_full_answer_to_who_has_another_tag():
    entry = stored(ENTRY)
    request = get({"If-None-Match": '"9"'})
    assert SHARED.answer(request, freshened(entry, {"ETag": '"1"'}, request), NOW + 51).status == 200
    request = get({"If-None-Match": '"9", "1"'})
    assert SHARED.answer(request, freshened(entry, {"ETag": '"1"'}, request), NOW + 51).status == 304


# 3.2, what is updated

ENTRY = STALE | {"ETag": '"1"', "X-A": "old", "X-B": ["1", "2"], "Content-Type": "text/plain", "Age": "10"}


def test_section_3_2_the_fields_of_the_304_replace_those_that_are_stored_in_all_lines():
    entry = freshened(stored(ENTRY), {"X-A": ["new", "newer"], "X-B": "3", "X-C": "4", "Date": 50})
    assert field(entry.headers, "X-A") == ["new", "newer"]
    assert field(entry.headers, "X-B") == ["3"]
    assert field(entry.headers, "X-C") == ["4"]
    assert field(entry.headers, "ETag") == ['"1"']
    assert entry.body == b"0123456789"


@pytest.mark.parametrize("name", ["Content-Encoding", "Content-Length", "Content-MD5", "Content-Range"])
def test_section_3_2_what_is_true_of_the_body_is_not_replaced(name):
    entry = freshened(stored(ENTRY | {name: "10"}), {name: "20"})
    assert field(entry.headers, name) == ["10"]


@pytest.mark.parametrize(
    "name", ["Content-Type", "Content-Location", "Content-Security-Policy", "Set-Cookie", "Expires"]
)
def test_section_3_2_everything_else_is(name):
    assert field(freshened(stored(ENTRY | {name: "a"}), {name: "b"}).headers, name) == ["b"]


@pytest.mark.parametrize("name", ["Connection", "Keep-Alive", "Transfer-Encoding", "Upgrade"])
def test_section_3_2_what_is_not_stored_is_not_updated(name):
    assert field(freshened(stored(ENTRY), {name: "x"}).headers, name) == []


def test_section_3_2_what_the_304_keeps_private_is_not_stored():
    entry = freshened(stored(ENTRY), {"Cache-Control": 'private="X-User", max-age=60', "X-User": "me"})
    assert field(entry.headers, "X-User") == []


def test_section_4_3_4_a_304_gives_a_new_lifetime():
    entry = freshened(stored(ENTRY), {"Cache-Control": "max-age=60", "Date": 50})
    assert [SHARED.decide(get(), entry, NOW + after).name for after in (51, 109, 110, 111)] == [
        "FRESH",
        "FRESH",
        "VALIDATE",
        "VALIDATE",
    ]


def test_section_4_3_4_a_304_that_gives_no_lifetime_renews_the_old_one():
    entry = freshened(stored({"Cache-Control": "max-age=60", "ETag": '"1"', "Date": -100}), {"ETag": '"1"'})
    assert entry.age == 1  # second that it took, by a Date of now in place of the old one
    assert SHARED.decide(get(), entry, NOW + 100).name == "FRESH"


def test_section_4_2_3_the_age_of_a_304_counts():
    assert freshened(stored(ENTRY), {"Age": "100", "Date": 50}).age == 101


def test_section_4_3_4_the_entry_of_another_variant_becomes_one_for_the_variant_asked_for():
    entry = variants(ETag=['"0"', '"1"'])[1]
    new = freshened(entry, {"ETag": '"1"', "Cache-Control": "max-age=60"}, get({"Foo": "2"}))
    assert new.variant != entry.variant
    assert SHARED.select(get({"Foo": "2"}), [entry, new]) is new
    assert SHARED.select(get({"Foo": "1"}), [entry, new]) is entry


def test_section_4_3_4_a_304_may_forbid_to_keep_the_entry():
    for said in ("no-store", "private"):
        entry = freshened(stored(ENTRY), {"Cache-Control": said})
        assert SHARED.refusal(get(), entry.status, entry.headers) == said


def test_section_4_3_4_a_304_to_a_request_with_credentials_does_not_make_an_entry_of_everybody():
    entry = stored({"Cache-Control": "max-age=60", "ETag": '"1"'})
    request = get({"Authorization": "x"})
    assert SHARED.refusal(request, 200, freshened(entry, {"ETag": '"1"'}, request).headers) == "authorization"


def test_section_4_3_4_a_304_cannot_lose_the_vary_of_an_entry():
    entry = variants(ETag=['"0"', '"1"'])[0]
    new = freshened(entry, {"ETag": '"0"', "Connection": "Vary", "Vary": "X"}, get({"Foo": "0"}))
    assert new.vary == (("foo", "0"),)


# 4.3.5, what comes of a response to HEAD

HEADS = [
    # section, sentence, what becomes of the entry, the status, the headers
    ("4.3.5", "a 200 updates the entry", "updated", 200, {"X-A": "new"}),
    ("4.3.5", "a 200 with the same validators and length updates the entry", "updated", 200,
     {"X-A": "new", "ETag": '"1"', "Content-Length": "10"}),
    ("4.3.5", "a 200 with another tag drops it", "dropped", 200, {"ETag": '"2"'}),
    ("4.3.5", "a 200 with a Last-Modified that it has not drops it", "dropped", 200, {"Last-Modified": 0}),
    ("4.3.5", "a 200 with another length drops it", "dropped", 200, {"Content-Length": "11"}),
    ("4.3.5", "a 200 for other requests drops it", "dropped", 200, {"Vary": "Foo"}),
    ("4.3.5", "any other status leaves it", "left", 410, {"X-A": "new"}),
]  # fmt: skip


@pytest.mark.parametrize("row", HEADS, ids=sentences(HEADS))
def test_what_a_response_to_head_does(row):
    _, _, expected, status, headers = row
    entry = stored(ENTRY)
    after = SHARED.after_head(get(method="HEAD"), entry, status, lines(headers), **LATER)
    if expected == "updated":
        assert field(after.headers, "X-A") == ["new"]
        assert after.received_at == NOW + 51
        assert (after.body, after.length) == (entry.body, entry.length)
    else:
        assert after is (entry if expected == "left" else None)


def test_section_4_3_5_a_head_may_make_the_entry_fresh_again():
    head = get(method="HEAD")
    entry = SHARED.after_head(head, stored(ENTRY), 200, lines({"Cache-Control": "max-age=60"}), **LATER)
    assert SHARED.decide(get(), entry, NOW + 60).name == "FRESH"


@pytest.mark.parametrize(
    ("request_", "response"),
    [
        ({"Authorization": "x"}, {"X-A": "mine"}),
        ({"Cache-Control": "no-store"}, {"X-A": "mine"}),
        ({}, {"X-A": "mine", "Cache-Control": "private"}),
    ],
)
def test_section_3_a_response_to_head_that_may_not_be_stored_does_not_get_into_the_entry(request_, response):
    entry = stored(ENTRY)
    assert SHARED.after_head(get(request_, method="HEAD"), entry, 200, lines(response), **LATER) is entry


def test_an_entry_can_be_validated_again_and_again():
    entry = stored(ENTRY)
    generations = [entry]
    for _ in range(3):
        entry = freshened(entry, {"ETag": '"1"', "X-A": "x"}, policy=SHARED)
        generations.append(entry)
    assert all(len(one.headers) == len(other.headers) for one, other in pairwise(generations))


def test_a_private_cache_freshens_what_is_private():
    entry = stored(ENTRY | {"Cache-Control": "private, max-age=0"}, policy=PRIVATE)
    new = freshened(entry, {"Cache-Control": "private, max-age=60"}, policy=PRIVATE)
    assert PRIVATE.decide(get(), new, NOW + 60).name == "FRESH"

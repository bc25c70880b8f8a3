"""Headers: held against a plain list of pairs, and against everything that would break a message."""

import copy
import http.client
import io
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict, MultiDict

from formation.http import headers
from formation.http.headers import (
    REDACTED,
    SENSITIVE,
    Headers,
    charset,
    check_name,
    check_value,
    checked,
    digits,
    fit_length,
)

BREAKING = ["\r\nX-Evil: 1", "\n", "\r", "\0", "a\rb", "a\nb", "a\0b", "a\r\n folded", "end\n"]
BAD_NAMES = ["", " ", "a b", "a:", "a\r\nb", "a\n", "é", "a\0", "(a)", "a,b", '"a"', "a=b", "a;b", "a/b", "[a]", "{a}"]

WAYS_IN = {
    "init with a dict": lambda name, value: Headers({name: value}),
    "init with pairs": lambda name, value: Headers([(name, value)]),
    "init with another multi-map": lambda name, value: Headers(CIMultiDict([(name, value)])),
    "[]": lambda name, value: Headers().__setitem__(name, value),
    "set": lambda name, value: Headers().set(name, value),
    "add": lambda name, value: Headers().add(name, value),
    "setdefault": lambda name, value: Headers().setdefault(name, value),
    "extend": lambda name, value: Headers().extend({name: value}),
    "extend with pairs": lambda name, value: Headers().extend([(name, value)]),
    "extend by name": lambda name, value: Headers().extend(**{name: value}),
    "update": lambda name, value: Headers().update({name: value}),
    "update by name": lambda name, value: Headers().update(**{name: value}),
    "merge": lambda name, value: Headers().merge({name: value}),
    "merge by name": lambda name, value: Headers().merge(**{name: value}),
    "replaced": lambda name, value: Headers().replaced({name: value}),
    "a generator of pairs": lambda name, value: Headers(pair for pair in [(name, value)]),
}


# --- what is refused ---


@pytest.mark.parametrize("value", BREAKING)
@pytest.mark.parametrize("way", WAYS_IN)
def test_no_way_in_lets_a_value_start_another_header(way, value):
    with pytest.raises(ValueError, match="would start another header"):
        WAYS_IN[way]("X-Name", value)


@pytest.mark.parametrize("name", BAD_NAMES)
@pytest.mark.parametrize("way", WAYS_IN)
def test_no_way_in_lets_a_name_be_anything_but_a_token(way, name):
    with pytest.raises(ValueError, match="is no header name"):
        WAYS_IN[way](name, "1")


@pytest.mark.parametrize("value", [1, None, b"bytes", 1.5, ["a"]])
@pytest.mark.parametrize("way", WAYS_IN)
def test_no_way_in_takes_a_value_that_is_no_str(way, value):
    with pytest.raises(TypeError, match="expected a str as value of header 'X-Name', got"):
        WAYS_IN[way]("X-Name", value)


@pytest.mark.parametrize("fields", [{b"a": "1"}, {1: "1"}, [(None, "1")], [(["a"], "1")]])
def test_a_name_that_is_no_str_is_refused(fields):
    with pytest.raises(TypeError, match="expected a str as header name, got"):
        Headers(fields)


@pytest.mark.parametrize("fields", [["ab"], "ab", [("a",)], [("a", "b", "c")], [1], [{"a": "b"}]])
def test_what_is_neither_a_mapping_nor_pairs_is_refused(fields):
    with pytest.raises(TypeError, match="expected headers as a mapping or as pairs of name and value, got"):
        Headers(fields)


@pytest.mark.parametrize("value", ["€", "名前", "\ud800", "a\u2028b"])
def test_a_value_that_is_not_latin_1_is_refused_with_advice(value):
    with pytest.raises(ValueError, match=r"not latin-1, .*urllib\.parse\.quote"):
        Headers({"X-Name": value})


@pytest.mark.parametrize("value", ["", " ", "a\tb", "grün", "\xa0", "\x85", "\x7f", "a" * 100_000])
def test_any_other_latin_1_value_is_taken_as_it_is(value):
    assert Headers({"X-Name": value})["x-name"] == value


@pytest.mark.parametrize("name", ["a", "X-Rate-Limit", "!#$%&'*+-.^_`|~09azAZ", "1"])
def test_every_token_is_a_name(name):
    assert Headers({name: "1"})[name] == "1"


def test_a_refused_value_leaves_the_headers_as_they_were():
    headers = Headers({"A": "1", "B": "2"})
    for way in (headers.update, headers.extend, headers.merge):
        with pytest.raises(ValueError, match="CR, LF or NUL"):
            way([("A", "9"), ("C", "3"), ("B", "bad\n")])
    assert list(headers.items()) == [("A", "1"), ("B", "2")]


@pytest.mark.parametrize("name", sorted(SENSITIVE))
@pytest.mark.parametrize("value", ["s3cret\n", "s3cret€", b"s3cret"])
def test_what_is_wrong_with_a_secret_is_told_without_the_secret(name, value):
    with pytest.raises((TypeError, ValueError)) as caught:
        Headers({name.title(): value})
    assert "s3cret" not in str(caught.value)
    assert REDACTED in str(caught.value)


def test_the_message_shows_the_value_that_was_given():
    with pytest.raises(ValueError, match=r"header 'X-Name' has a CR, LF or NUL in its value 'a\\nb'"):
        Headers({"X-Name": "a\nb"})


@given(
    st.text(st.sampled_from("aZ09!#$%&'*+-.^_`|~"), min_size=1, max_size=9),
    st.text(st.characters(codec="latin-1", exclude_characters="\r\n\0"), max_size=20),
)
def test_what_is_let_through_is_one_header_line_to_a_parser(name, value):
    [(name, value)] = Headers({name: value}).items()
    parsed = http.client.parse_headers(io.BytesIO(f"{name}: {value}\r\n\r\n".encode("latin-1")))
    assert parsed.keys() == [name]


# --- what was received ---


@pytest.mark.parametrize("value", BREAKING)
def test_a_received_line_break_or_nul_is_a_space_so_that_the_value_can_be_sent_on(value):
    received = Headers.received([("A", "1"), ("X-Folded", value), ("A", "2")])
    assert received["X-Folded"] == value.replace("\r", " ").replace("\n", " ").replace("\0", " ")
    assert received.getlist("a") == ["1", "2"]
    assert list(Headers(received)) == list(received)


def test_what_a_parser_let_through_is_not_checked_again():
    received = Headers.received([("not a token", "€")])
    assert received["Not A Token"] == "€"
    assert received.copy() == Headers(received) == Headers().replaced(received) == received


def test_received_takes_an_iterator_and_a_view():
    assert Headers.received(iter([("A", "1")])) == Headers.received({"A": "1"}.items()) == Headers({"A": "1"})


def test_received_headers_refuse_what_others_refuse():
    with pytest.raises(ValueError, match="CR, LF or NUL"):
        Headers.received([("A", "1")])["B"] = "\n"


# --- reading ---


def test_names_have_no_case():
    headers = Headers({"Content-Type": "a"})
    assert headers["content-type"] == headers["CONTENT-TYPE"] == headers.get("cOnTeNt-TyPe") == "a"
    assert "CONTENT-type" in headers
    headers["content-TYPE"] = "b"
    assert dict(headers) == {"content-TYPE": "b"}
    del headers["Content-type"]
    assert not headers


def test_the_case_that_was_given_is_kept():
    assert list(Headers({"x-FOO": "1"}).items()) == [("x-FOO", "1")]


def test_names_are_strings():
    assert all(isinstance(name, str) for name in Headers({"A": "1"}))


def test_several_lines_are_joined_by_a_comma():
    headers = Headers([("Accept", "a"), ("accept", "b"), ("ACCEPT", "c")])
    assert headers["Accept"] == headers.get("Accept") == "a, b, c"
    assert headers.getlist("Accept") == ["a", "b", "c"]


def test_lines_of_cookie_are_joined_by_a_semicolon():
    headers = Headers([("Cookie", "a=1"), ("cookie", "b=2")])
    assert headers["cookie"] == headers.get("COOKIE") == headers.copy().pop("Cookie") == "a=1; b=2"


def test_get_gives_the_default_where_there_is_nothing():
    headers = Headers()
    assert headers.get("A") is None
    assert headers.get("A", "") == ""
    assert headers.get("A", default=5) == 5
    assert headers.getlist("A") == []
    with pytest.raises(KeyError):
        headers["A"]


def test_pop_is_that_of_a_dict():
    headers = Headers([("A", "1"), ("a", "2"), ("B", "3")])
    assert headers.pop("a") == "1, 2"
    assert list(headers) == ["B"]
    assert headers.pop("A", None) is None
    assert headers.pop("A", default="x") == "x"
    assert headers.pop("B", "x") == "3"
    with pytest.raises(KeyError):
        headers.pop("A")


def test_setdefault_gives_what_is_there_then():
    headers = Headers([("A", "1"), ("A", "2")])
    assert headers.setdefault("a", "9") == "1, 2"
    assert headers.setdefault("B", "3") == "3"
    assert headers.setdefault("C") == ""
    assert list(headers.items()) == [("A", "1"), ("A", "2"), ("B", "3"), ("C", "")]


# --- assigning a whole mapping ---


def test_a_mapping_made_of_the_headers_keeps_the_lines_that_did_not_change():
    old = Headers([("Set-Cookie", "a=1, x"), ("Vary", "Accept"), ("set-cookie", "b=2"), ("Vary", "Cookie")])
    new = old.replaced({**old, "Vary": "Origin", "X-New": "1"})
    assert new.getlist("Set-Cookie") == ["a=1, x", "b=2"]
    assert new.getlist("Vary") == ["Origin"]
    assert new.getlist("X-New") == ["1"]


def test_pairs_are_taken_line_by_line():
    old = Headers([("A", "1"), ("A", "2")])
    assert list(old.replaced([("A", "1"), ("A", "2"), ("A", "3")]).items()) == [("A", "1"), ("A", "2"), ("A", "3")]


def test_a_mapping_in_another_case_keeps_its_lines_too():
    old = Headers([("Set-Cookie", "a"), ("Set-Cookie", "b")])
    assert old.replaced({"set-cookie": "a, b"}).getlist("Set-Cookie") == ["a", "b"]


def test_headers_are_replaced_by_headers_of_their_own():
    old, new = Headers({"A": "1"}), Headers([("B", "1"), ("B", "2")])
    replaced = old.replaced(new)
    assert list(replaced.items()) == [("B", "1"), ("B", "2")]
    replaced["B"] = "3"
    assert new.getlist("B") == ["1", "2"]


# --- copies, pickles, logs ---


def twice(headers):
    return pickle.loads(pickle.dumps(headers))


@pytest.mark.parametrize("again", [Headers, lambda headers: headers.copy(), copy.copy, copy.deepcopy, twice])
def test_a_copy_has_the_same_lines_and_is_apart(again):
    headers = Headers([("A", "1"), ("b", "2"), ("A", "3")])
    other = again(headers)
    assert type(other) is Headers
    assert list(other.items()) == list(headers.items())
    other.add("A", "4")
    assert headers.getlist("a") == ["1", "3"]
    with pytest.raises(ValueError, match="CR, LF or NUL"):
        other["A"] = "\n"


def test_what_was_received_can_be_pickled_whatever_it_is():
    received = Headers.received([("not a token", "1"), ("X", "a\r\n b"), ("Y", "€")])
    assert twice(received) == received


def test_a_pickle_that_somebody_has_forged_breaks_no_message():
    forged = pickle.dumps(Headers({"X-Name": "aXXb"})).replace(b"aXXb", b"a\r\nb")
    assert pickle.loads(forged)["X-Name"] == "a  b"


def test_logs_show_no_secret():
    headers = Headers([("Authorization", "s3cret"), ("X-API-Key", "s3cret"), ("Accept", "a"), ("Accept", "b")])
    assert headers.redacted(["x-api-key"]) == {
        "Authorization": REDACTED,
        "X-API-Key": REDACTED,
        "Accept": "a, b",
    }
    assert headers.redacted()["X-API-Key"] == "s3cret"
    assert repr(Headers({"Cookie": "s3cret", "A": "1"})) == "<Headers {'Cookie': '[redacted]', 'A': '1'}>"
    assert all(type(name) is str for name in headers.redacted())


# --- against a list of pairs ---

names = st.sampled_from(["a", "A", "b", "X-Long-Name", "x-long-name", "Cookie", "cookie", "!"])
values = st.sampled_from(["", "1", "2", "1, 2", "a=b", "grün", "\t"])
lines = st.lists(st.tuples(names, values), max_size=6)
kinds = st.sampled_from([dict, list, MultiDict, Headers, iter, tuple])


class Model:
    """A list of pairs, and the plainest code that does what Headers say they do."""

    def __init__(self, lines):
        self.lines = list(lines)

    def of(self, name):
        return [value for each, value in self.lines if each.lower() == name.lower()]

    def set(self, name, values):
        """Put the lines at the place of the first one there was, else at the end."""
        at = [i for i, (each, _) in enumerate(self.lines) if each.lower() == name.lower()]
        rest = [line for i, line in enumerate(self.lines) if i not in at]
        start = at[0] if at else len(rest)
        self.lines = [*rest[:start], *((name, value) for value in values), *rest[start:]]

    def remove(self, name):
        self.lines = [line for line in self.lines if line[0].lower() != name.lower()]


def joined(name, lines):
    return ("; " if name.lower() == "cookie" else ", ").join(lines)


def same(headers, model):
    assert len(headers) == len(model.lines)
    assert {name.lower() for name in headers} == {name.lower() for name, _ in model.lines}
    for name in ["a", "b", "x-long-name", "cookie", "!"]:
        assert headers.getlist(name) == model.of(name)
        assert (name in headers) is bool(model.of(name))
        assert headers.get(name) == (joined(name, model.of(name)) if model.of(name) else None)


@given(lines, names, values)
def test_set_add_and_delete_are_those_of_a_list_of_pairs(lines, name, value):
    headers, model = Headers(lines), Model(lines)
    assert list(headers.items()) == model.lines
    headers[name] = value
    model.set(name, [value])
    same(headers, model)
    headers.add(name, "again")
    model.lines.append((name, "again"))
    same(headers, model)
    assert headers.pop(name) == joined(name, model.of(name))
    model.remove(name)
    same(headers, model)


@given(lines, lines, kinds)
def test_extend_update_and_merge_are_those_of_a_list_of_pairs(lines, more, kind):
    given = dict(more) if kind is dict else more
    plain = list(given.items()) if kind is dict else given

    headers, model = Headers(lines), Model(lines)
    headers.extend(kind(given))
    model.lines += plain
    assert list(headers.items()) == model.lines

    headers, model = Headers(lines), Model(lines)
    headers.merge(kind(given))
    model.lines += [(name, value) for name, value in plain if not Model(lines).of(name)]
    same(headers, model)

    headers, model = Headers(lines), Model(lines)
    headers.update(kind(given))
    for name in dict.fromkeys(name.lower() for name, _ in plain):
        model.set(name, Model(plain).of(name))
    same(headers, model)


@given(lines)
def test_assigning_the_headers_as_a_dict_changes_nothing(lines):
    headers = Headers(lines)
    for again in (dict(headers), {**headers}, list(headers.items()), headers):
        same(headers.replaced(again), Model(lines))


@given(lines, lines)
def test_assigning_a_dict_gives_what_the_dict_says(lines, more):
    new = Headers(lines).replaced(dict(more))
    for name, value in dict(more).items():
        if sum(name.lower() == other.lower() for other in dict(more)) == 1:
            assert new[name] == value
    assert {name.lower() for name in new} == {name.lower() for name, _ in more}


@given(lines)
def test_copies_and_pickles_are_equal(lines):
    headers = Headers(lines)
    assert headers == headers.copy() == twice(headers) == Headers(headers)
    assert list(twice(headers).items()) == lines


# --- the small functions ---


def test_checks_return_what_they_let_through():
    assert check_name("A") == "A"
    assert check_value("A", "b") == "b"
    assert checked({"A": "b"}) == checked([["A", "b"]]) == checked(Headers({"A": "b"})) == [("A", "b")]


@pytest.mark.parametrize(
    ("content_type", "expected"),
    [
        ("text/html", "utf-8"),
        ("", "utf-8"),
        ("text/html; charset=ISO-8859-1", "iso8859-1"),
        ("text/html;charset=latin-1", "iso8859-1"),
        ('text/html; boundary=x; CharSet="windows-1252"', "cp1252"),
        ("text/html; charset='utf-16'", "utf-16"),
        ('text/html; title="a; charset=latin-1"; charset="utf-16"', "utf-16"),
        ('text/html; charset="latin-1', "iso8859-1"),
        ("text/html; charset=utf-8; charset=latin-1", "utf-8"),
        ("text/html; charset=nonsense", "utf-8"),
        ("text/html; charset=", "utf-8"),
        ("text/html; charset", "utf-8"),
        ("text/html; charset=hex", "utf-8"),
        ("text/html; charset=zlib", "utf-8"),
        ("text/html; charset=rot13", "utf-8"),
        ("text/html; charset=idna", "utf-8"),
        ("text/html; charset=punycode", "utf-8"),
        ("text/html; charset=unicode_escape", "utf-8"),
        ("text/html; charset=raw-unicode-escape", "utf-8"),
        ("text/html; charset=undefined", "utf-8"),
        ("text/html; charset=\xfftf-8", "utf-8"),
    ],
)
def test_the_charset_is_what_content_type_says_if_it_is_one(content_type, expected):
    assert charset(Headers({"Content-Type": content_type})) == expected


def test_a_charset_with_nul_is_none():
    headers = CIMultiDict({"Content-Type": "a/b; charset=a\0b"})
    assert charset(headers) == "utf-8"


@given(st.binary(max_size=30), st.text(st.characters(codec="latin-1", exclude_characters="\r\n\0"), max_size=20))
def test_whatever_the_charset_says_any_content_decodes(content, name):
    content.decode(charset(Headers({"Content-Type": f"a/b; charset={name}"})), "replace")


@pytest.mark.parametrize(
    "said", ["9" * 19, "0" * 5000, "9" * 5000, "-1", "+1", "1_0", " 1", "1 ", "\u0661", "\xb2", "5, 5", ""]
)
def test_what_cannot_be_counted_by_is_no_number(said):
    assert digits(said) is None


@given(st.integers(min_value=0, max_value=10**18 - 1))
def test_a_number_is_read_as_it_is_written(number):
    assert digits(str(number)) == number


def test_content_length_is_made_to_fit_where_there_is_one():
    headers = Headers({"Content-Length": "5"})
    fit_length(headers, 7)
    assert headers["Content-Length"] == "7"
    fit_length(headers, None)
    assert not headers
    fit_length(headers, 7)
    assert not headers


def test_a_name_of_many_kilobytes_is_checked_and_not_remembered():
    name = "X-" + "Long" * 20_000
    before = headers._is_token.cache_info().currsize
    fields = Headers({name: "1"})
    fields[name] = "2"
    assert fields[name] == "2"
    with pytest.raises(ValueError, match="is no header name"):
        fields[f"{name} "] = "1"
    assert headers._is_token.cache_info().currsize == before
    assert max(map(len, headers._known)) < headers.LONG

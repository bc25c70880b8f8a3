"""Lists and parameters (RFC 9110, 5.6)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from formation.http.lists import members, parameters, unquoted

CHARACTERS = st.text(st.sampled_from('ab,;="\\ q*01./\t'), max_size=80) | st.text(max_size=80)


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("", []),
        (" ,, ,", []),
        ("a,b , c", ["a", "b", "c"]),
        ('"a,b", c', ['"a,b"', "c"]),
        (r'"a\",b", c', [r'"a\",b"', "c"]),
        ('a="b, c', ["a=b", "c"]),  # it does not end
        (r"a\, b", ["a\\", "b"]),  # a backslash means nothing outside of quotes
    ],
)
def test_a_list_is_taken_apart_at_commas_that_are_not_quoted(value, found):
    assert members(value) == found


@pytest.mark.parametrize(
    ("member", "found"),
    [
        ("a", ("a", {})),
        ("", ("", {})),
        ("a; B = c ;d", ("a", {"b": "c", "d": ""})),
        ('a;b="c;d";e=f', ("a", {"b": "c;d", "e": "f"})),
        ("a;b=1;B=2", ("a", {"b": "1"})),
    ],
)
def test_a_member_has_a_name_and_parameters(member, found):
    assert parameters(member) == found


@pytest.mark.parametrize(("value", "text"), [('"a"', "a"), ('"', '"'), (r'"a\"\\"', 'a"\\'), ("", ""), ('""', "")])
def test_quotes_and_escapes_go(value, text):
    assert unquoted(value) == text


@given(CHARACTERS)
def test_nothing_that_a_client_writes_is_an_error(value):
    assert all(members(value))
    parameters(value)
    unquoted(value)


@pytest.mark.parametrize("pattern", ["{0}", '"{0}', '{0}"', "a;q={0}"])
@pytest.mark.parametrize("unit", ["a", '"', "\\", ",", ";", '\\"', '",', '";', " ", '"a'])
def test_a_mebibyte_is_read_in_no_time_to_speak_of(pattern, unit):
    value = pattern.format(unit * (2**20 // len(unit)))
    members(value)
    parameters(value)
    unquoted(value)

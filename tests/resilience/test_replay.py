import pytest
from hypothesis import given
from hypothesis import strategies as st

from formation.middleware.idempotency_key import _string
from formation.resilience.replay import LONGEST, digest, pack, read_key, unpack

TEXT = st.text(st.characters(codec="latin-1", exclude_characters="\r\n\0"))


@given(st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=LONGEST))
def test_a_key_in_quotes_as_the_client_half_writes_it_is_the_key(key):
    assert read_key([_string(key)]) == key


@pytest.mark.parametrize("line", ["7f3a", " 7f3a\t", '"7f3a"', '"7f3a";v=1', '"7f3a" ; v=1;w'])
def test_a_key_may_be_bare_or_a_string_of_structured_fields_with_parameters(line):
    assert read_key([line]) == "7f3a"


@pytest.mark.parametrize("key", ["x" * LONGEST, "order 7", "7,8", 'in"side'])
def test_what_is_no_string_is_taken_as_it_is(key):
    assert read_key([key]) == key


@pytest.mark.parametrize(
    "lines",
    [
        [""],
        [" "],
        ['""'],
        ['" "'],
        ['"7f3a'],
        ['"7"f"'],
        ['"7\\f"'],
        ['"7" 8'],
        ["x" * 256],
        ["\x7f"],
        ["ä"],
        ["1", "1"],
    ],
    ids=repr,
)
def test_what_is_no_key_is_refused(lines):
    with pytest.raises(ValueError, match="expected"):
        read_key(lines)


@pytest.mark.parametrize("line", ["s3cret" * 100, '"s3cret', "s3crät", '"s3cret" 8'])
def test_the_error_does_not_say_the_key(line):
    with pytest.raises(ValueError, match="expected a key") as raised:
        read_key([line])
    assert "s3cr" not in str(raised.value)


@given(st.lists(st.binary()), st.lists(st.binary()))
def test_different_parts_have_different_digests(one, other):
    assert (digest(*one) == digest(*other)) == (one == other)


@given(st.integers(200, 599), st.lists(st.tuples(st.sampled_from(["X-A", "ETag"]), TEXT)), st.binary())
def test_an_answer_comes_back_as_it_was(status, headers, content):
    assert unpack(pack(status, headers, content)) == (status, headers, content)


def test_what_is_of_one_connection_or_moment_or_secret_is_left_out():
    headers = [
        ("Content-Type", "text/plain"),
        ("Content-Length", "4"),
        ("Connection", "close, X-Hop"),
        ("X-Hop", "1"),
        ("Transfer-Encoding", "chunked"),
        ("Date", "Sun, 06 Nov 1994 08:49:37 GMT"),
        ("Set-Cookie", "session=s3cret"),
        ("ETag", '"a"'),
    ]
    assert unpack(pack(200, headers, b"")) == (200, [("Content-Type", "text/plain"), ("ETag", '"a"')], b"")

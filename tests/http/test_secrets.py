"""What is hidden without being told, and URLs in logs."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from formation.http import Headers
from formation.http.secrets import SECRETS, redact
from formation.http.url import merge_query


@pytest.mark.parametrize("name", ["token", "api_key", "apikey", "API-Key", "signature", "X-Amz-Signature", "sig"])
def test_parameters_that_are_named_like_secrets_are_hidden_without_being_told(name):
    assert redact(f"https://h/?{name}=s3cret&page=2") == f"https://h/?{name}=[redacted]&page=2"


def test_headers_that_are_named_like_secrets_are_not_shown():
    shown = repr(Headers({"X-Api-Key": "s3cret", "X-Auth-Token": "s3cret", "Accept": "text/html"}))
    assert "s3cret" not in shown
    assert "text/html" in shown


@pytest.mark.parametrize("name", ["page", "q", "key", "code", "state", "author", "etag", "accept", "x-request-id"])
def test_what_mostly_is_no_secret_is_shown(name):
    assert name not in SECRETS


def test_all_are_in_lower_case_for_names_are_compared_without_it():
    assert {name for name in SECRETS if name != name.casefold()} == set()


# --- URLs in logs ---


@pytest.mark.parametrize(
    ("url", "names", "shown"),
    [
        ("https://h/x?a=1", (), "https://h/x?a=1"),
        ("https://me:pw@h/x", (), "https://[redacted]@h/x"),
        ("https://me@h", (), "https://[redacted]@h"),
        ("https://a@b:c@h/x", (), "https://[redacted]@h/x"),
        ("//me:pw@h/x", (), "//[redacted]@h/x"),
        ("https://h/x@y//z@w?a=b@c", (), "https://h/x@y//z@w?a=b@c"),
        ("https://h:8443/x@y", (), "https://h:8443/x@y"),
        ("https://h:?x@y", (), "https://h:?x@y"),
        ("https://[::1]/x@y", (), "https://[::1]/x@y"),
        ("https://me:p/w#?@h/x", (), "https://[redacted]@h/x"),
        ("https://me:p@w/x", (), "https://[redacted]@w/x"),
        ("https://h?me:pw@x", (), "https://h?me:pw@x"),
        ("https://h/x?key=1&b=2", ["key"], "https://h/x?key=[redacted]&b=2"),
        ("https://h/x?b=2&key=1&key=2", ["key"], "https://h/x?b=2&key=[redacted]&key=[redacted]"),
        (
            "https://h/x?KEY=1&%6Bey=2&my+key=3",
            {"Key", "my key"},
            "https://h/x?KEY=[redacted]&%6Bey=[redacted]&my+key=[redacted]",
        ),
        ("https://h/x?key=a=b;c?d&e=f", ["key"], "https://h/x?key=[redacted]&e=f"),
        ("https://h/x?a=1;key=2&b", ["key"], "https://h/x?a=1;key=[redacted]&b"),
        ("https://h/x?a;key=2", ["key"], "https://h/x?a;key=[redacted]"),
        ("https://h/x?key", ["key"], "https://h/x?key"),
        ("https://h/x?key=", ["key"], "https://h/x?key=[redacted]"),
        ("https://h/x?monkey=1", ["key"], "https://h/x?monkey=1"),
        ("https://h/x?a=1#key=2&b=3", ["key"], "https://h/x?a=1#key=[redacted]&b=3"),
        ("https://h/#/cb?key=2", ["key"], "https://h/#/cb?key=[redacted]"),
        ("https://h/key=1", ["key"], "https://h/key=1"),
        ("https://me:pw@h/x?key=1", ["key"], "https://[redacted]@h/x?key=[redacted]"),
        ("no url @ all\n", ["key"], "no url @ all\n"),
        ("", ["key"], ""),
    ],
)
def test_a_url_in_a_log_tells_no_secret(url, names, shown):
    assert redact(url, names) == shown


pairs = st.lists(st.tuples(st.text(), st.text()), max_size=4)


@given(st.text(), st.lists(st.text()))
def test_any_text_can_be_redacted_and_stays_so(text, names):
    once = redact(text, names)
    assert redact(once, names) == once


@given(pairs, st.text(min_size=1), st.text(min_size=12))
def test_a_redacted_value_is_nowhere_in_the_log(query, name, secret):
    secret = f"S{secret.encode().hex()}"
    url = merge_query("https://h/x", [*query, (name, secret)])
    assert secret not in redact(url, [name])

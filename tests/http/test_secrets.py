import pytest

from formation.http import Headers
from formation.http.secrets import SECRETS
from formation.http.url import redact


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

"""What can be said about a client: what fits, what does not, and what an error says then."""

from http.cookiejar import CookieJar
from types import MappingProxyType

import pytest

from formation import compose
from formation.client.responses import json_response
from formation.client.settings import KNOWN, MAX_BODY, NAMES, Options, Settings, refuse_unknown
from formation.http import UNSET, Headers


def log(ctx, call):
    return call(ctx)


def test_nothing_has_to_be_said():
    settings = Settings()
    assert settings.base_uri is None
    assert settings.middleware == settings.per_hop == ()
    assert settings.response_as is settings.auth is settings.cookies is settings.endpoint is None
    assert settings.params_encoder is None
    assert settings.timeout is UNSET
    assert settings.headers == {}
    assert settings.max_body == MAX_BODY == 64 * 1024 * 1024
    assert settings.max_redirects == 10
    assert settings.allow_origins == frozenset()


@pytest.mark.parametrize(
    ("name", "value", "kept"),
    [
        ("base_uri", "https://h/v1", "https://h/v1"),
        ("base_uri", "http://127.0.0.1:80", "http://127.0.0.1:80"),
        ("base_uri", None, None),
        ("middleware", [log], (log,)),
        ("middleware", iter([log]), (log,)),
        ("middleware", [compose(log, log)], (log, log)),
        ("middleware", None, ()),
        ("per_hop", [log], (log,)),
        ("response_as", json_response, json_response),
        ("response_as", dict, dict),
        ("response_as", list[int], list[int]),
        ("response_as", int | None, int | None),
        ("timeout", 3, 3),
        ("timeout", 0.5, 0.5),
        ("timeout", (1, None), (1, None)),
        ("timeout", None, None),
        ("auth", ("me", "pw"), ("me", "pw")),
        ("auth", log, log),
        ("cookies", {"a": "1"}, {"a": "1"}),
        ("cookies", MappingProxyType({"a": "1"}), {"a": "1"}),
        ("headers", {"A": "1"}, Headers({"a": "1"})),
        ("headers", [("A", "1"), ("A", "2")], Headers([("A", "1"), ("A", "2")])),
        ("max_body", 0, 0),
        ("max_body", None, None),
        ("max_redirects", 0, 0),
        ("allow_origins", ["HTTPS://H:443/x", "http://h"], {"https://h", "http://h"}),
        ("params_encoder", log, log),
        ("endpoint", log, log),
    ],
)
def test_what_fits_is_kept(name, value, kept):
    assert getattr(Settings(**{name: value}), name) == kept


@pytest.mark.parametrize(
    ("name", "value", "error", "said"),
    [
        ("base_uri", "h/v1", ValueError, "absolute http or https URL"),
        ("base_uri", "ftp://h", ValueError, "absolute http or https URL"),
        ("base_uri", "https://", ValueError, "expected"),
        ("base_uri", "https://me:pw@h", ValueError, r"without user info, got 'https://\[redacted\]@h': use auth="),
        ("base_uri", "https://h#f", ValueError, "without a fragment"),
        ("base_uri", "https://h/a/../b", ValueError, "'.' and '..' segments"),
        ("base_uri", "https://h/\r\n", ValueError, "control characters"),
        ("base_uri", b"https://h", TypeError, "as a str"),
        ("middleware", [log, 3], TypeError, r"middleware\[1\] is no middleware"),
        ("middleware", log, TypeError, r"expected a list of middleware, got .*write \[log\]"),
        ("middleware", "log", TypeError, "expected a list of middleware"),
        ("middleware", ["log"], TypeError, r"middleware\[0\] is no middleware"),
        ("per_hop", [None], TypeError, r"middleware\[0\] is no middleware"),
        ("response_as", "json", TypeError, "a function of ctx or a type, got 'json'"),
        ("timeout", 0, ValueError, "timeout in seconds, above 0"),
        ("timeout", "3", ValueError, "timeout"),
        ("timeout", True, ValueError, "timeout"),
        ("timeout", (1, 2, 3), ValueError, "timeout"),
        ("timeout", float("nan"), ValueError, "timeout"),
        ("auth", "token", TypeError, r"\(user, password\) or a function of the request, got str"),
        ("auth", ["me", "pw"], TypeError, "got list"),
        ("auth", ("me",), TypeError, "got tuple"),
        ("auth", ("me", b"pw"), TypeError, "got tuple"),
        ("cookies", "a=1", TypeError, "a mapping, or a CookieJar"),
        ("cookies", [("a", "1")], TypeError, "a mapping, or a CookieJar"),
        ("headers", {"A": "1\r\nB: 2"}, ValueError, "CR, LF or NUL"),
        ("headers", {"A B": "1"}, ValueError, "no header name"),
        ("headers", {"A": 1}, TypeError, "expected a str as value"),
        ("max_body", -1, ValueError, "0 or more, got -1"),
        ("max_body", 1.5, ValueError, "got 1.5"),
        ("max_body", True, ValueError, "got True"),
        ("max_redirects", -1, ValueError, "got -1"),
        ("max_redirects", None, ValueError, "got None"),
        ("allow_origins", "https://h", TypeError, r"write \['https://h'\]"),
        ("allow_origins", ["h"], ValueError, "absolute URL"),
        ("params_encoder", "brackets", TypeError, "expected params_encoder as a function"),
        ("endpoint", "https://h", TypeError, "expected endpoint as a function"),
    ],
)
def test_what_does_not_fit_is_refused_at_once_with_what_would(name, value, error, said):
    with pytest.raises(error, match=said):
        Settings(**{name: value})


def test_a_jar_stays_the_callers_and_all_else_is_copied():
    jar, cookies, headers = CookieJar(), {"a": "1"}, Headers({"A": "1"})
    assert Settings(cookies=jar).cookies is jar
    settings = Settings(cookies=cookies, headers=headers)
    cookies["b"], headers["B"] = "2", "2"
    assert settings.cookies == {"a": "1"}
    assert settings.headers == {"A": "1"}


def test_secrets_are_not_in_the_repr():
    said = repr(Settings(auth=("me", "s3cret"), cookies={"a": "s3cret"}, headers={"X-Key": "s3cret"}))
    assert "s3cret" not in said


def test_settings_do_not_change():
    with pytest.raises(AttributeError):
        Settings().timeout = 3


def test_an_unknown_name_is_told_the_nearest_and_all_that_there_are():
    with pytest.raises(TypeError) as caught:
        refuse_unknown(["tiemout"], NAMES, "build()")
    assert str(caught.value).startswith(
        "build() got an unknown argument 'tiemout'; did you mean 'timeout'? It takes allow_origins, auth, base_uri, "
    )
    with pytest.raises(TypeError, match="unknown argument 'xyzzy'; It takes"):
        refuse_unknown(["xyzzy"], NAMES, "build()")
    refuse_unknown(["timeout"], NAMES, "build()")


def test_what_a_call_can_say_is_written_down_once():
    assert {"params", "path", "json", "without", "absolute", "stream", "expect", "response_as"} <= KNOWN
    assert set(Options.__annotations__) | {"stream", "expect", "response_as"} == KNOWN

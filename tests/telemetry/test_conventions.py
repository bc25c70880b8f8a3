import pytest

from formation.http import Request
from formation.telemetry.conventions import answered, asked
from formation.telemetry.measured import METHODS
from tests.middleware.worlds import on_server

SECRETS = frozenset({"sig"})


def client(url, method="GET", **more):
    return {"fmtn.side": "client", "fmtn.req.http": Request(method, url, template="/items/{id}"), **more}


def test_what_is_said_of_one_call_is_not_said_of_the_next():
    first = asked(client("https://h/items/1?sig=s", attempt=3), SECRETS, METHODS)
    first[1]["mine"] = "left behind"
    name, attributes, metered, of = asked(client("https://h/items/2"), SECRETS, METHODS)
    assert (name, of) == ("GET /items/{id}", "http.client")
    assert metered == {
        "http.request.method": "GET",
        "server.address": "h",
        "server.port": 443,
        "url.scheme": "https",
        "url.template": "/items/{id}",
    }
    assert attributes == {**metered, "url.full": "https://h/items/2"}
    assert first[1]["http.request.resend_count"] == 2


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://h", "https://h"),
        ("https://h?sig=s", "https://h?sig=REDACTED"),
        ("https://h/a?b=1&sig=s", "https://h/a?b=1&sig=REDACTED"),
        ("https://me:pw@h/a", "https://REDACTED:REDACTED@h/a"),
        ("https://h/a#sig=s", "https://h/a#sig=REDACTED"),
        ("/a", "/a"),
    ],
)
def test_a_url_has_no_secrets_wherever_they_stand(url, shown):
    assert asked(client(url), SECRETS, METHODS)[1]["url.full"] == shown


def test_names_that_the_call_adds_are_secrets_as_well():
    ctx = client("https://h/a?pin=1", **{"fmtn.sensitive": {"pin"}})
    assert asked(ctx, SECRETS, METHODS)[1]["url.full"] == "https://h/a?pin=REDACTED"


def test_two_words_that_are_no_methods_are_counted_as_one_and_told_apart_by_their_spans():
    found = [asked(client("https://h/a", method), SECRETS, METHODS) for method in ("BREW", "WHEN")]
    assert found[0][2] == found[1][2]
    assert [each[1]["http.request.method_original"] for each in found] == ["BREW", "WHEN"]


@pytest.mark.parametrize(("status", "is_failure"), [(200, False), (404, False), (500, True)])
def test_a_server_is_at_fault_from_500_on(status, is_failure):
    class Answer:
        status_code = status

    said, failed = answered(on_server(**{"fmtn.res.http": Answer()}), None)
    assert (said["http.response.status_code"], failed) == (status, is_failure)
    assert ("error.type" in said) == is_failure

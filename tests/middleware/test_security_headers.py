import inspect

import pytest
from hypothesis import given
from hypothesis import strategies as st

from formation import reply, wrap
from formation.http import Request
from formation.middleware import csp, exception_handler, security_headers
from tests.middleware.worlds import app, every_lift, every_world, on_server

SETTINGS = list(inspect.signature(security_headers).parameters)
EXPECTED = {
    "Content-Security-Policy": "default-src 'self'; base-uri 'self'; form-action 'self'; frame-ancestors 'none'; "
    "object-src 'none'; upgrade-insecure-requests",
    "Strict-Transport-Security": "max-age=31536000; includeSubDomains",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "deny",
    "X-Permitted-Cross-Domain-Policies": "none",
    "X-DNS-Prefetch-Control": "off",
    "Cache-Control": "no-store, max-age=0",
}


def as_dict(found):
    return {str(name): found.get(name) for name in found}


@every_world
def test_a_server_sends_them_all(world):
    sent = as_dict(world(security_headers(), on_server(), app())["fmtn.res.http"].headers)
    features = sent.pop("Permissions-Policy").split(", ")
    assert sent == EXPECTED
    assert {"camera=()", "geolocation=()", "microphone=()", "payment=()", "usb=()"} <= {*features}
    assert all(feature.endswith("=()") for feature in features)


@every_world
def test_what_the_app_says_itself_stays(world):
    own = {"content-security-policy": "default-src *", "Cache-Control": "public, max-age=60", "X-A": "1"}
    sent = world(security_headers(), on_server(), app(headers=own))["fmtn.res.http"].headers
    assert [sent.getlist(name) for name in own] == [[value] for value in own.values()]
    assert sent["X-Frame-Options"] == "deny"


@every_world
@pytest.mark.parametrize("name", SETTINGS)
def test_each_can_be_left_out_or_said_otherwise(world, name):
    header = name.replace("_", "-")
    assert header not in world(security_headers(**{name: None}), on_server(), app())["fmtn.res.http"].headers
    sent = world(security_headers(**{name: "else"}), on_server(), app())["fmtn.res.http"].headers
    assert sent[header] == "else"
    assert len(sent) == len(SETTINGS)


@every_world
def test_without_tls_nothing_is_said_about_it(world):
    sent = world(security_headers(), on_server(url="http://shop/"), app())["fmtn.res.http"].headers
    assert "Strict-Transport-Security" not in sent
    assert len(sent) == len(SETTINGS) - 1


@every_world
def test_an_answer_to_an_error_has_them_too(world):
    def fail(ctx):
        raise ValueError

    chain = wrap(fail, [exception_handler()])
    sent = world(security_headers(), on_server(), chain)["fmtn.res.http"].headers
    assert (sent["X-Content-Type-Options"], sent["Cache-Control"]) == ("nosniff", "no-store")


@every_world
def test_on_a_client_nothing_is_added(world):
    ctx = {"fmtn.side": "client", "fmtn.req.http": Request("GET", "https://h/")}
    assert world(security_headers(), ctx, lambda ctx: reply(ctx, 200))["fmtn.res.http"].headers == {}


@every_world
def test_passes_what_has_no_response_through(world):
    assert world(security_headers(), on_server(), lambda ctx: {"fmtn.side": "server"}) == {"fmtn.side": "server"}
    assert world(security_headers(), 42, lambda n: n + 1) == 43


@every_lift
def test_passes_a_function_through(lifted):
    assert lifted([security_headers()], len, "four")[0] == 4


@pytest.mark.parametrize(("value", "error"), [("a\r\nb", ValueError), (1, TypeError)])
@pytest.mark.parametrize("name", SETTINGS)
def test_refuses_wrong_settings_when_they_are_given(name, value, error):
    with pytest.raises(error):
        security_headers(**{name: value})


# --- csp ---


def of(name, value):
    """The directive that ``value`` makes."""
    strict = dict.fromkeys(["default_src", "base_uri", "form_action", "frame_ancestors", "object_src"])
    return csp(**{**strict, "upgrade_insecure_requests": None, name: value})


POLICIES = [
    ("self", "img-src 'self'"),
    ("'self'", "img-src 'self'"),
    ("self data:", "img-src 'self' data:"),
    (["self", "https://cdn.example.com"], "img-src 'self' https://cdn.example.com"),
    (("*.example.com", "blob:"), "img-src *.example.com blob:"),
    ([], "img-src 'none'"),
    ("", "img-src 'none'"),
    ("nonce-r4nd0m==", "img-src 'nonce-r4nd0m=='"),
    ("sha256-abc/+_-=", "img-src 'sha256-abc/+_-='"),
    ("unsafe-inline strict-dynamic report-sample", "img-src 'unsafe-inline' 'strict-dynamic' 'report-sample'"),
    ("selfish.example.com", "img-src selfish.example.com"),
    (True, "img-src"),
    (False, ""),
    (None, ""),
]


@pytest.mark.parametrize(("value", "expected"), POLICIES)
def test_a_directive_is_made_of_its_sources(value, expected):
    assert of("img_src", value) == expected


def test_a_directive_takes_the_place_of_the_strict_one_where_it_stands():
    assert csp(form_action="none", img_src="*") == (
        "default-src 'self'; base-uri 'self'; form-action 'none'; frame-ancestors 'none'; object-src 'none'; "
        "upgrade-insecure-requests; img-src *"
    )


def test_trusted_types_are_asked_for_in_quotes():
    assert of("require_trusted_types_for", "script") == "require-trusted-types-for 'script'"


def test_a_directive_that_there_is_not_is_refused_with_the_nearest():
    with pytest.raises(TypeError, match="there is no directive 'image_src': did you mean 'img_src'"):
        csp(image_src="*")
    with pytest.raises(TypeError, match=r"there is no directive 'xyz'$"):
        csp(xyz="*")


@pytest.mark.parametrize("value", [["self; script-src *"], ["a,b"], ["a b"], ["ä"], ["a\r\n"], [""], [1], "a;b", "ä"])
def test_a_source_that_would_end_the_directive_is_refused(value):
    with pytest.raises(ValueError, match="expected a source such as 'self'"):
        csp(img_src=value)


@given(st.lists(st.text(max_size=20), max_size=3))
def test_no_source_can_add_a_directive(sources):
    try:
        policy = of("img_src", sources)
    except ValueError:
        return
    assert policy.split(" ")[0] == "img-src"
    assert not {*policy} & {*";,\r\n"}


def test_bears_its_name():
    assert repr(wrap(lambda ctx: ctx, [security_headers()])) == "wrap(<lambda>, [security_headers])"

import pytest
from hypothesis import given
from hypothesis import strategies as st

from formation.dashboard.answers import answer
from formation.dashboard.guard import COOKIE, LASTS, PROXIED, Asked, check_token, is_local_host, refusal, set_cookie

TOKEN = b"a-long-secret-of-mine"
LOCAL = {"host": "localhost:8000"}
BEARER = {"authorization": f"Bearer {TOKEN.decode()}"}


def asked(path="/events", headers=LOCAL, peer="127.0.0.1", method="GET", **more):
    return Asked(method, path, peer, headers, **more)


def status(token=None, **of):
    return answer(asked(**of), token, 1000).status


@pytest.mark.parametrize("path", ["/", "/events", "/snapshot"])
@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:80", "127.0.0.1:8000", "127.1.2.3", "[::1]:8000"])
def test_without_a_token_this_machine_may_look(path, host):
    assert status(path=path, headers={"host": host}) == 200


@pytest.mark.parametrize("path", ["/", "/events", "/snapshot"])
@pytest.mark.parametrize("peer", ["192.0.2.1", "10.0.0.1", "2001:db8::1", "", "unix:", "127.0.0.1.example"])
def test_and_nobody_else(path, peer):
    assert status(path=path, peer=peer) == 403


@pytest.mark.parametrize(
    "host",
    ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "", "a@localhost", "1", "a:b:c", "[::1"],
)
def test_and_not_by_another_name_that_points_here(host):
    assert status(headers={"host": host}) == 403
    assert not is_local_host(host)


@pytest.mark.parametrize("name", PROXIED)
def test_and_not_through_a_proxy_whatever_that_says(name):
    assert status(headers={**LOCAL, name: "127.0.0.1"}) == 403


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
@pytest.mark.parametrize("token", [None, TOKEN])
def test_no_page_of_another_site_may_ask(site, token):
    headers = {**LOCAL, **BEARER, "sec-fetch-site": site}
    assert status(token, headers=headers) == (403 if token is None else 401)
    assert status(token, headers={**headers, "sec-fetch-site": "same-origin"}) == 200


@pytest.mark.parametrize("peer", ["127.0.0.1", "192.0.2.1"])
def test_with_a_token_whoever_has_it_may_look_and_nobody_else(peer):
    assert status(TOKEN, headers={**BEARER, "host": "shop.example"}, peer=peer) == 200
    assert status(TOKEN, headers={"authorization": BEARER["authorization"].lower()}, peer=peer) == 200
    for said in ("", "Bearer", "Bearer a", f"Bearer {TOKEN.decode()}x", f"Basic {TOKEN.decode()}", "Bearer ü"):
        assert status(TOKEN, headers={"authorization": said, **LOCAL}, peer=peer) == 401
    assert status(TOKEN, path="/", headers={}, peer=peer) == 200  # the page, which has no data in it


def test_a_token_in_the_url_is_none():
    assert status(TOKEN, path="/events?token=a-long-secret-of-mine") == 404


def test_a_login_gives_a_cookie_that_is_not_the_token():
    login = answer(asked(path="/login", headers=BEARER, mount="/ops/dash", is_tls=True), TOKEN, 1000)
    line = login.headers["Set-Cookie"]
    assert login.status == 204
    assert TOKEN.decode() not in line
    assert line.endswith("; Path=/ops/dash; Max-Age=43200; HttpOnly; SameSite=Strict; Secure")
    cookie = {"cookie": f"a=1; {line.partition(';')[0]}"}
    assert refusal(asked(headers=cookie), TOKEN, 1000 + LASTS - 1) == ""
    assert refusal(asked(headers=cookie), TOKEN, 1000 + LASTS)
    assert refusal(asked(headers=cookie), b"another-long-secret", 1000)


def test_a_login_without_the_token_gives_none():
    refused = answer(asked(path="/login"), TOKEN, 1000)
    assert (refused.status, "Set-Cookie" in refused.headers) == (401, False)
    assert refused.headers["WWW-Authenticate"] == 'Bearer realm="formation"'
    assert status(None, path="/login") == 404


@given(st.text())
def test_no_cookie_but_ours_is_good(text):
    assert refusal(asked(headers={"cookie": f"{COOKIE}={text}"}), TOKEN, 0)


def test_the_path_of_a_cookie_breaks_no_header():
    assert "; Path=/aSet-Cookieb;" in set_cookie(asked(mount="/a\r\nSet-Cookie: b;"), TOKEN, 0)
    assert "; Path=/;" in set_cookie(asked(mount=""), TOKEN, 0)


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "get"])
@pytest.mark.parametrize("path", ["/", "/events", "/snapshot", "/login"])
def test_it_can_be_looked_at_and_that_is_all(method, path):
    refused = answer(asked(path, BEARER, method=method), TOKEN, 0)
    assert (refused.status, refused.headers["Allow"]) == (405, "GET, HEAD")


@pytest.mark.parametrize("mount", ["", "/dash", "/a b", "//evil.example", "/x:y"])
def test_the_slash_at_the_end_is_added_and_leads_nowhere_else(mount):
    location = answer(asked("", mount=mount), None, 0).headers["Location"]
    assert location.startswith("./")
    assert location.endswith("/")
    assert "evil.example" not in location or location == "./evil.example/"


@pytest.mark.parametrize("path", ["/", "/events", "/snapshot", "/login", "/nothing", ""])
@pytest.mark.parametrize("token", [None, TOKEN])
def test_everything_says_that_it_is_not_to_be_kept_framed_or_guessed(path, token):
    headers = answer(asked(path, {**LOCAL, **BEARER}), token, 0).headers
    assert headers["Cache-Control"] == "no-store"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Content-Security-Policy"].startswith("default-src 'none'; ")
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]


@pytest.mark.parametrize("token", ["short", "with a space in it", "ünicode-is-not-it", "a" * 15, "line\nbreak-is-none"])
def test_refuses_a_token_that_is_no_secret_and_does_not_repeat_it(token):
    with pytest.raises(ValueError, match=r"secrets\.token_urlsafe") as refused:
        check_token(token)
    assert token not in str(refused.value)


def test_refuses_what_is_no_text():
    with pytest.raises(TypeError, match="expected token as text or None, got bytes"):
        check_token(TOKEN)

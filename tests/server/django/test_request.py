"""The request: what is changed is what the view gets."""

import pytest
from django.core.handlers.wsgi import WSGIHandler
from django.http import HttpResponse

from formation.server.django import request as django_request
from tests.django_site import stack
from tests.server.django.host import by_wsgi, later, ok, ours


def test_a_changed_header_is_the_views(world):
    def change(ctx, call):
        request = ctx["fmtn.req.http"]
        headers = ctx["fmtn.native"]["request"].headers
        assert (headers["X-Old"], ctx["fmtn.native"]["request"].COOKIES) == ("1", {"k": "v"})
        del request.headers["X-Old"]
        request.headers.add("X-New", "1")
        request.headers.add("x-new", "2")
        request.headers["Cookie"] = "k=w"
        request.headers["Accept"] = "text/plain"
        request.headers["Content-Type"] = "text/plain; charset=latin-1"
        return call(ctx)

    def view(request):
        assert ("X-Old" in request.headers, "HTTP_X_OLD" in request.META) == (False, False)
        assert (request.headers["X-New"], request.COOKIES) == ("1, 2", {"k": "w"})
        assert (request.accepts("text/plain"), request.accepts("text/html")) == (True, False)
        assert (request.content_type, request.encoding) == ("text/plain", "latin-1")
        return HttpResponse("seen")

    assert world.ask([ours(change)], view, headers={"X-Old": "1", "Cookie": "k=v"}).body == b"seen"


def test_a_name_of_many_kilobytes_is_read_and_not_remembered():
    name = "X-" + "Long" * 20_000

    def change(ctx, call):
        request = ctx["fmtn.req.http"]
        assert request.headers[name] == "1"
        request.headers["X-New"] = "1"
        return call(ctx)

    def view(request):
        assert (request.headers[name], request.headers["X-New"]) == ("1", "1")
        return HttpResponse("seen")

    before = django_request._key.cache_info().currsize
    with stack(ours(change), urls=view):
        assert by_wsgi(WSGIHandler(), headers={name: "1"}).body == b"seen"
    assert max(map(len, django_request._names)) < django_request.LONG
    assert django_request._key.cache_info().currsize - before <= 3  # Host, Cookie and X-New, at most


def test_what_a_client_calls_content_length_with_a_low_line_is_none():
    def look(ctx, call):
        assert "Content-Length" not in ctx["fmtn.req.http"].headers
        return call(ctx)

    with stack(ours(look), urls=ok):
        answer = by_wsgi(WSGIHandler(), HTTP_CONTENT_LENGTH="7")
    assert answer.body == b"ok"


def test_headers_that_nobody_changes_stay_as_they_are(world):
    same = []

    def look(ctx, call):
        headers = ctx["fmtn.native"]["request"].headers
        assert "x-a" in ctx["fmtn.req.http"].headers
        ctx = call(ctx)
        same.append(ctx["fmtn.native"]["request"].headers is headers)
        return ctx

    world.ask([ours(look)], headers={"X-A": "1"})
    assert same == [True]


def test_a_changed_url_is_the_one_that_is_routed(world):
    def change(ctx, call):
        request = ctx["fmtn.req.http"]
        assert ctx["fmtn.native"]["request"].GET["a"] == "1"
        request.url = "https://me@other/b%C3%A4?c=2"
        return call(ctx)

    def view(request, **path):
        return HttpResponse(f"{request.path} {dict(request.GET)} {request.build_absolute_uri()}")

    answer = world.ask([ours(change)], {"bä": later(view) if world.is_async else view}, "/a?a=1")
    assert answer.body.decode() == "/bä {'c': ['2']} https://other/b%C3%A4?c=2"


@pytest.mark.parametrize(
    ("path", "found"), [("/shop/b", ("/shop", "/b")), ("/shop", ("/shop", "/")), ("/shopping", ("", "/shopping"))]
)
def test_a_changed_path_is_below_the_script_or_there_is_none(path, found):
    def change(ctx, call):
        request = ctx["fmtn.req.http"]
        assert request.path == "/shop/a"
        request.url = f"http://testserver{path}"
        return call(ctx)

    seen = []

    def view(request):
        seen.append((request.META["SCRIPT_NAME"], request.path_info, request.path))
        return ok(request)

    with stack(ours(change), urls=view):
        by_wsgi(WSGIHandler(), "/a", SCRIPT_NAME="/shop")
    assert seen == [(*found, path)]


def test_a_changed_param_method_and_peer_are_the_views(world):
    def change(ctx, call):
        request = ctx["fmtn.req.http"]
        request.params["a"] = "2"
        request.method = "DELETE"
        request.peer = "10.0.0.1"
        return call(ctx)

    def view(request):
        return HttpResponse(f"{request.method} {request.GET['a']} {request.META['REMOTE_ADDR']}")

    assert world.ask([ours(change)], view, "/?a=1").body == b"DELETE 2 10.0.0.1"

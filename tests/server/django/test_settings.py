"""How it is named in the settings, and beside whom."""

import asyncio

import pytest
from django.core.asgi import get_asgi_application
from django.core.exceptions import ImproperlyConfigured, MiddlewareNotUsed
from django.core.handlers.asgi import ASGIHandler
from django.core.handlers.wsgi import WSGIHandler
from django.core.wsgi import get_wsgi_application

from formation import ambient, for_asgi, for_django, for_wsgi, reply
from formation.for_django import FormationMiddleware
from formation.middleware import request_id
from tests.django_site import stack
from tests.server.django.host import World, by_asgi, by_wsgi, fails, later, neighbour, ok, ours, plain


def safe_by_name(ctx, call):
    try:
        return call(ctx)
    except ValueError:
        return reply(ctx, 418)


def test_it_is_named_in_the_settings_by_the_class_and_its_list_stands_in_formation(world):
    answer = world.ask(
        ["formation.for_django.FormationMiddleware"],
        fails,
        FORMATION={
            "middleware": [request_id(), f"{__name__}.safe_by_name"],
            "catch": ["builtins.ValueError"],
            "max_body": 9,
        },
    )
    assert (answer.status, len(answer.lines("x-request-id"))) == (418, 1)


@pytest.mark.parametrize("said", [None, [], {}, {"middlewares": []}, {"middleware": [], "catches": []}])
def test_settings_that_do_not_say_it_are_refused(said):
    with (
        stack("formation.for_django.FormationMiddleware", **({} if said is None else {"FORMATION": said})),
        pytest.raises(ImproperlyConfigured, match=r'expected FORMATION = \{"middleware": \[...\]\} in the settings'),
    ):
        WSGIHandler()


def test_an_empty_list_leaves_the_layer_out():
    with pytest.raises(MiddlewareNotUsed):
        for_django.middleware([])(ok)
    assert World(is_async=False).ask([for_django.middleware([])]).status == 200


def test_neighbours_that_are_not_used_or_none_keep_their_meaning(world):
    def unused(get_response):
        raise MiddlewareNotUsed

    assert world.ask([unused, ours(), unused]).status == 200
    with pytest.raises(ImproperlyConfigured, match="returned None"):
        world.ask([ours(), lambda get_response: None])


def test_two_right_beside_each_other_are_one_chain(world):
    with stack(ours(plain), ours(request_id()), neighbour, ours(plain)):
        built = ASGIHandler() if world.is_async else WSGIHandler()
    outer = built._middleware_chain.__wrapped__
    assert [each.__name__ for each in outer.middleware] == ["plain", "request_id"]
    assert not isinstance(outer.get_response.__wrapped__, FormationMiddleware)


def test_two_beside_each_other_do_what_two_do(world):
    order = []

    def noting(name):
        def note(ctx, call):
            order.append(f"{name} in")
            ctx = call(ctx)
            order.append(f"{name} out")
            return ctx

        return note

    world.ask([ours(noting("a"), noting("b")), ours(noting("c"))])
    assert order == ["a in", "b in", "c in", "c out", "b out", "a out"]


def test_its_applications_can_be_wrapped_by_the_edges_of_their_protocols(world):
    """Outside and inside of Django there is one id, and clients in the view have it."""
    seen = []

    def view(request):
        seen.append((request.headers["X-Request-ID"], ambient.current.get().request_id))
        return ok(request)

    with stack(ours(request_id()), neighbour, urls=later(view) if world.is_async else view):
        if world.is_async:
            app = for_asgi.FormationMiddleware(get_asgi_application(), [request_id()])
            answer = asyncio.run(by_asgi(app))
        else:
            answer = by_wsgi(for_wsgi.FormationMiddleware(get_wsgi_application(), [request_id()]))
    assert [(*answer.lines("x-request-id"), *answer.lines("x-request-id"))] == seen

"""The colour of the stack: what Django is told, and that it puts no thread between."""

import asyncio
import itertools
import logging
import threading

import pytest
from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.http import HttpResponse
from django.test import AsyncClient, Client
from django.utils.deprecation import MiddlewareMixin

from formation.for_django import FormationMiddleware
from formation.middleware import request_id
from tests.django_site import stack
from tests.server.django.host import COMMON, World, later, neighbour, ok, ours, plain

SESSION = "django.contrib.sessions.middleware.SessionMiddleware"


class AsyncOnly:
    sync_capable = False
    async_capable = True

    def __init__(self, get_response):
        self.get_response = get_response
        markcoroutinefunction(self)

    async def __call__(self, request):
        return await self.get_response(request)


def sync_only(get_response):
    def middleware(request):
        return get_response(request)

    return middleware


@pytest.mark.parametrize("make", [ours, lambda: FormationMiddleware], ids=["function", "class"])
def test_the_factory_is_sync_capable_and_async_capable(make):
    factory = make()
    assert (factory.sync_capable, factory.async_capable) == (True, True)


def test_what_the_factory_makes_is_a_coroutine_function_exactly_when_get_response_is_one():
    sync, later_ = ours()(ok), ours()(later(ok))
    assert (iscoroutinefunction(sync), iscoroutinefunction(later_)) == (False, True)


def test_a_middleware_mixin_around_it_and_inside_of_it_sees_the_truth(world):
    """Ticket 34328: a class with an async call that is not marked breaks it."""
    modes = []

    class Mixin(MiddlewareMixin):
        def __init__(self, get_response):
            super().__init__(get_response)
            modes.append(self.async_mode)

        def process_response(self, request, response):
            assert isinstance(response, HttpResponse)
            return response

    assert world.ask([Mixin, ours(), Mixin]).status == 200
    assert modes == [world.is_async] * 2


def test_it_says_what_it_is_made_of():
    assert repr(ours(plain, request_id())(ok)) == "FormationMiddleware(ok, [plain, request_id])"


@pytest.mark.parametrize("client", [Client, AsyncClient])
@pytest.mark.parametrize("view", [ok, later(ok)], ids=["sync", "async"])
def test_all_120_orders_with_neighbours_of_every_colour_answer_200(view, client):
    async def get():
        return await AsyncClient().get("/")

    for order in itertools.permutations([ours(request_id()), SESSION, COMMON, AsyncOnly, sync_only]):
        with stack(*order, urls={"": view}):
            response = Client().get("/") if client is Client else asyncio.run(get())
        assert (response.status_code, "x-request-id" in response.headers) == (200, True), order


def where_it_runs():
    """Return layers and a view that note their threads, the loop's among them."""
    threads = []

    def here(ctx, call):
        threads.append(threading.get_ident())
        ctx = call(ctx)
        threads.append(threading.get_ident())
        return ctx

    def view(request):
        threads.append(threading.get_ident())
        return ok(request)

    return threads, here, view


def test_in_an_async_stack_nothing_is_adapted_and_all_runs_in_the_thread_of_the_loop(caplog):
    threads, here, view = where_it_runs()
    with caplog.at_level(logging.DEBUG, "django.request"):
        World(is_async=True).ask([neighbour, ours(here), neighbour, ours(here)], view, DEBUG=True)
    assert set(threads) == {threading.get_ident()}
    assert not [record for record in caplog.records if "adapted" in record.message]


def test_in_a_sync_stack_nothing_is_adapted_and_all_runs_in_the_thread_of_the_caller(caplog):
    threads, here, view = where_it_runs()
    with caplog.at_level(logging.DEBUG, "django.request"):
        World(is_async=False).ask([neighbour, ours(here), neighbour], view, DEBUG=True)
    assert set(threads) == {threading.get_ident()}
    assert not [record for record in caplog.records if "adapted" in record.message]


def test_a_plain_sync_middleware_of_django_is_adapted_there(caplog):
    """So the two tests above would see it."""
    with caplog.at_level(logging.DEBUG, "django.request"):
        World(is_async=True).ask([ours(), sync_only], DEBUG=True)
    assert [record for record in caplog.records if "adapted" in record.message]

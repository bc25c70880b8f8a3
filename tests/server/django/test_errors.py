"""Errors of views, of neighbours, and of the chain."""

import pytest
from asgiref.sync import async_to_sync, iscoroutinefunction
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpResponse
from django.test import AsyncClient, Client
from django.utils.decorators import sync_and_async_middleware
from django.utils.deprecation import MiddlewareMixin

from formation import reply
from formation.middleware import request_id, retry
from tests.django_site import stack
from tests.server.django.host import World, fails, later, neighbour, ok, ours, plain


class Hooked(MiddlewareMixin):
    """Notes each of its hooks; ``name`` is which one it is."""

    name = ""
    seen = ()

    def process_view(self, request, view, args, kwargs):
        self.seen.append(f"{self.name} view")

    def process_exception(self, request, exception):
        self.seen.append(f"{self.name} {exception!r}")

    def process_template_response(self, request, response):
        self.seen.append(f"{self.name} template")
        return response


def hooked(name, seen):
    return type("Hooked", (Hooked,), {"name": name, "seen": seen})


class Rendered(HttpResponse):
    def render(self):
        return self


def test_hooks_of_neighbours_run_once_each_inside_and_outside(world):
    seen = []
    world.ask([hooked("outer", seen), ours(), hooked("inner", seen)], lambda request: Rendered())
    assert seen == ["outer view", "inner view", "inner template", "outer template"]


def test_hooks_of_neighbours_hear_of_an_error_once_each_inside_and_outside(world):
    seen = []
    answer = world.ask([hooked("outer", seen), ours(), hooked("inner", seen)], fails)
    assert seen[2:] == ["inner ValueError('no')", "outer ValueError('no')"]
    assert answer.status == 500


def test_a_neighbour_that_answers_an_error_has_answered_it(world, reported):
    class Answers(MiddlewareMixin):
        def process_exception(self, request, exception):
            return HttpResponse("answered", status=503)

    seen = []
    answer = world.ask([Answers, ours(lambda ctx, call: seen.append(call(ctx)) or seen[0])], fails)
    assert (answer.status, answer.body, reported) == (503, b"answered", [])
    assert seen[0]["fmtn.res.http"].status_code == 503


def test_an_error_of_the_view_is_raised_where_the_chain_calls_and_may_be_answered(world):
    def safe(ctx, call):
        try:
            return call(ctx)
        except ValueError as error:
            return reply(ctx, 503, {"X-A": "1"}, str(error).encode())

    answer = world.ask([ours(plain, safe, plain)], fails)
    assert (answer.status, answer.lines("x-a"), answer.body) == (503, ["1"], b"no")


def test_an_async_def_catches_an_error_of_the_view():
    async def safe(ctx, call):
        try:
            return await call(ctx)
        except ValueError as error:
            return reply(ctx, 503, body=str(error).encode())

    assert World(is_async=True).ask([ours(plain, safe)], fails).body == b"no"


def test_an_error_that_nobody_answers_is_reported_once_and_answered_by_django(world, reported):
    passed = []

    def look(ctx, call):
        try:
            return call(ctx)
        except ValueError as error:
            passed.append(error)
            raise

    answer = world.ask([neighbour, ours(look), neighbour, ours(look, look), neighbour], fails, handler500=None)
    assert (answer.status, b"Server Error (500)" in answer.body) == (500, True)
    assert len(reported) == 1
    assert passed == reported * 3


def test_an_error_of_a_neighbour_inside_is_raised_there_too(world, reported):
    @sync_and_async_middleware
    def broken(get_response):
        def sync(request):
            raise KeyError("inside")

        return later(sync) if iscoroutinefunction(get_response) else sync

    caught = []

    def safe(ctx, call):
        try:
            return call(ctx)
        except KeyError as error:
            caught.append(error)
            return reply(ctx, 200)

    assert world.ask([ours(safe), neighbour, broken]).status == 200
    assert caught == reported


def test_an_error_that_a_neighbour_inside_has_turned_into_an_answer_is_over(world):
    @sync_and_async_middleware
    def comforts(get_response):
        async def later(request):
            await get_response(request)
            return HttpResponse("never mind")

        def sync(request):
            get_response(request)
            return HttpResponse("never mind")

        return later if iscoroutinefunction(get_response) else sync

    assert world.ask([ours(), comforts], fails).body == b"never mind"


@pytest.mark.parametrize(("error", "status"), [(Http404, 404), (PermissionDenied, 403)])
def test_what_django_answers_by_4xx_is_an_answer(world, error, status):
    def view(request):
        raise error

    answer = world.ask([ours(request_id())], view)
    assert (answer.status, len(answer.lines("x-request-id"))) == (status, 1)


def test_an_error_of_the_chain_is_reported_once_and_answered_by_django(world, reported):
    def broken(ctx, call):
        call(ctx)
        raise KeyError("after")

    answer = world.ask([ours(broken)])
    assert (answer.status, len(reported)) == (500, 1)
    assert isinstance(reported[0], KeyError)


def test_an_error_that_the_chain_turns_into_another_is_reported_as_both(world, reported):
    def turns(ctx, call):
        try:
            return call(ctx)
        except ValueError as error:
            raise KeyError("turned") from error

    assert world.ask([ours(turns)], fails).status == 500
    assert list(map(type, reported)) == [ValueError, KeyError]


def test_errors_are_raised_as_they_are_where_django_is_told_to_let_them_through(world):
    passed = []

    def look(ctx, call):
        try:
            return call(ctx)
        except ValueError as error:
            passed.append(error)
            raise

    get = async_to_sync(AsyncClient().get) if world.is_async else Client().get  # the ASGI handler leaves a file open
    with stack(ours(look), urls=fails, DEBUG_PROPAGATE_EXCEPTIONS=True), pytest.raises(ValueError, match="no"):
        get("/")
    assert len(passed) == 1


def test_a_second_call_is_a_second_run_of_the_view(world):
    runs = []

    def view(request):
        runs.append(1)
        if len(runs) < 3:
            raise ConnectionError
        return ok(request)

    answer = world.ask([ours(request_id(), retry(attempts=3, on=ConnectionError, sleep=lambda seconds: None))], view)
    assert (answer.status, len(runs)) == (200, 3)


class OutOfStock(Exception):
    """An error that is no failure."""


def sold_out(request):
    raise OutOfStock("none left")


def conflict(ctx, call):
    try:
        return call(ctx)
    except OutOfStock as error:
        return reply(ctx, 409, body=str(error).encode())


def test_an_error_that_is_caught_as_told_is_not_reported(world, reported):
    seen = []
    answer = world.ask([hooked("outer", seen), ours(conflict, catch=[OutOfStock]), hooked("inner", seen)], sold_out)
    assert (answer.status, answer.body, reported) == (409, b"none left", [])
    assert [each for each in seen if "Out" in each] == ["inner OutOfStock('none left')"]


def test_an_error_of_catch_that_nobody_answers_is_reported_once(world, reported):
    answer = world.ask([ours(plain, catch=[OutOfStock])], sold_out)
    assert (answer.status, list(map(type, reported))) == (500, [OutOfStock])


def test_other_errors_are_none_of_catch(world, reported):
    assert world.ask([ours(plain, catch=[OutOfStock])], fails).status == 500
    assert len(reported) == 1


def test_what_is_not_asked_for_is_not_registered():
    assert [name for name in dir(ours()(ok)) if name.startswith("process_")] == []
    assert callable(ours(catch=[OutOfStock])(ok).process_exception)

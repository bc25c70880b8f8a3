"""What is refused, and how it is said."""

import subprocess
import sys
from pathlib import Path

import pytest
from django.core.handlers.wsgi import WSGIHandler

from formation import for_django
from tests.django_site import stack
from tests.server.django.host import World, ours, plain


async def coloured(ctx, call):
    return await call(ctx)


def test_an_async_def_is_refused_in_a_sync_stack_when_django_builds_it():
    with (
        stack(ours(plain, coloured)),
        pytest.raises(TypeError, match=r"^middleware 'coloured' \(test_refused.py:\d+\) is async, and this stack of"),
    ):
        WSGIHandler()


def test_an_async_def_runs_in_an_async_stack():
    assert World(is_async=True).ask([ours(plain, coloured, plain)]).status == 200


@pytest.mark.parametrize("wrong", [plain, "shop.layers", [1], 1])
def test_a_list_that_is_none_is_refused_where_it_is_given(wrong):
    with pytest.raises(TypeError):
        for_django.middleware(wrong)


@pytest.mark.parametrize("wrong", [["ValueError"], [KeyboardInterrupt], [1]])
def test_a_catch_that_is_no_list_of_errors_is_refused_where_it_is_given(wrong):
    with pytest.raises(TypeError, match="expected classes of errors in catch"):
        for_django.middleware([plain], catch=wrong)


@pytest.mark.parametrize("wrong", [-1, True, "1"])
def test_a_max_body_that_is_no_number_of_bytes_is_refused_where_it_is_given(wrong):
    with pytest.raises(ValueError, match="expected max_body as a number of bytes, or None, got"):
        for_django.middleware([plain], max_body=wrong)


@pytest.mark.parametrize("wrong", [{}, {"fmtn.res.http": "no"}])
def test_a_chain_without_a_response_is_told_so(world, reported, wrong):
    assert world.ask([ours(lambda ctx, call: {**ctx, **wrong})]).status == 500
    assert "return call(ctx), or answer by reply(ctx, status)" in str(reported[0])


@pytest.mark.parametrize("wrong", [{}, 7])
def test_a_layer_that_calls_on_with_something_else_is_told_so(world, reported, wrong):
    assert world.ask([ours(lambda ctx, call: call(wrong))]).status == 500
    assert f"expected call(ctx) with the context that came, got {wrong}" in str(reported[0])


def test_a_layer_that_returns_something_else_is_told_so(world, reported):
    assert world.ask([ours(lambda ctx, call: 7)]).status == 500
    assert "expected a context with a response in 'fmtn.res.http', got 7" in str(reported[0])


def test_a_layer_that_forgets_its_return_is_named(world, reported):
    def forgets(ctx, call):
        call(ctx)

    assert world.ask([ours(plain, forgets)]).status == 500
    assert "middleware 'forgets' (2 of 2" in str(reported[0])


def test_without_django_it_says_what_to_install():
    code = (
        "import sys; sys.modules['django'] = None\n"
        "try:\n import formation.for_django\nexcept ImportError as error: print(error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        check=True,
        capture_output=True,
        text=True,
        cwd=Path(for_django.__file__).parents[1],
    )
    assert done.stdout == "Django is not installed: pip install 'formation[django]'\n"

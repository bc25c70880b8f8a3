import gc
from types import SimpleNamespace

import pytest

from formation import reply, wrap
from formation.dashboard import Dashboard
from formation.errors import BulkheadRejected, DeadlineExceeded
from formation.http import Request
from formation.middleware import cache, retry, watched
from formation.telemetry.meter import OUTCOMES, watch
from tests.middleware.worlds import app, every_lift, every_world, on_server


@pytest.fixture
def board():
    with Dashboard() as made:
        yield made
    assert not watch.is_on


def asked(**more):
    return {"fmtn.side": "client", "fmtn.req.http": Request("GET", "https://h/a?token=s3cret", **more)}


def counts(layer):
    return {name: count for name, count in zip(OUTCOMES, layer.meter.sums().outcomes, strict=True) if count}


@every_world
def test_counts_nothing_until_somebody_watches(world):
    layer = watched("api")
    out = world(layer, {"a": 1}, lambda ctx: ctx)
    assert (out, layer.meter.sums().calls, layer.meter.seconds()[-1]) == ({"a": 1}, 0, (0, 0))


@every_world
@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (lambda ctx: reply(ctx, 204), "ok"),
        (lambda ctx: reply(ctx, 404), "ok"),
        (lambda ctx: reply(ctx, 503), "failed"),
        (lambda ctx: reply(ctx, 200) | {"degraded": "stale"}, "degraded"),
        (lambda ctx: reply(ctx, 503) | {"fmtn.state": {"shed": "load_shed"}}, "rejected"),
        (OSError("no"), "failed"),
        (BulkheadRejected("full"), "rejected"),
        (DeadlineExceeded("late"), "deadline"),
        (KeyboardInterrupt(), "cancelled"),
    ],
    ids=["204", "404", "503", "stale", "shed", "OSError", "rejected", "late", "cancelled"],
)
def test_counts_what_comes_of_a_call(world, board, answer, outcome):
    def endpoint(ctx):
        if isinstance(answer, BaseException):
            raise answer
        return answer(ctx)

    layer = watched()
    out = world(layer, asked(), endpoint)
    assert (out is answer) == isinstance(answer, BaseException)
    assert counts(layer) == {outcome: 1}
    assert (layer.meter.under_way, layer.meter.name) == (0, "https://h")


@every_world
def test_an_example_says_no_path_no_query_and_no_text_of_an_error(world, board):
    def endpoint(ctx):
        raise OSError("s3cret of https://h/a?token=s3cret")

    layer = watched(now=lambda: 7.0)
    world(layer, asked(), endpoint)
    (sample,) = layer.meter.samples
    assert (sample.ended, sample.name, sample.status, sample.error) == (7.0, "GET https://h", None, "OSError")
    assert "s3cret" not in repr(sample)


@every_world
def test_knows_the_template_and_the_attempts(world, board):
    answers = [503, 200]

    def endpoint(ctx):
        return reply(ctx, answers.pop(0))

    layer = watched()
    again = retry(base=0)

    def both(ctx, call):
        return layer(ctx, lambda ctx: again(ctx, call))

    world(both, asked(template="/{a}"), endpoint)
    (sample,) = layer.meter.samples
    assert (sample.name, layer.meter.retries, [each[2] for each in sample.attempts]) == ("GET /{a}", 1, [503, 200])
    assert [(name, sums.calls) for name, sums in layer.meter.templates()] == [("/{a}", 1)]


@every_world
def test_knows_what_came_from_a_cache(world, board):
    layer, kept = watched(), cache(now=lambda: 1e9)

    def both(ctx, call):
        return layer(ctx, lambda ctx: kept(ctx, call))

    for _ in range(3):
        world(both, asked(), lambda ctx: reply(ctx, 200, {"Cache-Control": "max-age=60"}, b"a"))
    assert layer.meter.cache == [1, 2]


@every_world
def test_a_server_is_called_so(world, board):
    layer = watched()
    world(layer, on_server(), app())
    assert (layer.meter.name, layer.meter.side, counts(layer)) == ("server", "server", {"ok": 1})


@every_lift
def test_a_function_goes_by_its_name(lifted, board):
    layer = watched()
    assert lifted([layer], len, "four")[0] == 4
    assert (layer.meter.name, [name for name, _ in layer.meter.templates()]) == ("len", ["len"])


@every_world
def test_passes_what_is_no_context(world, board):
    assert world(watched(), 42, lambda n: n + 1) == 43


@every_world
def test_a_remote_call_goes_by_its_name(world, board):
    layer = watched()
    request = SimpleNamespace(name="/shop.Prices/Get", service="shop.Prices")
    world(layer, {"fmtn.req.rpc": request}, lambda ctx: ctx)
    assert (layer.meter.name, layer.meter.samples[0].name) == ("shop.Prices", "/shop.Prices/Get")


@every_world
def test_a_context_that_is_odd_is_no_reason_to_fail(world, board, caplog):
    layer = watched("odd")
    assert world(layer, {"fmtn.req.rpc": "odd"}, lambda ctx: ctx) == {"fmtn.req.rpc": "odd"}
    assert (layer.meter.under_way, layer.meter.sums().calls) == (0, 1)
    assert "could not tell what came of a call" in caplog.text


@every_world
@pytest.mark.parametrize("odd", [{"fmtn.state": {"cache": 7}}, {"fmtn.template": 7}, {"fmtn.attempts": [1, 2]}])
def test_what_others_have_put_there_is_not_taken_for_ours(world, board, odd):
    layer = watched("odd")
    assert world(layer, dict(odd), lambda ctx: ctx) == odd
    assert (layer.meter.cache, layer.meter.samples[0].attempts) == ([0, 0], ())


def test_an_error_is_not_held(board):
    class Failed(Exception):
        pass

    def endpoint(ctx):
        raise Failed

    chain = wrap(endpoint, [watched()])
    gc.disable()
    try:
        with pytest.raises(Failed):
            chain({})
        assert not [each for each in gc.get_objects() if type(each) is Failed]
    finally:
        gc.enable()


def test_refuses_a_name_that_is_none():
    with pytest.raises(TypeError, match="expected name as text"):
        watched(lambda ctx, call: ctx)


def test_bears_its_name():
    assert repr(wrap(lambda ctx: ctx, [watched("api")])) == "wrap(<lambda>, [watched])"

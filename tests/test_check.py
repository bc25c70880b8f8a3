import asyncio
import logging
import subprocess
import sys
import warnings
from graphlib import TopologicalSorter

import pytest

from formation import compose, lift, reply, wrap
from formation.check import OUTSIDE, StackWarning, check, faults
from formation.for_requests import build, client
from formation.http import Request
from formation.introspection import name_of
from formation.middleware import (
    bulkhead,
    chaos,
    circuit_breaker,
    deadline,
    exception_handler,
    fallback,
    idempotency_key,
    raise_for_status,
    request_id,
    retry,
    throttle,
    timeout,
    trigger_breaker_if,
)

QUIET = logging.getLogger("tests.quiet")
QUIET.setLevel(logging.CRITICAL + 1)
HASTY = {"base": 0, "throttled_base": 0, "logger": QUIET, "budget": None}


def named(name):
    """Make a middleware of that name that passes everything on."""

    def layer(ctx, call):
        return call(ctx)

    layer.__name__ = name
    return layer


def stack(*names):
    return [named(name) for name in names]


@pytest.mark.parametrize(("outer", "inner", "why"), OUTSIDE, ids=lambda value: value.replace(" ", "-")[:24])
def test_each_order_of_the_table_is_told_with_its_reason_and_the_other_way_round_it_is_fine(outer, inner, why):
    said = f"{outer} stands outside of {inner}: {why}"
    assert said in faults(stack(outer, inner))
    assert said in faults(stack(outer, "mine", inner, "timeout"))
    assert said not in faults(stack(inner, outer))


def test_the_table_does_not_contradict_itself():
    must_be_inside = TopologicalSorter()
    for outer, inner, _ in OUTSIDE:
        must_be_inside.add(outer, inner)
    order = list(must_be_inside.static_order())  # raises for a circle
    assert [fault for fault in faults(stack(*order)) if "multiply" not in fault] == []


def down(ctx):
    raise ConnectionError


def unavailable(ctx):
    return reply(ctx, 503)


async def slow(ctx):
    await asyncio.sleep(60)


def outcome(chain, ctx):
    """What a call came to, in whatever world."""
    try:
        out = chain(ctx)
        out = asyncio.run(out) if chain.is_async else out
    except Exception as error:  # noqa: BLE001  which one is what is asked
        return type(error).__name__
    response = out.get("fmtn.res.http")
    return "fine" if response is None else response.status_code


def counted(stack, endpoint, ctx=dict, calls=1):
    """How often the endpoint is asked, with what contexts, and what came of the calls."""
    seen = []

    def count(ctx, call):
        seen.append(dict(ctx))
        return call(ctx)

    chain = wrap(endpoint, [*stack, count])
    return seen, [outcome(chain, ctx()) for _ in range(calls)]


def request(method="GET"):
    return lambda: {"fmtn.side": "client", "fmtn.req.http": Request(method, "https://shop/")}


def asked():
    return {"fmtn.side": "server", "fmtn.req.http": Request("GET", "https://shop/")}


@pytest.mark.parametrize(("order", "times"), [("right", 2), ("wrong", 4)])
def test_a_breaker_outside_of_retry_lets_more_through_to_what_is_down(order, times):
    layers = [retry(2, **HASTY), circuit_breaker(QUIET, fail_max=2)]
    seen, _ = counted(layers if order == "right" else layers[::-1], down, calls=4)
    assert len(seen) == times


@pytest.mark.parametrize(("order", "times"), [("right", 2), ("wrong", 6)])
def test_a_fallback_inside_of_a_breaker_keeps_it_closed(order, times):
    layers = [fallback(None, logger=QUIET), circuit_breaker(QUIET, fail_max=2)]
    seen, _ = counted(layers if order == "right" else layers[::-1], down, calls=6)
    assert len(seen) == times


@pytest.mark.parametrize(("order", "times"), [("right", 3), ("wrong", 1)])
def test_a_fallback_inside_of_retry_leaves_it_nothing_to_retry(order, times):
    layers = [fallback(None, logger=QUIET), retry(**HASTY)]
    seen, _ = counted(layers if order == "right" else layers[::-1], down)
    assert len(seen) == times


@pytest.mark.parametrize(("order", "times"), [("right", 3), ("wrong", 1)])
def test_an_idempotency_key_inside_of_retry_comes_too_late_for_a_post(order, times):
    layers = [idempotency_key(), retry(**HASTY)]
    seen, _ = counted(layers if order == "right" else layers[::-1], unavailable, request("POST"))
    assert len(seen) == times
    assert len({ctx["fmtn.req.http"].headers["idempotency-key"] for ctx in seen}) == 1


@pytest.mark.parametrize(("order", "ids"), [("right", 1), ("wrong", 3)])
def test_a_request_id_inside_of_retry_is_another_one_for_each_attempt(order, ids):
    layers = [request_id(), retry(**HASTY)]
    seen, _ = counted(layers if order == "right" else layers[::-1], unavailable, request())
    assert len({ctx["req.id"] for ctx in seen}) == ids


@pytest.mark.parametrize(("order", "deadlines"), [("right", 1), ("wrong", 3)])
def test_a_deadline_inside_of_retry_is_another_one_for_each_attempt(order, deadlines):
    layers = [deadline(60), retry(**HASTY)]
    seen, _ = counted(layers if order == "right" else layers[::-1], down)
    assert len({ctx["fmtn.deadline"] for ctx in seen}) == deadlines


@pytest.mark.parametrize(("order", "waits"), [("right", 2), ("wrong", 0)])
def test_a_throttle_outside_of_retry_is_waited_for_once(order, waits):
    slept = []
    layers = [retry(**HASTY), throttle(0.001, logger=QUIET, sleep=slept.append)]
    counted(layers if order == "right" else layers[::-1], down)
    assert len(slept) == waits


@pytest.mark.parametrize(("order", "waits"), [("right", 0), ("wrong", 3)])
def test_a_throttle_outside_of_a_breaker_is_waited_for_in_vain(order, waits):
    slept = []
    layers = [circuit_breaker(QUIET, fail_max=1), throttle(0.001, logger=QUIET, sleep=slept.append)]
    counted(layers if order == "right" else layers[::-1], down, calls=4)
    assert len(slept) == waits


@pytest.mark.parametrize(("order", "times"), [("right", 2), ("wrong", 4)])
def test_a_timeout_outside_of_a_breaker_is_no_failure_to_it(order, times):
    layers = [circuit_breaker(QUIET, fail_max=2), timeout(0.001, logger=QUIET)]
    seen, _ = counted(layers if order == "right" else layers[::-1], slow, calls=4)
    assert len(seen) == times


@pytest.mark.parametrize(("order", "times"), [("right", 2), ("wrong", 4)])
def test_a_trigger_outside_of_a_breaker_does_not_trigger_it(order, times):
    layers = [circuit_breaker(QUIET, fail_max=2), trigger_breaker_if(lambda ctx: True)]
    seen, _ = counted(layers if order == "right" else layers[::-1], dict, calls=4)
    assert len(seen) == times


@pytest.mark.parametrize("limit", [timeout(0.001, logger=QUIET), deadline(0.001, logger=QUIET)], ids=name_of)
def test_a_time_limit_outside_of_the_exception_handler_is_answered_by_nobody(limit):
    layers = [exception_handler(logger=QUIET), limit]
    assert counted(layers, slow, asked)[1] == [504]
    assert counted(layers[::-1], slow, asked)[1][0] in {"AttemptTimeout", "DeadlineExceeded"}


def test_the_orders_that_the_middlewares_have_between_them_are_told():
    assert faults([circuit_breaker(), retry(), timeout(1)]) == [
        "circuit_breaker stands outside of retry: it counts calls, not attempts, so retries go on against what is down"
    ]
    assert [fault.partition(":")[0] for fault in faults([retry(), fallback("none"), bulkhead(), timeout(1)])] == [
        "retry stands outside of fallback"
    ]


def test_two_retries_multiply_and_so_does_a_hedge_with_one():
    for names in (("retry", "retry"), ("retry", "hedge"), ("hedge", "retry")):
        assert faults(stack(*names, "timeout")) == [
            f"{names[0]} stands outside of {names[1]}: their attempts multiply, three times three are nine"
        ]


def test_a_retry_without_a_time_for_each_attempt_is_told():
    said = "retry has no timeout inside: one attempt may take all the time there is, and leave none for another"
    assert faults([retry()]) == faults([deadline(30), retry()]) == [said]
    assert said in faults([timeout(1), retry()])
    assert faults([retry(), timeout(1)]) == []


@pytest.mark.parametrize(("total", "attempt"), [(10, 10), (5, 10), (0.5, (1, 2))])
def test_a_deadline_that_leaves_no_time_for_a_second_attempt_is_told(total, attempt):
    (said,) = faults([deadline(total), retry(), timeout(attempt)])
    seconds = attempt[1] if isinstance(attempt, tuple) else attempt
    assert said == (
        f"deadline({total}) ends the call before timeout({seconds}) ends an attempt: the timeout does nothing, "
        "and there is no second attempt"
    )


@pytest.mark.parametrize(
    "layers",
    [
        [deadline(10), retry(), timeout(3)],
        [deadline(None), retry(), timeout(3)],
        [deadline(1), retry(), timeout()],
        [deadline(1), retry(), timeout(None)],
        stack("deadline", "retry", "timeout"),
    ],
)
def test_nothing_is_told_of_seconds_that_fit_or_are_not_known(layers):
    assert faults(layers) == []


def test_chaos_that_is_not_innermost_is_told_with_what_it_does_not_meet():
    assert faults([chaos(), timeout(1), request_id()]) == [
        "chaos stands outside of timeout, request_id: what is inside never meets what it does"
    ]
    assert faults([timeout(1), chaos()]) == []


def test_an_order_is_told_once_however_often_it_is_there():
    assert len(faults(stack("bulkhead", "bulkhead", "retry", "bulkhead", "timeout"))) == 1


def test_names_are_enough_and_those_of_others_say_nothing():
    assert faults(stack("log", "auth", "log")) == []
    assert len(faults(stack("circuit_breaker", "retry", "timeout"))) == 1


def test_lists_tuples_chains_compositions_and_clients_are_looked_at():
    layers = [circuit_breaker(), retry(), timeout(1)]

    @client
    class Shop:
        base_uri = "https://shop"
        middleware = layers

    async def fetch(ctx):
        return ctx

    expected = faults(layers)
    assert expected
    for each in (
        tuple(layers),
        iter(layers),
        compose(*layers),
        [compose(circuit_breaker(), compose(retry())), timeout(1)],
        wrap(dict, layers),
        wrap(fetch, layers),
        lift(len, middleware=layers).chain,
        Shop,
    ):
        assert faults(each) == expected


@pytest.mark.parametrize("what", [None, 3, "retry", len])
def test_what_is_no_stack_is_refused(what):
    with pytest.raises(TypeError, match="expected a list of middleware, or what has one, got"):
        check(what)


def test_a_warning_comes_for_each_and_shows_the_line_of_who_asked():
    with pytest.warns(StackWarning) as said:
        check([circuit_breaker(), retry()])
    assert [str(warning.message).partition(":")[0] for warning in said] == [
        "circuit_breaker stands outside of retry",
        "retry has no timeout inside",
    ]
    assert {warning.filename for warning in said} == {__file__}


def test_wrap_checks_if_it_is_told_to_and_else_does_not():
    layers = [circuit_breaker(), retry(), timeout(1)]
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        wrap(dict, layers)
    assert said == []
    with pytest.warns(StackWarning, match="circuit_breaker stands outside of retry") as said:
        chain = wrap(dict, layers, check=True)
    assert [warning.filename for warning in said] == [__file__]
    assert chain({"a": 1})["a"] == 1


def test_wrap_looks_at_the_layers_of_a_chain_that_is_wrapped_again():
    inner = wrap(dict, [retry(), timeout(1)], check=True)
    with pytest.warns(StackWarning, match="bulkhead stands outside of retry"):
        wrap(inner, [bulkhead()], check=True)


def test_wrap_checks_an_async_chain():
    async def fetch(ctx):
        return ctx

    with pytest.warns(StackWarning, match="chaos stands outside of raise_for_status"):
        chain = wrap(fetch, [chaos(), raise_for_status()], check=True)
    assert asyncio.run(chain({"a": 1})) == {"a": 1}


def test_to_check_loads_no_middleware():
    code = (
        "import sys; from formation import wrap; wrap(dict, [], check=True); "
        "print([name for name in sys.modules if name.startswith(('formation.middleware', 'tenacity', 'structlog'))])"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=30)
    assert done.stdout.strip() == "[]"


# --- what is none, and clients ---


@pytest.mark.parametrize("stack", [[42], ["retry"], [None, retry()], [compose(retry()), 42], [retry]])
def test_what_is_no_middleware_is_refused(stack):
    with pytest.raises(TypeError, match=r"middleware\[\d\]"):
        check(stack)


def test_the_timeout_of_a_client_is_one():
    said = {"base_uri": "https://shop", "middleware": [retry()]}

    @client(timeout=3, **said)
    class Shop:
        pass

    @client(**said)
    class Patient:
        per_hop = None

    for stack in (Shop, Shop(), Shop(timeout=(1, 2)), Patient(timeout=3), build(**said, timeout=3)):
        assert faults(stack) == []
    for stack in (Patient, Patient(), Shop(timeout=None), build(**said), build(**said, timeout=(3, None))):
        assert [fault[:28] for fault in faults(stack)] == ["retry has no timeout inside:"]


def test_the_timeout_of_a_client_outdoes_that_of_the_middleware():
    stack = [deadline(5), timeout(1)]
    assert faults(stack) == []
    (fault,) = faults(build(base_uri="https://shop", middleware=stack, timeout=10))
    assert fault.startswith("deadline(5) ends the call before timeout(10) ends an attempt")


def test_what_a_client_does_at_each_hop_is_inside_of_the_rest():
    said = {"base_uri": "https://shop", "timeout": 3}
    assert faults(build(middleware=[retry()], per_hop=[circuit_breaker()], **said)) == []
    (fault,) = faults(build(middleware=[circuit_breaker()], per_hop=[retry()], **said))
    assert fault.startswith("circuit_breaker stands outside of retry")


def test_the_settings_of_an_instance_count():
    @client(base_uri="https://shop", middleware=[circuit_breaker(), retry()], timeout=3)
    class Shop:
        pass

    assert len(faults(Shop)) == 1
    assert faults(Shop(middleware=[])) == []

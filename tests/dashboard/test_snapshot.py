import gc
import json
import logging
from importlib import import_module

import pytest

from formation import lift, wrap
from formation.clock import Virtual
from formation.dashboard import Dashboard
from formation.dashboard.parts import MOST
from formation.errors import CircuitOpenError, FormationError
from formation.for_wsgi import FormationMiddleware
from formation.http import Request, Response
from formation.middleware import (
    adaptive_limit,
    bulkhead,
    circuit_breaker,
    client_throttle,
    hedge,
    retry,
    throttle,
    watched,
)
from formation.stacks import resilient
from formation.trace import trace

module = import_module("formation.dashboard.snapshot")  # the package has a function of that name
QUIET = logging.getLogger("tests.dashboard")
QUIET.setLevel("CRITICAL")


@pytest.fixture
def board():
    gc.collect()  # chains of other tests
    with Dashboard() as made:
        yield made


def shown(board, name):
    (found,) = [chain for chain in board.snapshot()["chains"] if chain["name"] == name]
    return found


def parts(board, name):
    return {part["kind"]: (part["name"], part["state"], part["says"]) for part in shown(board, name)["parts"]}


def fail(ctx):
    raise OSError("s3cret")


def test_shows_a_chain_as_long_as_it_lives(board):
    chain = wrap(lambda ctx: ctx, [watched("mine")])
    chain({})
    assert (shown(board, "mine")["calls"], shown(board, "mine")["layers"]) == (1, ["watched"])
    del chain
    gc.collect()
    assert "mine" not in [each["name"] for each in board.snapshot()["chains"]]


def test_chains_of_one_stack_are_one(board):
    stack = [watched("shared"), bulkhead()]
    chains = wrap(fail, stack), wrap(print, stack), wrap(print, [*stack, retry()])
    assert shown(board, "shared")["layers"] == ["watched", "bulkhead", "retry"]
    assert len(chains) == 3


def test_shows_the_parts_of_a_chain_that_is_not_counted_once(board):
    stack = [bulkhead(3, key=lambda ctx: "https://uncounted")]
    chains = wrap(lambda ctx: ctx, stack), wrap(print, stack)
    chains[0]({})
    found = [each for each in board.snapshot()["chains"] if str(each["parts"]).count("https://uncounted")]
    assert [(each["layers"], "rate" in each) for each in found] == [(["bulkhead"], False)]


def test_what_has_no_layers_is_not_shown(board):
    bare = wrap(fail, [])
    assert not [each for each in board.snapshot()["chains"] if not each["layers"]]
    assert bare.middleware == ()


def test_a_circuit_is_shown_as_it_stands(board):
    clock = Virtual(1)
    breaker = circuit_breaker(QUIET, fail_max=1, reset_timeout=60, clock=clock.monotonic)
    chain = wrap(fail, [watched("circuit"), breaker])
    assert "circuit_breaker" not in parts(board, "circuit")
    with pytest.raises(OSError, match="s3cret"):
        chain({})
    assert parts(board, "circuit")["circuit_breaker"] == ("", "bad", "open")
    with pytest.raises(CircuitOpenError):
        chain({})
    assert shown(board, "circuit")["outcomes"]["rejected"] == 1
    breaker.gates[None].close()
    assert parts(board, "circuit")["circuit_breaker"] == ("", "good", "closed")


def test_a_circuit_that_is_kept_elsewhere_is_not_asked(board):
    import pybreaker

    class Slow(pybreaker.CircuitMemoryStorage):
        @property
        def state(self):
            asked.append(1)
            return "closed"

    asked = []
    chain = wrap(lambda ctx: ctx, [watched("slow"), circuit_breaker(QUIET, state_storage=Slow("closed"))])
    chain({})
    number = len(asked)
    assert parts(board, "slow")["circuit_breaker"] == ("", "good", "kept elsewhere")
    assert len(asked) == number


def test_places_budgets_and_limits_are_shown_as_they_stand(board):
    seen = {}
    stack = [watched("full"), retry(1, logger=QUIET), hedge(60, logger=QUIET), throttle(10, 2, burst=2, logger=QUIET),
             client_throttle(logger=QUIET), adaptive_limit(4, logger=QUIET), bulkhead(1, logger=QUIET)]  # fmt: skip

    def look(ctx):
        seen.update(parts(board, "full"))
        seen["under_way"] = shown(board, "full")["under_way"]
        return ctx

    wrap(look, stack)({})
    assert seen == {
        "retry budget": ("", "good", "full"),
        "hedge budget": ("", "good", "full"),
        "throttle": ("", "good", "10 in 2 s"),
        "client_throttle": ("", "bad", "accepts 0% of 1"),
        "adaptive_limit": ("", "good", "1 of 4, found by itself"),
        "bulkhead": ("", "bad", "1 of 1"),
        "under_way": 1,
    }


def test_a_budget_that_is_used_up_is_bad(board):
    chain = wrap(fail, [watched("spent"), retry(2, base=0, budget=0.1, logger=QUIET)])
    for _ in range(12):
        with pytest.raises(OSError, match="s3cret"):
            chain({})
    assert parts(board, "spent")["retry budget"][1:] == ("bad", "used up")


def test_a_throttle_that_has_a_line_says_so(board):
    clock = Virtual(1)
    layer = throttle(1, logger=QUIET, clock=clock.monotonic, sleep=lambda seconds: None)
    chain = wrap(lambda ctx: ctx, [watched("line"), layer])
    for _ in range(3):
        chain({})
    assert parts(board, "line")["throttle"] == ("", "warn", "1 in a second; 2 wait")


def test_a_store_that_does_not_say_is_kept_elsewhere(board):
    class Store:
        def reserve(self, key, quota, patience):
            return 0.0, 1.0

        def give_back(self, key, quota, slot):
            pass

    chain = wrap(lambda ctx: ctx, [watched("store"), throttle(1, storage=Store(), logger=QUIET)])
    assert parts(board, "store")["throttle"] == ("", "good", "kept elsewhere")
    assert chain({}) == {}


def test_keys_that_are_no_origins_are_nobodys_business_and_there_are_so_many(board):
    stack = [watched("keys"), bulkhead(key=lambda ctx: ctx["tenant"], logger=QUIET)]
    chain = wrap(lambda ctx: ctx, stack)
    for number in range(MOST + 3):
        chain({"tenant": f"s3cret-{number}"})
    said = json.dumps(shown(board, "keys"))
    assert "s3cret" not in said
    assert [part["name"] for part in shown(board, "keys")["parts"]] == [
        *(f"key {number}" for number in range(1, MOST + 1)), "3 more"]  # fmt: skip


def test_attributes_of_others_mean_nothing_to_us(board):
    def mine(ctx, call):
        return call(ctx)

    mine.gates = mine.places = mine.budget = mine.turns = 7
    chain = wrap(lambda ctx: ctx, [watched("foreign"), mine])
    assert shown(board, "foreign")["parts"] == []
    assert chain({}) == {}


def test_no_secret_of_a_call_is_shown(board):
    def answer(ctx):
        ctx["fmtn.res.http"] = Response(500, {"Set-Cookie": "s3cret"}, b"s3cret")
        return ctx

    stack = [watched(), circuit_breaker(QUIET), bulkhead(logger=QUIET)]
    chain, traced = wrap(answer, stack), trace(wrap(answer, stack), on_trace=board.add)
    url, headers = "https://me:s3cret@h/s3cret?s3cret=s3cret#s3cret", {"Authorization": "s3cret", "Cookie": "s3cret"}
    for each in (chain, traced):
        each({"fmtn.side": "client", "fmtn.req.http": Request("POST", url, headers=headers, content=b"s3cret")})
    trace(wrap(fail, stack), on_trace=board.add)
    with pytest.raises(FormationError):
        raise FormationError
    said = json.dumps(board.snapshot())
    assert "s3cret" not in said
    assert "https://h" in said


def test_the_last_calls_are_waterfalls(board):
    answers = [OSError("s3cret"), 1]

    def unsure(ctx):
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return ctx

    again = retry(base=3, logger=QUIET, sleep=lambda seconds: None, random=lambda low, high: high)
    chain = wrap(unsure, [watched("unsure"), again])
    chain({})
    (waterfall,) = [each for each in board.snapshot()["waterfalls"] if each["chain"] == "unsure"]
    assert [(row["name"], row["depth"], row["error"]) for row in waterfall["rows"]] == [
        ("call", 0, None), ("attempt 1", 1, "OSError"), ("pause", 1, None), ("attempt 2", 1, None)]  # fmt: skip
    assert waterfall["rows"][2]["took"] == 3


def test_traces_are_waterfalls_with_a_row_for_each_pass(board):
    @lift(middleware=[retry(1, logger=QUIET), bulkhead(logger=QUIET)])
    def area(width, height):
        return width * height

    traced = trace(area, on_trace=board.add)
    assert traced(3, 4) == 12
    (waterfall,) = [each for each in board.snapshot()["waterfalls"] if each["chain"] == "traced"]
    assert waterfall["name"] == "area"
    assert [(row["name"], row["depth"]) for row in waterfall["rows"]] == [("retry", 0), ("bulkhead", 1), ("area", 2)]


def test_memory_and_the_page_are_bounded(board, monkeypatch):
    monkeypatch.setattr(module, "CHAINS", 5)
    chains = [wrap(lambda ctx: ctx, [watched(f"many {number} {'x' * 500}")]) for number in range(9)]
    for number, chain in enumerate(chains):
        for _ in range(number + 1):
            chain({})
    traced = trace(wrap(lambda ctx: ctx, [bulkhead(logger=QUIET)]), on_trace=board.add)
    for _ in range(50):
        traced({})
    said = board.snapshot()
    assert len(said["chains"]) == 5
    assert said["other"] >= 4
    names = {chain["name"].split()[1] for chain in said["chains"] if chain["name"].startswith("many")}
    assert names == {"4", "5", "6", "7", "8"}
    assert len(said["waterfalls"]) == module.WATERFALLS
    assert max(len(chain["name"]) for chain in said["chains"]) == module.NAME


def test_a_server_and_its_stack_are_one_chain(board):
    def app(environ, start_response):
        start_response("200 OK", [])
        return [b""]

    served = FormationMiddleware(app, middleware=resilient("server", logger=QUIET))
    environ = {"REQUEST_METHOD": "GET", "PATH_INFO": "/", "wsgi.url_scheme": "http", "SERVER_NAME": "h",
               "SERVER_PORT": "80", "QUERY_STRING": "", "SERVER_PROTOCOL": "HTTP/1.1"}  # fmt: skip
    list(served(environ, lambda *args: None))
    chain = shown(board, "server")
    assert (chain["side"], chain["calls"], chain["errors"]) == ("server", 1, 0.0)
    assert [part["kind"] for part in chain["parts"]] == ["adaptive_limit"]


def test_says_for_whom_it_is():
    with Dashboard() as one, Dashboard("a-long-secret-of-mine") as two:
        assert [repr(one), repr(two)] == ["<Dashboard for this machine>", "<Dashboard for whoever has the token>"]


def test_refuses_wrong_settings_when_they_are_given():
    with pytest.raises(ValueError, match="streams"):
        Dashboard(streams=0)

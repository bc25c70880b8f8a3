import asyncio
import gc
import logging
import multiprocessing
import os
import pickle
import random
import socket
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial

import pytest
import redis
import redis.asyncio
import trio

from formation import wrap
from formation.errors import StorageUnavailable
from formation.http import Request
from formation.middleware import circuit_breaker, idempotency, rate_limit, throttle
from formation.storage import Redis, Script, of
from formation.storage.names import LONGEST

ECHO = Script("return {KEYS[1], ARGV[1], redis.call('INCR', 'runs')}")
GET = Script("return redis.call('GET', KEYS[1])")


async def endpoint(ctx):
    return ctx


def asked(ask):
    """Call ``ask()`` in a plain middleware of an async chain."""

    def middleware(ctx, call):
        ctx["answer"] = ask()
        return call(ctx)

    async def run():
        return (await wrap(endpoint, [middleware])({}))["answer"]

    return run


def blocking(ask):
    return ask()


def awaited(ask):
    return asyncio.run(asked(ask)())


in_both = pytest.mark.parametrize("world", [blocking, awaited])


class Time:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@in_both
def test_a_command_is_answered_in_bytes_whatever_the_bytes(world, redis_server):
    storage = Redis(redis_server.url)
    value = bytes(range(256))
    assert world(lambda: storage.command("SET", storage.key("a"), value, "PX", 60_000)) is True
    assert world(lambda: storage.command("GET", storage.key("a"))) == value
    assert world(lambda: storage.command("GET", storage.key("b"))) is None
    assert redis_server.keys() == [b"formation:a"]


@in_both
def test_a_script_is_sent_by_its_digest_and_once_as_text(world, redis_server):
    storage = Redis(redis_server.url, prefix="shop:")
    for run in (1, 2, 3):
        assert world(lambda: storage.run(ECHO, [storage.key("x")], ["y"])) == [b"shop:x", b"y", run]
    calls = {name: said["calls"] for name, said in redis_server.client.info("commandstats").items()}
    assert calls["cmdstat_eval"] < calls["cmdstat_evalsha"]
    redis_server.client.script_flush()
    assert world(lambda: storage.run(ECHO, ["k"], [7])) == [b"k", b"7", 4]


@in_both
def test_clients_of_the_user_are_taken_with_their_settings_and_the_answer_is_bytes_all_the_same(world, redis_server):
    async def run(storage):
        return await asked(lambda: storage.command("GET", "k"))()

    redis_server.client.set("k", b"\xff")
    if world is blocking:
        with redis.Redis(port=redis_server.port, decode_responses=True) as client:
            assert of(client).command("GET", "k") == b"\xff"
            assert Redis(client).run(GET, ["k"]) == b"\xff"
    else:

        async def main():
            async with redis.asyncio.Redis(port=redis_server.port, decode_responses=True, protocol=3) as client:
                assert await run(Redis(client)) == b"\xff"
                storage = Redis(redis_server.client, async_client=client)
                assert storage.command("GET", "k") == await run(storage) == b"\xff"
                await storage.aclose()
                assert await client.ping()  # which is not ours to close

        asyncio.run(main())


def test_a_chain_for_which_there_is_no_client_is_refused_and_told_what_to_give(redis_server):
    with pytest.raises(TypeError, match=r"expected async_client for an async chain, next to .* or give a URL"):
        awaited(lambda: Redis(redis_server.client).command("PING"))
    with pytest.raises(TypeError, match=r"expected a blocking client for a sync chain, got .* give a URL"):
        Redis(redis.asyncio.Redis()).command("PING")


@pytest.mark.parametrize("storage", [7, None, object()], ids=repr)
def test_what_is_no_storage_is_refused(storage):
    with pytest.raises(TypeError, match="expected storage as a Redis or a URL such as 'redis://localhost:6379/0', got"):
        of(storage)
    with pytest.raises(TypeError, match=r"expected a URL such as .*, or a client of redis-py, got"):
        Redis(storage)


@pytest.mark.parametrize("settings", [{"timeout": 0}, {"pause": -1}, {"url": "http://h"}], ids=repr)
def test_what_cannot_be_is_refused_where_it_is_given(settings):
    with pytest.raises(ValueError, match=r"timeout|pause|URL"):
        Redis(**settings)


def test_a_storage_is_taken_as_it_is_and_a_url_makes_one():
    storage = Redis()
    assert of(storage) is storage
    assert repr(of("unix:///run/redis.sock?db=3")) == "Redis('/run/redis.sock/3')"
    assert repr(of("rediss://user:secret@h/2")) == "Redis('h:6379/2')"


def test_without_redis_py_it_says_what_to_install(monkeypatch):
    for name in ("redis", "redis.asyncio"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError, match=r"pip install 'formation\[redis\]'"):
        Redis()


def test_different_parts_have_different_names_and_none_is_long():
    storage = Redis()
    parts = ["a", "a|b", ("a", "b"), "!a", "1", 1, 1.0, True, None, "None", b"1", "", "é", "%C3%A9", "\ud800", "x y"]
    parts += ["x" * 101, "x" * 102, ("x" * 101,), "#" + "0" * 32]
    names = [storage.key("t", part) for part in parts] + [storage.key("t", "a", "b"), storage.key("t|a", "b")]
    assert len(set(names)) == len(names)
    assert all(name.isascii() and " " not in name.replace(", ", "") and len(name) < LONGEST + 20 for name in names)


def test_a_loop_that_something_blocks_for_longer_than_the_timeout_reads_the_answer_all_the_same(redis_server):
    storage = Redis(redis_server.url, timeout=5)

    async def main():
        loop = asyncio.get_running_loop()
        clock, blocked = loop.time, [0]
        loop.time = lambda: clock() + blocked[0]
        await asked(lambda: storage.command("PING"))()
        for turns in range(8):
            task = asyncio.create_task(asked(lambda: storage.command("PING"))())
            for _ in range(turns):
                await asyncio.sleep(0)
            blocked[0] += 60
            assert await task is True

    asyncio.run(main())


def test_a_loop_ends_soon_though_redis_hangs(fresh_redis_server):
    storage = Redis(fresh_redis_server.url)

    async def main():
        assert await asked(lambda: storage.command("PING"))() is True
        fresh_redis_server.pause()

    asyncio.run(main())


def test_a_password_is_not_shown(redis_server):
    storage = Redis(f"redis://anna:s3cret@127.0.0.1:{redis_server.port}/0")
    with pytest.raises(StorageUnavailable) as told:
        storage.command("PING")
    assert "s3cret" not in f"{storage!r} {told.value} {told.value.name} {told.value.__cause__!r}"
    assert pickle.loads(pickle.dumps(told.value)).why == told.value.why


def test_a_key_that_another_process_would_name_otherwise_is_refused():
    with pytest.raises(TypeError, match="the same name in every process"):
        Redis().key("t", ("a", object()))


@in_both
def test_an_argument_that_cannot_be_sent_is_the_callers_mistake(world, redis_server):
    storage = Redis(redis_server.url)
    with pytest.raises(TypeError, match="expected text, bytes and numbers"):
        world(lambda: storage.command("SET", "k", None))
    assert world(lambda: storage.command("GET", "k")) is None


@in_both
def test_an_error_of_redis_is_told_and_nobody_pauses_for_it(world, redis_server):
    storage = Redis(redis_server.url)
    redis_server.client.set("text", "x")
    for _ in range(2):
        with pytest.raises(StorageUnavailable, match=r"127.0.0.1:\d+/0 is not available: .*WRONGTYPE") as told:
            world(lambda: storage.command("LPUSH", "text", "x"))
        assert told.value.retry_after is None
    with pytest.raises(StorageUnavailable, match="No matching script"):
        world(lambda: storage.command("EVALSHA", "0" * 40, 0))
    assert world(lambda: storage.command("GET", "text")) == b"x"


@in_both
def test_a_redis_that_hangs_costs_one_timeout_a_pause_and_comes_back_by_itself(world, fresh_redis_server):
    time = Time()
    storage = Redis(fresh_redis_server.url, timeout=0.05, pause=10, clock=time)
    fresh_redis_server.client.set("k", "v")

    def unavailable():
        with pytest.raises(StorageUnavailable) as told:
            world(lambda: storage.command("GET", "k"))
        return told.value.why, told.value.retry_after

    fresh_redis_server.pause()
    why, retry_after = unavailable()
    assert "no answer in 0.05 s" in why or "Timeout" in why
    assert retry_after == 10
    time.now += 4
    assert [unavailable() for _ in range(3)] == [("it was not a moment ago", 6)] * 3
    time.now += 6
    assert unavailable()[1] == 10  # this one tried
    assert unavailable() == ("it was not a moment ago", 10)
    fresh_redis_server.go_on()
    assert unavailable()[0] == "it was not a moment ago"
    time.now += 10
    for _ in range(2):
        assert world(lambda: storage.command("GET", "k")) == b"v"


@in_both
def test_a_redis_that_is_gone_is_found_again_when_it_has_been_restarted(world, fresh_redis_server):
    time = Time()
    storage = Redis(fresh_redis_server.url, clock=time)
    run = 0
    for run in (1, 2):
        assert world(lambda: storage.run(ECHO, ["k"], ["v"])) == [b"k", b"v", run]
    fresh_redis_server.stop()
    for _ in range(2):
        with pytest.raises(StorageUnavailable):
            world(lambda: storage.run(ECHO, ["k"], ["v"]))
    time.now += 1
    fresh_redis_server.start()
    assert world(lambda: storage.run(ECHO, ["k"], ["v"])) == [b"k", b"v", 1]


def test_connections_that_redis_has_closed_while_they_lay_idle_are_no_failures(fresh_redis_server):
    storage = Redis(fresh_redis_server.url)

    async def run():
        await asyncio.gather(*[asked(lambda: storage.run(ECHO, ["k"], ["v"]))() for _ in range(5)])
        for again in range(5):
            fresh_redis_server.client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
            await asyncio.to_thread(fresh_redis_server.client.ping)
            assert await asked(lambda: storage.run(ECHO, ["k"], ["v"]))() == [b"k", b"v", 6 + again]

    asyncio.run(run())


def test_while_one_call_tries_again_the_others_do_not_wait_for_it(fresh_redis_server):
    time = Time()
    storage = Redis(fresh_redis_server.url, timeout=0.05, clock=time)
    fresh_redis_server.pause()
    with pytest.raises(StorageUnavailable):
        storage.command("PING")
    time.now += 1
    tries = []

    async def main():
        outcomes = await asyncio.gather(
            *(asked(lambda: storage.command("PING"))() for _ in range(20)), return_exceptions=True
        )
        tries.extend(outcome.why for outcome in outcomes)

    asyncio.run(main())
    assert tries.count("it was not a moment ago") == 19


def test_while_redis_hangs_the_loop_goes_on(fresh_redis_server):
    storage = Redis(fresh_redis_server.url, timeout=0.2)
    turns = []

    async def others(task):
        while not task.done():
            turns.append(1)
            await asyncio.sleep(0)

    async def main():
        fresh_redis_server.pause()
        task = asyncio.create_task(asked(lambda: storage.command("PING"))())
        await others(task)
        with pytest.raises(StorageUnavailable):
            await task

    asyncio.run(main())
    assert len(turns) > 100


def test_a_cancelled_command_leaves_nobody_the_answer_of_another(fresh_redis_server):
    storage = Redis(fresh_redis_server.url, timeout=20)
    chance = random.Random(7)
    for number in range(20):
        fresh_redis_server.client.set(f"k{number}", f"v{number}")
    outcomes = {"right": 0, "cancelled": 0}

    async def ask(number):
        for _ in range(20):
            assert await asked(lambda: storage.command("GET", f"k{number}"))() == b"v%d" % number
            outcomes["right"] += 1

    async def cancel_now_and_then(number):
        for _ in range(20):
            task = asyncio.create_task(ask(number))
            for _ in range(chance.randrange(12)):
                await asyncio.sleep(0)
            task.cancel()
            try:
                await task
            except asyncio.CancelledError:
                outcomes["cancelled"] += 1

    async def main():
        await asyncio.gather(*(cancel_now_and_then(number) for number in range(20)))
        await asyncio.gather(*(ask(number) for number in range(20)))
        return len(fresh_redis_server.client.client_list())

    connections = asyncio.run(main())
    assert outcomes["cancelled"] > 100
    assert outcomes["right"] >= 400
    assert connections < 60


def test_cancelled_while_redis_hangs_it_asks_again_on_another_connection(fresh_redis_server):
    storage = Redis(fresh_redis_server.url, timeout=20)
    fresh_redis_server.client.mset({"a": "A", "b": "B"})

    async def main():
        assert await asked(lambda: storage.command("GET", "a"))() == b"A"
        fresh_redis_server.pause()
        tasks = [asyncio.create_task(asked(lambda: storage.command("GET", "a"))()) for _ in range(5)]
        await asyncio.sleep(0.05)
        for task in tasks:
            task.cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
        assert {type(each) for each in ended} == {asyncio.CancelledError}
        fresh_redis_server.go_on()
        for _ in range(10):
            assert await asked(lambda: storage.command("GET", "b"))() == b"B"

    asyncio.run(main())


def test_a_chain_that_is_closed_while_redis_hangs_leaves_nothing(fresh_redis_server):
    storage = Redis(fresh_redis_server.url, timeout=20)

    async def main():
        fresh_redis_server.pause()
        chain = asked(lambda: storage.command("PING"))()
        task = asyncio.ensure_future(chain)
        await asyncio.sleep(0.05)
        fresh_redis_server.go_on()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await asked(lambda: storage.command("PING"))() is True

    asyncio.run(main())


def test_no_more_connections_are_made_than_may_be(fresh_redis_server):
    storage = Redis(fresh_redis_server.url, timeout=20)

    async def main():
        answers = await asyncio.gather(*(asked(lambda: storage.command("PING"))() for _ in range(200)))
        return answers, len(fresh_redis_server.client.client_list())

    answers, connections = asyncio.run(main())
    assert answers == [True] * 200
    assert connections <= 50 + 3
    with ThreadPoolExecutor(60) as pool:
        assert list(pool.map(lambda _: storage.command("PING"), range(200))) == [True] * 200
    assert len(fresh_redis_server.client.client_list()) <= 50 + 3
    storage.close()


def test_connections_are_closed_with_their_loop_and_when_one_says_so(fresh_redis_server):
    storage = Redis(fresh_redis_server.url)

    def connections():
        return len(fresh_redis_server.client.client_list())

    def until(wanted):
        while connections() != wanted:  # the server hears of it in its own time
            time.sleep(0.001)

    async def main():
        for _ in range(2):
            await asked(lambda: storage.command("PING"))()
            until(before + 1)
            await storage.aclose()
            await storage.aclose()
            until(before)
        await asked(lambda: storage.command("PING"))()
        until(before + 1)

    before = connections()
    asyncio.run(main())
    until(before)
    assert storage.command("PING") is True
    until(before + 1)
    storage.close()
    until(before)
    assert storage.command("PING") is True
    storage.close()


def test_loops_that_nobody_closed_properly_do_not_pile_up(redis_server):
    storage = Redis(redis_server.client, async_client=redis.asyncio.Redis(port=redis_server.port))
    for _ in range(5):
        loop = asyncio.new_event_loop()
        loop.run_until_complete(storage._loops.client(lambda: storage._async_client))
        loop.close()
    assert len(storage._loops) == 1
    gc.collect()


def test_each_thread_has_its_own_loop_and_all_have_the_same_storage(redis_server):
    storage = Redis(redis_server.url, timeout=20)
    answers = []

    def work():
        async def main():
            answers.extend([await asked(lambda: storage.command("INCR", "n"))() for _ in range(20)])

        asyncio.run(main())

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == list(range(1, 81))


def _in_child(storage, pipe):
    try:
        answers = [storage.command("INCR", "n") for _ in range(50)]
        answers += [awaited(lambda: storage.command("INCR", "n")) for _ in range(5)]
        pipe.send(answers)
    finally:
        os._exit(0)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_process_makes_connections_of_its_own(redis_server):
    storage = Redis(redis_server.url, timeout=20)
    answers = [storage.command("INCR", "n") for _ in range(5)]
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe()
    children = [context.Process(target=_in_child, args=(storage, there)) for _ in range(2)]
    for child in children:
        child.start()
    answers += [storage.command("INCR", "n") for _ in range(50)]
    for _ in children:
        answers += here.recv()
    for child in children:
        child.join()
    assert sorted(answers) == list(range(1, 166))
    storage.close()


def test_on_another_event_loop_than_asyncios_it_says_so(redis_server):
    storage = Redis(redis_server.url)
    with pytest.raises(RuntimeError, match="no event loop but asyncio's"):
        trio.run(asked(lambda: storage.command("PING")))


@pytest.mark.parametrize(
    "made", [partial(rate_limit, "9/s"), idempotency, partial(circuit_breaker, fail_max=1), partial(throttle, 1)]
)
def test_the_keys_of_a_middleware_begin_with_its_name(made, redis_server):
    keys = []

    def endpoint(ctx):
        keys.extend(redis_server.keys())
        raise ZeroDivisionError

    layer = made(storage=redis_server.client, logger=logging.getLogger("tests.silent"))
    request = Request("POST", "https://h/", headers={"Idempotency-Key": "7"}, peer="192.0.2.7")
    with pytest.raises(ZeroDivisionError):
        wrap(endpoint, [layer])({"fmtn.side": "server", "fmtn.req.http": request})
    (key,) = {*keys, *redis_server.keys()}
    assert key.startswith(f"formation:{layer.__name__}|".encode())


class Proxy:
    """A way to a server, on which what goes over a connection can be lost from now on, without a word."""

    def __init__(self, port):
        self.port, self.lost = port, 0
        self.sockets = []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"redis://127.0.0.1:{self.listener.getsockname()[1]}/0"
        self.threads = [threading.Thread(target=self.accept)]
        self.threads[0].start()

    def accept(self):
        with suppress(OSError):
            while True:
                client, _ = self.listener.accept()
                server = socket.create_connection(("127.0.0.1", self.port))
                number = len(self.sockets)
                self.sockets += [client, server]
                for way in ((client, server, number), (server, client, number)):
                    self.threads.append(threading.Thread(target=self.carry, args=way))
                    self.threads[-1].start()

    def carry(self, source, target, number):
        with suppress(OSError):
            while data := source.recv(65536):
                if number >= self.lost:
                    target.sendall(data)
            if number >= self.lost:
                target.shutdown(socket.SHUT_WR)

    def lose(self):
        self.lost = len(self.sockets)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        for each in (self.listener, *self.sockets):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
        for thread in self.threads:
            thread.join()


@pytest.mark.parametrize("is_async", [False, True], ids=["blocking", "awaited"])
def test_idle_connections_that_died_without_a_word_cost_one_timeout_together(is_async, redis_server):
    at = Time()

    def let_go():
        give_up = time.monotonic() + 10
        while redis_server.client.info("clients")["blocked_clients"] < 10 and time.monotonic() < give_up:
            pass
        redis_server.client.rpush("held", *range(10))

    with Proxy(redis_server.port) as proxy, ThreadPoolExecutor(11) as threads:
        storage = Redis(proxy.url, timeout=2, clock=at)

        def hold():
            return storage.command("BLPOP", "held", 60)

        def ping():
            return storage.command("PING")

        def ten_at_once():
            threads.submit(let_go)
            assert all(each.result() for each in [threads.submit(hold) for _ in range(10)])

        async def ten_tasks_at_once():
            threads.submit(let_go)
            assert all(await asyncio.gather(*(asked(hold)() for _ in range(10))))

        def blocks():
            ten_at_once()
            proxy.lose()
            with pytest.raises(StorageUnavailable):
                ping()
            at.now += 1
            assert ping()
            ten_at_once()

        async def awaits():
            await ten_tasks_at_once()
            proxy.lose()
            with pytest.raises(StorageUnavailable):
                await asked(ping)()
            at.now += 1
            assert await asked(ping)()
            await ten_tasks_at_once()

        asyncio.run(awaits()) if is_async else blocks()
        storage.close()

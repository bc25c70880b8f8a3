"""A client after a fork, and in one event loop after another: whose connections are whose.

Each case runs in a process of its own, without threads, where a fork does no harm to the tests.
"""

import json
import os
import subprocess
import sys
from textwrap import dedent

import pytest

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")

SYNC = """
def call(name):
    body, _, _ = sender.get("/echo/" + name)
    return tell(name, body)

def in_turn(*names):
    for name in names:
        call(name)

same = in_turn
close = sender.close
"""
ASYNC = """
import asyncio

async def main(*names):
    for name in names:
        body, _, _ = await sender.get("/echo/" + name)
        tell(name, body)

def in_turn(*names):
    asyncio.run(main(*names))

runner = asyncio.Runner()

def same(*names):
    runner.run(main(*names))

def close():
    runner.run(sender.close())
    runner.close()
"""
SCRIPT = """
import json, os, sys
from formation.{module} import {prefix}build, json_response

sender = {prefix}build(base_uri={url!r}, response_as=json_response, timeout=10)

def tell(name, body):
    assert body["path"] == "/echo/" + name, (name, body)
    os.write(1, json.dumps([name, body["connection"]]).encode() + b"\\n")  # at once: a fork copies what is buffered

def forked(work, *args, leave=os._exit):
    child = os.fork()
    if not child:
        try:
            work(*args)
            code = 0
        except BaseException:
            sys.excepthook(*sys.exc_info())
            code = 1
        leave(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0

{world}
{steps}
close()
"""


def told(edge, server, steps):
    """What ``steps`` have said: which call went over which connection."""
    if edge.app is not None:
        pytest.skip("there is no connection")
    script = SCRIPT.format(
        module=edge.module.__name__.rpartition(".")[2],
        prefix=edge.prefix,
        url=server.url,
        world=SYNC if edge.threads else ASYNC,
        steps=dedent(steps),
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-W", "ignore::ResourceWarning", "-c", script],
        check=False,
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return dict(map(json.loads, done.stdout.splitlines()))


LEAVE = {"at once": "os._exit", "as any process": "sys.exit"}


@pytest.mark.parametrize("leave", LEAVE.values(), ids=LEAVE)
def test_a_forked_child_has_connections_of_its_own_and_leaves_those_of_its_parent_alone(edge, server, leave):
    seen = told(
        edge,
        server,
        f"""
        same("parent 1")
        forked(in_turn, "child 1", "child 2", leave={leave})
        same("parent 2")
        forked(in_turn, "child 3", leave={leave})
        same("parent 3")
        """,
    )
    assert len(seen) == 6
    assert seen["parent 1"] == seen["parent 2"] == seen["parent 3"]
    assert seen["child 1"] == seen["child 2"]
    assert len({seen["parent 1"], seen["child 1"], seen["child 3"]}) == 3


def test_a_client_serves_a_child_of_multiprocessing_and_its_parent(edge, server):
    seen = told(
        edge,
        server,
        """
        from multiprocessing import get_context

        same("parent 1")
        workers = [get_context("fork").Process(target=in_turn, args=(f"child {n} 1", f"child {n} 2")) for n in "ab"]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
            assert worker.exitcode == 0
        same("parent 2")
        """,
    )
    assert seen["parent 1"] == seen["parent 2"]
    assert seen["child a 1"] == seen["child a 2"]
    assert len(set(seen.values())) == 3


def test_a_client_that_has_not_been_used_before_the_fork_has_nothing_to_share(edge, server):
    seen = told(edge, server, 'forked(in_turn, "child 1", "child 2")\nin_turn("parent 1", "parent 2")')
    assert seen["parent 1"] == seen["parent 2"] != seen["child 1"] == seen["child 2"]


def test_a_fork_in_the_middle_of_a_running_event_loop_does_no_harm(edge, server):
    if edge.threads:
        pytest.skip("a sync client needs no event loop")
    seen = told(
        edge,
        server,
        """
        async def forking():
            await main("parent 1")
            forked(in_turn, "child 1", "child 2")
            await main("parent 2")

        runner.run(forking())
        """,
    )
    assert seen["parent 1"] == seen["parent 2"] != seen["child 1"] == seen["child 2"]


def test_an_event_loop_that_a_child_has_inherited_is_refused(edge, server):
    if edge.threads:
        pytest.skip("a sync client needs no event loop")
    seen = told(
        edge,
        server,
        """
        def inherited():
            try:
                same("child 1")
            except RuntimeError as error:
                assert "event loop" in str(error), error
                assert "asyncio.run" in str(error), error
                in_turn("child 2")

        same("parent 1")
        forked(inherited)
        same("parent 2")
        """,
    )
    assert seen.keys() == {"parent 1", "child 2", "parent 2"}
    assert seen["parent 1"] == seen["parent 2"] != seen["child 2"]


def test_one_event_loop_after_another_has_a_pool_of_its_own(edge, server):
    if edge.threads:
        pytest.skip("a sync client needs no event loop")
    seen = told(edge, server, 'in_turn("first", "still first")\nin_turn("second")\nsame("third")\nin_turn("fourth")')
    assert seen["first"] == seen["still first"]
    assert len(set(seen.values())) == 4

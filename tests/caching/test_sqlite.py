import gc
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from formation.caching import sqlite
from formation.caching.sqlite import SWEEP, SQLiteStore
from formation.caching.store import REMEMBERED
from tests.caching.entries import entry

ROOT = Path(__file__).parents[2]

WRITER = """
import sys
from formation.caching.sqlite import SQLiteStore
from tests.caching.entries import entry
path, number = sys.argv[1:]
store = SQLiteStore(path, busy=10)
print("ready", flush=True)
sys.stdin.readline()
for each in range(200):
    body = f"{number} {each} ".encode() * 500
    store.put("a", entry(body, asked=float(each), vary=(("accept", number),)))
    store.put("same", entry(body, asked=float(each)))
    for found in store.get("same"):
        mine, at, _ = found.body.split(b" ", 2)
        assert found.body == b"%s %s " % (mine, at) * 500, found.body
        assert float(at) == found.requested_at
    print(each, flush=True)
"""


def writer(path, number):
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path), number],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "ready\n"
    return process


@pytest.fixture
def store(tmp_path):
    store = SQLiteStore(tmp_path / "cache.db")
    yield store
    store.close()


def test_an_entry_outlives_the_store(store, tmp_path):
    store.put("a", entry())
    store.close()
    other = SQLiteStore(tmp_path / "cache.db")
    assert other.get("a") == [entry()]
    other.close()
    assert store.get("a") == [entry()]


def test_two_processes_on_one_file_lose_nothing_of_each_other_and_read_nothing_half(store):
    writers = [writer(store.path, number) for number in "12"]
    for each in writers:
        each.stdin.write("\n")
        each.stdin.flush()
    for each in writers:
        each.communicate(timeout=60)
        assert each.returncode == 0
    assert sorted(each.body for each in store.get("a")) == [b"1 199 " * 500, b"2 199 " * 500]
    (last,) = store.get("same")
    assert last.requested_at == 199.0


def test_who_opens_a_new_file_waits_for_another_who_does(tmp_path, monkeypatch):
    path = tmp_path / "new.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as other, closing(SQLiteStore(path, busy=60)) as store:
        other.execute("BEGIN EXCLUSIVE")
        monkeypatch.setattr(sqlite.time, "sleep", lambda seconds: other.in_transaction and other.execute("COMMIT"))
        store.put("a", entry())
        assert store.get("a") == [entry()]


def test_but_no_longer_than_it_is_busy(tmp_path):
    path = tmp_path / "new.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as other, closing(SQLiteStore(path, busy=0)) as store:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            store.put("a", entry())
        other.execute("COMMIT")
        store.put("a", entry())
        assert store.get("a") == [entry()]


def test_a_process_that_is_killed_in_the_middle_leaves_a_file_that_works(store):
    process = writer(store.path, "1")
    process.stdin.write("\n")
    process.stdin.flush()
    for _ in range(20):
        process.stdout.readline()
    process.kill()
    process.communicate()
    for found in store.get("same"):
        assert found.body == found.body[: len(found.body) // 500] * 500
    store.put("a", entry(asked=1000.0))
    assert entry(asked=1000.0) in store.get("a")
    connection = sqlite3.connect(store.path)
    assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_child_after_a_fork_uses_the_file_by_itself(store):
    store.put("a", entry())
    child = os.fork()
    if child == 0:
        status = 1
        try:
            store.put("b", entry(b"child"))
            status = 0 if store.get("a") == [entry()] else 2
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert [each.body for each in store.get("b")] == [b"child"]
    store.put("c", entry())
    assert store.get("c")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_child_after_a_fork_does_not_close_what_is_its_parents_also_when_it_forgets_the_store(tmp_path):
    forgotten = SQLiteStore(tmp_path / "other.db")
    forgotten.put("a", entry())
    child = os.fork()
    if child == 0:
        status = 1
        try:
            del forgotten
            gc.collect()
            status = 0 if any(_is_of(each, tmp_path / "other.db") for each in sqlite._inherited) else 2
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert forgotten.get("a") == [entry()]


def _is_of(connection, path):
    return connection.execute("PRAGMA database_list").fetchone()[2] == str(path)


def test_a_writer_who_is_in_the_way_is_waited_for_only_shortly_and_readers_do_not_wait(store):
    store.put("a", entry())
    other = sqlite3.connect(store.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(sqlite3.OperationalError, match="locked"):
        store.put("b", entry())
    assert store.get("a") == [entry()]
    with pytest.raises(sqlite3.OperationalError, match="locked"):
        store.drop("a", 200.0)
    other.execute("COMMIT")
    other.close()
    store.drop("a", 200.0)
    assert store.get("a") == []


def test_what_somebody_else_has_written_into_the_file_is_no_entry(store):
    store.put("a", entry())
    connection = sqlite3.connect(store.path, isolation_level=None)
    for data in (b"\x80\x04N.", "text", 7, 1.5):
        connection.execute("UPDATE formation_cache SET data = ?", (data,))
        assert store.get("a") == []
    connection.close()


def test_the_oldest_go_when_there_is_too_much(tmp_path):
    store = SQLiteStore(tmp_path / "cache.db", max_bytes=SWEEP * 500)
    for number in range(SWEEP):
        store.put(str(number), entry(b"x" * 1000, asked=float(number)))
    left = [number for number in range(SWEEP) if store.get(str(number))]
    assert left
    assert left == list(range(left[0], SWEEP))
    assert len(left) < SWEEP / 2
    store.put("large", entry(b"x" * SWEEP * 500))
    assert store.get("large") == []
    store.close()


def test_drops_are_forgotten_in_the_end_also_where_nothing_is_put(store):
    for number in range(3 * SWEEP):
        store.drop(f"http://h/{number}", 1e9 + number * REMEMBERED)
    with closing(sqlite3.connect(store.path)) as beside:
        assert beside.execute("SELECT count(*) FROM formation_cache_dropped").fetchone()[0] <= SWEEP


def test_nobody_else_may_read_the_file(store):
    store.put("a", entry())
    if os.name == "posix":
        assert store.path.stat().st_mode & 0o777 == 0o600


def test_a_file_that_is_no_database_is_left_alone(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_bytes(b"not a database, but my notes\n" * 99)
    store = SQLiteStore(path)
    with pytest.raises(sqlite3.DatabaseError):
        store.get("a")
    assert path.read_bytes() == b"not a database, but my notes\n" * 99


@pytest.mark.parametrize("wrong", [{"max_bytes": 0}, {"max_bytes": "1"}, {"busy": -1}, {"busy": float("inf")}])
def test_a_number_that_is_none_is_refused(tmp_path, wrong):
    with pytest.raises(ValueError, match=f"expected {next(iter(wrong))}"):
        SQLiteStore(tmp_path / "cache.db", **wrong)


def test_it_says_where_it_is(tmp_path):
    assert repr(SQLiteStore(tmp_path / "cache.db")) == f"SQLiteStore({str(tmp_path / 'cache.db')!r})"

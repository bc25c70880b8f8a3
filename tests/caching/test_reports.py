"""What the cache says of itself, and to whom."""

import logging
import sys
from types import ModuleType

from structlog.testing import capture_logs

from formation import wrap
from formation.middleware import (
    cache,
)
from tests.caching.origins import Origin, fresh, get, told


def test_hits_are_told_to_who_has_set_up_logging(now, caplog):
    call = wrap(Origin(fresh(ETag='"1"'), (304, {}, b"")), [cache(now=now)])
    with capture_logs() as events:
        call(get())
        call(get())
        now.at += 61
        call(get())
    assert [(each["event"], each["log_level"]) for each in events] == [
        ("cache.miss", "debug"),
        ("cache.hit", "debug"),
        ("cache.revalidated", "debug"),
    ]
    with caplog.at_level(logging.DEBUG, logger="mine"):
        wrap(Origin(fresh()), [cache(now=now, logger=logging.getLogger("mine"))])(get())
    assert "cache.miss status=200 request='GET /tea'" in caplog.text


def test_while_another_thread_loads_structlog_hits_are_not_told(now, monkeypatch):
    monkeypatch.setitem(sys.modules, "structlog", ModuleType("structlog"))
    call = wrap(Origin(fresh()), [cache(now=now)])
    call(get())
    assert told(call(get()))[2] == "hit; ttl=60"

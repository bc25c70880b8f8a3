"""The demo: the story as it is told, and the dashboard that follows if somebody asks. test_examples.py runs it, too."""

import _thread
import http.client
import json
import random
import re
import socket
import sys
import time
from threading import Thread

import pytest

from formation.cli import main


@pytest.fixture(autouse=True)
def keep(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the proxies and the luck of other tests as they are."""
    monkeypatch.setenv("NO_PROXY", "")
    monkeypatch.setenv("no_proxy", "")
    monkeypatch.setattr(random, "seed", lambda seed: None)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


@pytest.mark.usefixtures("ctrl_c")
def test_the_demo_tells_its_story_and_then_shows_the_dashboard(capsys: pytest.CaptureFixture[str]) -> None:
    port, seen = free_port(), []

    def look() -> None:
        """Look until there have been calls, then press Ctrl-C."""
        try:
            while not any("/items/{number}" in json.dumps(each) for each in seen):
                connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
                try:
                    connection.request("GET", "/snapshot")
                    seen.append(json.load(connection.getresponse()))
                except ConnectionError:  # the demo has not begun
                    time.sleep(0.01)
                finally:
                    connection.close()
        finally:
            _thread.interrupt_main()

    looking = Thread(target=look)
    looking.start()
    try:
        assert main(["demo", "--dashboard", "--port", str(port)]) == 0
    finally:
        looking.join()
    told = capsys.readouterr().out
    assert re.findall(r"(?m)^\d\. ", told) == [f"{number}. " for number in range(1, 9)]
    for event in ("retry.scheduled", "timeout.attempt", "breaker.opened", "breaker.rejected", "breaker.half_open"):
        assert f" {event} " in told
    assert "breaker.closed" in told
    assert "It was asked once." in told
    assert "so the shop has one order." in told
    assert re.search(r"(?m)^    GET /prices +200 +cache +0 ", told)
    assert re.search(r"(?m)^    GET /items/\{number\} +CircuitOpenError +circuit_breaker +1 ", told)
    assert f"The dashboard is at http://127.0.0.1:{port}/ " in told


def test_a_port_that_is_taken_is_told_of(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert main(["demo", "--dashboard", "--port", str(port)]) == 2
    assert f"formation: the dashboard cannot have port {port}: " in capsys.readouterr().err


def test_what_the_demo_needs_is_told_where_it_is_missing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "formation.cli.demo", None)
    assert main(["demo"]) == 2
    assert "pip install 'formation[all]'" in capsys.readouterr().err

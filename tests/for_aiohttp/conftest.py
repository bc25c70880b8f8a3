"""Fixtures for aiohttp."""

import pytest


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch):
    """No proxy of this machine."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)

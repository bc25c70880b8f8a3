"""Fixtures for requests."""

import pytest
import requests

from formation.for_requests import Adapter


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch):
    """No proxy, bundle or .netrc of this machine."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "NETRC"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def mounted():
    """Sessions with an `Adapter` on both schemes."""
    sessions = []

    def mount(*middleware, **kwargs):
        session = requests.Session()
        for prefix in ("http://", "https://"):
            session.mount(prefix, Adapter(middleware, **kwargs))
        sessions.append(session)
        return session

    yield mount
    for each in sessions:
        each.close()


@pytest.fixture
def session():
    with requests.Session() as session:
        yield session

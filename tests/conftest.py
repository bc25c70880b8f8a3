"""Fixtures for all tests: servers on loopback, see ``servers.py``."""

import signal
import ssl
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
import trustme
from hypothesis import settings

from tests.redis_server import RedisServer
from tests.servers import Scripted, Server

settings.register_profile("formation", deadline=None)  # a law holds on a slow machine, too
settings.load_profile("formation")


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """A server with the routes of ``servers.py``."""
    with Server() as server:
        yield server


@pytest.fixture(scope="session")
def other_server() -> Iterator[Server]:
    """Another one: another origin."""
    with Server() as server:
        yield server


@pytest.fixture
def fresh_server() -> Iterator[Server]:
    """A server for one test, which can count the connections that are open."""
    with Server() as server:
        yield server


@pytest.fixture
def ctrl_c() -> Iterator[None]:
    """Let an interrupt be one also where the suite runs in the background, which ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="session")
def one_redis_server() -> Iterator[RedisServer]:
    """The Redis that tests share, one after the other."""
    with RedisServer() as server:
        yield server


@pytest.fixture
def redis_server(one_redis_server: RedisServer) -> RedisServer:
    """A Redis that knows nothing yet. It is stopped and paused by nobody."""
    one_redis_server.flush()
    return one_redis_server


@pytest.fixture
def fresh_redis_server() -> Iterator[RedisServer]:
    """A Redis for one test, which may stop it, start it, or make it hang."""
    with RedisServer() as server:
        yield server


@pytest.fixture(scope="session")
def ca() -> trustme.CA:
    """The authority that signs the certificate of ``tls_server``; nobody else trusts it."""
    return trustme.CA()


@pytest.fixture(scope="session")
def ca_file(ca: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Where its certificate is, for ``verify=``."""
    path = tmp_path_factory.mktemp("ca") / "ca.pem"
    ca.cert_pem.write_to_path(path)
    return str(path)


@pytest.fixture(scope="session")
def tls_server(ca: trustme.CA) -> Iterator[Server]:
    """A server with TLS; it is 127.0.0.1 and localhost, and takes client certificates of the same authority."""
    context = server_context(ca, "127.0.0.1", "localhost")
    ca.configure_trust(context)
    context.verify_mode = ssl.CERT_OPTIONAL
    with Server(context) as server:
        yield server


@pytest.fixture(scope="session")
def misnamed_server(ca: trustme.CA) -> Iterator[Server]:
    """A server with TLS whose certificate is for another host."""
    with Server(server_context(ca, "elsewhere.example")) as server:
        yield server


@pytest.fixture(scope="session")
def client_cert(ca: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Where a client's certificate and its key are."""
    path = tmp_path_factory.mktemp("client") / "client.pem"
    ca.issue_cert("client@test.example").private_key_and_cert_chain_pem.write_to_path(path)
    return str(path)


@pytest.fixture
def scripted() -> Iterator[Callable[..., Scripted]]:
    """Make servers that send what they are told: ``scripted(b"HTTP/1.1 200 OK…")``; closed after the test."""
    with ExitStack() as stack:

        def make(*answers: Any, **kwargs: Any) -> Scripted:
            return stack.enter_context(Scripted(*answers, **kwargs))

        yield make


def server_context(ca: trustme.CA, *names: str) -> ssl.SSLContext:
    """Make a context with a certificate for these names."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert(*names).configure_cert(context)
    return context

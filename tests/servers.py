"""Real servers on loopback for the tests: one that behaves, or misbehaves in every known way, and one that is scripted.

`Server` speaks HTTP/1.1 on sockets of its own, one thread for each connection, so that it can send what no framework
would. It is bounded in time, wherever it waits, and `close` ends every thread. The fixtures ``server``,
``other_server`` (another origin) and ``tls_server`` in ``conftest.py`` are for all tests; ``watch`` tells what one test
has sent::

    with server.watch() as seen:
        client.get("/echo/x")
    assert seen.requests[0].path == "/echo/x"
    assert seen.connections == 1

Routes; a number is decimal, seconds may be a fraction, and a query parameter has the default that stands here:

==============================  ====================================================================================
``/echo/…``                     JSON: method, target, path, query, headers, body, framing, connection
``/data?body=&type=``           that body with that content type; ``status=200``; the request's body if there is one
``/status/404``                 that status; ``Status 404`` as text; ``body=``; ``type=``
``/redirect/302?to=/echo``      that status, with ``to`` as its Location, byte for byte
``/hops/3``                     302 to ``/hops/2`` … ``/hops/0``, which is an echo
``/loop``                       302 to itself
``/cookies``                    JSON: the cookies of the request
``/cookies/set?a=1&b=2``        a Set-Cookie line for each; ``to=``: 302 to there
``/basic-auth/user/password``   200 or 401
``/respond?X-Name=value``       200 with these header fields
``/huge-headers?size=70000``    a header field of that size; ``count=1``: that many
``/bytes/1000``                 as many bytes, with Content-Length
``/chunks/10?size=10``          as many chunks
``/lines/3``                    as many lines of text, in chunks that do not end where lines do
``/gzip``, ``/deflate``         ``{"gzip": true}``, compressed; ``/gzip?broken=1``: garbage
``/bomb?size=100000000``        so many zero bytes as gzip, which is a thousandth of it
``/drip?count=20&delay=0.1``    a body byte by byte
``/drip-head?delay=0.1``        a head byte by byte, without end
``/slow?seconds=0.3``           waits before it answers
``/hang``                       no answer, ever
``/hang-body``                  a head and a part of the body, then nothing
``/close``                      ends the connection without a word; ``/reset``: resets it
``/close-mid-body``             ends it in the middle of the body; ``chunked=1``: of a chunked one
``/wrong-length?said=5&sent=9`` a body of another size than Content-Length says
``/bad-status-line``            what is not HTTP
``/early-hints?count=1``        as many 103, then the echo; ``status=103``
``/close-after``                an echo and ``Connection: close``
``/drop-idle``                  an echo, keep-alive, and ends the connection all the same
``/flaky/name?fail=2``          503 (``status=``; 0: the connection ends) twice for this name, then the echo
``/refuse``                     413 before the body of the request has come, and ends the connection
``/digest``                     JSON: size and sha256 of the body
==============================  ====================================================================================

A request whose target is an absolute URL is answered as if it were the path: the server can stand for a proxy;
``CONNECT`` makes a tunnel. A route that is not an echo, ``/data`` or ``/status`` does not know of HEAD.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import socket
import struct
import threading
import time
import zlib
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, ClassVar, Self
from urllib.parse import parse_qsl, unquote, unquote_to_bytes, urlsplit
from weakref import WeakValueDictionary

if TYPE_CHECKING:
    import ssl

LIMIT = 20.0
"""Seconds after which anything here gives up. A test that waits so long has failed."""

KEPT = 4 * 1024 * 1024
"""Bytes of a request's body that are kept; ``size`` and ``sha256`` are of all of it."""


@dataclass
class Seen:
    """A request as it came over the wire."""

    method: str
    target: str
    path: str
    query: list[tuple[str, str]]
    headers: list[tuple[str, str]]
    connection: int
    framing: str = "none"
    body: bytes = b""
    size: int = 0
    sha256: str = ""
    chunks: list[int] = field(default_factory=list)

    def header(self, name: str, default: str | None = None) -> str | None:
        """Return the last line of that name."""
        return {key.lower(): value for key, value in self.headers}.get(name.lower(), default)

    def arg(self, name: str, default: str = "") -> str:
        """Return a query parameter."""
        return dict(self.query).get(name, default)


@dataclass
class Watch:
    """What has come to a server since ``watch`` began."""

    requests: list[Seen] = field(default_factory=list)
    connections: int = 0


class Gone(Exception):
    """The client has closed the connection, or takes too long."""


class Connection:
    """One connection, read and written by one thread."""

    def __init__(self, sock: socket.socket, number: int) -> None:
        self.sock = sock
        self.number = number
        self.buffer = bytearray()
        self.keep = True

    def fill(self) -> None:
        """Read what comes next."""
        try:
            more = self.sock.recv(1 << 16)
        except OSError as error:
            raise Gone from error
        if not more:
            raise Gone
        self.buffer += more

    def until(self, mark: bytes) -> bytes:
        """Read up to ``mark`` and return what stands before it."""
        start = 0
        while (end := self.buffer.find(mark, start)) < 0:
            start = max(0, len(self.buffer) - len(mark))
            self.fill()
        found = bytes(self.buffer[:end])
        del self.buffer[: end + len(mark)]
        return found

    def take(self, size: int) -> Iterator[bytes]:
        """Read exactly ``size`` bytes, in pieces."""
        while size:
            if not self.buffer:
                self.fill()
            piece = bytes(self.buffer[:size])
            del self.buffer[: len(piece)]
            size -= len(piece)
            yield piece

    def send(self, data: bytes) -> None:
        """Send bytes."""
        try:
            self.sock.sendall(data)
        except OSError as error:
            raise Gone from error

    def wait(self, seconds: float = LIMIT) -> None:
        """Wait until the client goes, which raises, or so long."""
        self.sock.settimeout(seconds)
        try:
            if not self.sock.recv(1):
                raise Gone
        except TimeoutError:
            self.sock.settimeout(LIMIT)
        except OSError as error:
            raise Gone from error

    def request(self) -> Seen:
        """Read the head of the next request."""
        if not self.buffer:
            self.fill()
        if self.buffer[0] == 0x16:  # a client that wants to speak TLS
            self.send(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            raise Gone
        head = self.until(b"\r\n\r\n").decode("latin-1")
        first, *lines = head.split("\r\n")
        method, target, version = first.split(" ")
        headers = [(name, value.strip()) for name, _, value in (line.partition(":") for line in lines)]
        parts = urlsplit(target)
        query = parse_qsl(parts.query, keep_blank_values=True)
        seen = Seen(method, target, unquote(parts.path), query, headers, self.number)
        self.keep = version == "HTTP/1.1" and (seen.header("Connection") or "").lower() != "close"
        return seen

    def read_body(self, seen: Seen) -> None:
        """Read the body of the request."""
        length = int(seen.header("Content-Length") or 0)
        if (seen.header("Expect") or "").lower() == "100-continue":
            self.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        if (seen.header("Transfer-Encoding") or "").lower() == "chunked":
            seen.framing = "chunked"
            pieces = self.chunks(seen)
        elif length:
            seen.framing = "length"
            pieces = self.take(length)
        else:
            return
        digest, kept = hashlib.sha256(), []
        for piece in pieces:
            digest.update(piece)
            seen.size += len(piece)
            if seen.size <= KEPT:
                kept.append(piece)
        seen.body, seen.sha256 = b"".join(kept), digest.hexdigest()

    def chunks(self, seen: Seen) -> Iterator[bytes]:
        """Read a chunked body."""
        while size := int(self.until(b"\r\n").partition(b";")[0], 16):
            seen.chunks.append(size)
            yield from self.take(size)
            self.until(b"\r\n")
        while self.until(b"\r\n"):
            pass

    def head(
        self,
        status: int,
        headers: Iterable[tuple[str, str | bytes]] = (),
        reason: str | None = None,
        body: bytes = b"",
    ) -> None:
        """Send the head of a response, and, in the same packet, what there is of the body."""
        head = f"HTTP/1.1 {status} {_phrase(status) if reason is None else reason}".encode("latin-1")
        for name, value in headers:
            head += b"\r\n" + name.encode() + b": " + (value if isinstance(value, bytes) else value.encode("latin-1"))
        self.send(head + b"\r\n\r\n" + body)

    def chunk(self, piece: bytes) -> None:
        """Send a chunk, where the head has said so; the empty one is the last."""
        self.send(b"%x\r\n%b\r\n" % (len(piece), piece))

    def answer(
        self,
        seen: Seen,
        status: int = 200,
        body: bytes = b"",
        content_type: str = "text/plain; charset=utf-8",
        headers: Iterable[tuple[str, str | bytes]] = (),
    ) -> None:
        """Send a whole response; no body where there is none."""
        lines: list[tuple[str, str | bytes]] = []
        if status not in {204, 304}:
            lines += [("Content-Length", str(len(body))), ("Content-Type", content_type)]
        if not self.keep:
            lines.append(("Connection", "close"))
        bare = seen.method == "HEAD" or status in {204, 304}
        self.head(status, [*lines, *headers], body=b"" if bare else body)

    def answer_json(self, seen: Seen, value: Any, status: int = 200, **kwargs: Any) -> None:
        """Send JSON."""
        self.answer(seen, status, json.dumps(value).encode(), "application/json", **kwargs)


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Whatever"


Route = Callable[[Connection, Seen], object]


class _Listener:
    """A listening socket, and a thread for each connection that comes."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.listening = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.host, self.port = self.listening.getsockname()[:2]
        self.url = f"{'https' if tls else 'http'}://{self.host}:{self.port}"
        self.tls = tls
        self.changed = threading.Condition()
        self.open: dict[socket.socket, threading.Thread] = {}
        self.count = 0
        self.closing = False
        self.acceptor = threading.Thread(target=self._accept, name=f"accept {self.port}", daemon=True)
        self.acceptor.start()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self.listening.accept()
            except OSError:
                return
            sock.settimeout(LIMIT)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self.changed:
                if self.closing:
                    sock.close()
                    return
                self.count += 1
                thread = threading.Thread(
                    target=self._serve, args=(sock, self.count), name=f"serve {self.port}", daemon=True
                )
                self.open[sock] = thread
                self.accepted()
            thread.start()

    def accepted(self) -> None:
        """Count; called with the lock held."""

    def _serve(self, sock: socket.socket, number: int) -> None:
        used = sock
        try:
            if self.tls is not None:
                used = self.tls.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)
                with self.changed:  # wrapping has emptied the plain socket
                    self.open[used] = self.open.pop(sock)
                used.do_handshake()
            self.serve(Connection(used, number))
        except (Gone, OSError):
            pass
        finally:
            with suppress(OSError):
                used.shutdown(socket.SHUT_WR)  # what is on its way arrives even if the client goes on sending
            used.close()
            with self.changed:
                self.open.pop(used, None)
                self.changed.notify_all()

    def serve(self, connection: Connection) -> None:
        """Answer the requests of a connection."""
        raise NotImplementedError

    @property
    def connections(self) -> int:
        """How many connections are open now."""
        with self.changed:
            return len(self.open)

    def settles(self, connections: int = 0, seconds: float = 5.0) -> bool:
        """Wait until so many connections are open, and tell whether that came to be."""
        with self.changed:
            return self.changed.wait_for(lambda: len(self.open) == connections, seconds)

    def close(self) -> None:
        """End every connection and every thread."""
        with self.changed:
            self.closing = True
            threads = list(self.open.values())
            for sock in self.open:
                with suppress(OSError):
                    socket.socket.shutdown(sock, socket.SHUT_RDWR)  # wakes who waits for it
        with suppress(OSError):
            self.listening.shutdown(socket.SHUT_RDWR)
        self.listening.close()
        for thread in (self.acceptor, *threads):
            thread.join(LIMIT)
            assert not thread.is_alive(), f"{thread} does not end"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


class Server(_Listener):
    """The server with the routes above. ``routes`` takes more of them: the first segment, to a function."""

    running: ClassVar[WeakValueDictionary[int, Server]] = WeakValueDictionary()
    """By their ports, for `tests.apps`."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.watches: list[Watch] = []
        self.routes: dict[str, Route] = dict(ROUTES)
        self.calls: dict[str, int] = defaultdict(int)
        super().__init__(tls)
        self.running[self.port] = self

    def accepted(self) -> None:
        """Count."""
        for each in self.watches:
            each.connections += 1

    @contextmanager
    def watch(self) -> Iterator[Watch]:
        """Record the requests and count the connections that come meanwhile."""
        watch = Watch()
        with self.changed:
            self.watches.append(watch)
        try:
            yield watch
        finally:
            with self.changed:
                self.watches.remove(watch)

    @contextmanager
    def route(self, name: str, answer: Route) -> Iterator[str]:
        """Answer ``/name`` by ``answer(connection, seen)`` meanwhile; gives the URL."""
        self.routes[name] = answer
        try:
            yield f"{self.url}/{name}"
        finally:
            del self.routes[name]

    def calls_of(self, name: str) -> int:
        """Count a call by that name."""
        with self.changed:
            self.calls[name] += 1
            return self.calls[name]

    def serve(self, connection: Connection) -> None:
        """Answer until the client goes."""
        while connection.keep:
            self.respond(connection, connection.request())

    def respond(self, connection: Connection, seen: Seen) -> None:
        """Answer a request by the routes."""
        name = seen.path.split("/")[1] if "/" in seen.path else ""
        if name != "refuse":
            connection.read_body(seen)
        if self.watches:
            with self.changed:
                for each in self.watches:
                    each.requests.append(seen)
        if seen.method == "CONNECT":
            _tunnel(connection, seen)
            raise Gone
        if name == "flaky":
            _flaky(connection, seen, self.calls_of(seen.path))
        elif name in self.routes:
            self.routes[name](connection, seen)
        else:
            connection.answer(seen, 404, b"no such route")


class Scripted(_Listener):
    """A server that sends what it is told: ``answers[n]`` to the n-th request, the last one to all that follow.

    An answer is bytes, or a function of the connection and the request. After each the connection is closed, unless
    ``keep=True``.
    """

    def __init__(self, *answers: bytes | Route, keep: bool = False, tls: ssl.SSLContext | None = None) -> None:
        self.answers = deque(answers)
        self.requests: list[Seen] = []
        self.keep = keep
        super().__init__(tls)

    def serve(self, connection: Connection) -> None:
        """Answer by the script."""
        while True:
            seen = connection.request()
            connection.read_body(seen)
            with self.changed:
                self.requests.append(seen)
                answer = self.answers[0] if len(self.answers) == 1 else self.answers.popleft()
            if isinstance(answer, bytes):
                connection.send(answer)
            else:
                answer(connection, seen)
            if not self.keep:
                return


class Full:
    """A port at which a connect neither succeeds nor fails: its queue is full."""

    def __init__(self) -> None:
        self.listening = socket.socket()
        self.listening.bind(("127.0.0.1", 0))
        self.listening.listen(0)
        self.url = "http://{}:{}".format(*self.listening.getsockname())
        self.waiting = []
        for _ in range(4):
            sock = socket.socket()
            sock.settimeout(0)
            sock.connect_ex(self.listening.getsockname())
            self.waiting.append(sock)
        time.sleep(0.05)  # nothing tells when the queue has taken them

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        for sock in (*self.waiting, self.listening):
            sock.close()


def refused() -> str:
    """Return the URL of a port where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return f"http://127.0.0.1:{listening.getsockname()[1]}"


# Routes


def _echo(connection: Connection, seen: Seen) -> None:
    connection.answer_json(seen, _told(seen))


def _told(seen: Seen) -> dict[str, Any]:
    return {
        "method": seen.method,
        "target": seen.target,
        "path": seen.path,
        "query": seen.query,
        "headers": {name.lower(): value for name, value in seen.headers},
        "body": seen.body.decode("latin-1"),
        "framing": seen.framing,
        "connection": seen.connection,
    }


def _data(connection: Connection, seen: Seen) -> None:
    body = seen.body or seen.arg("body").encode()
    kind = seen.arg("type", "text/plain")
    connection.answer(seen, int(seen.arg("status", "200")), body, kind)


def _status(connection: Connection, seen: Seen) -> None:
    status = int(seen.path.split("/")[2])
    body = seen.arg("body", f"Status {status}").encode()
    connection.answer(seen, status, body, seen.arg("type", "text/plain"))


def _redirect(connection: Connection, seen: Seen) -> None:
    pairs = (pair.partition("=") for pair in urlsplit(seen.target).query.split("&"))
    to = {name: unquote_to_bytes(value) for name, _, value in pairs}.get("to", b"/echo")
    connection.answer(seen, int(seen.path.split("/")[2]), b"moved", headers=[("Location", to)] if to else [])


def _hops(connection: Connection, seen: Seen) -> None:
    left = int(seen.path.split("/")[2])
    if left:
        connection.answer(seen, 302, b"moved", headers=[("Location", f"/hops/{left - 1}")])
    else:
        _echo(connection, seen)


def _loop(connection: Connection, seen: Seen) -> None:
    connection.answer(seen, 302, headers=[("Location", seen.target)])


def _cookies(connection: Connection, seen: Seen) -> None:
    if seen.path == "/cookies/set":
        lines = [("Set-Cookie", f"{name}={value}; Path=/") for name, value in seen.query if name != "to"]
        to = seen.arg("to")
        connection.answer(seen, 302 if to else 200, headers=lines + ([("Location", to)] if to else []))
        return
    pairs = (pair.partition("=") for pair in (seen.header("Cookie") or "").split("; ") if pair)
    connection.answer_json(seen, {name: value for name, _, value in pairs})


def _basic_auth(connection: Connection, seen: Seen) -> None:
    wanted = "Basic " + base64.b64encode(":".join(seen.path.split("/")[2:4]).encode()).decode()
    if seen.header("Authorization") == wanted:
        _echo(connection, seen)
    else:
        connection.answer(seen, 401, b"who?", headers=[("WWW-Authenticate", 'Basic realm="test"')])


def _respond(connection: Connection, seen: Seen) -> None:
    connection.answer(seen, 200, b"ok", headers=seen.query)


def _huge_headers(connection: Connection, seen: Seen) -> None:
    value = "x" * int(seen.arg("size", "70000"))
    connection.answer(seen, 200, b"", headers=[(f"X-{n}", value) for n in range(int(seen.arg("count", "1")))])


def _bytes(connection: Connection, seen: Seen) -> None:
    connection.answer(seen, 200, bytes(int(seen.path.split("/")[2])), "application/octet-stream")


def _chunked(connection: Connection, pieces: Iterable[bytes], headers: Iterable[tuple[str, str]] = ()) -> None:
    connection.head(200, [("Transfer-Encoding", "chunked"), *headers])
    for piece in pieces:
        connection.chunk(piece)
    connection.chunk(b"")


def _chunks(connection: Connection, seen: Seen) -> None:
    size = int(seen.arg("size", "10"))
    _chunked(connection, (bytes([65 + n % 26]) * size for n in range(int(seen.path.split("/")[2]))))


def _lines(connection: Connection, seen: Seen) -> None:
    text = "".join(f"line {n}\n" for n in range(int(seen.path.split("/")[2]))).encode()
    _chunked(connection, (text[at : at + 5] for at in range(0, len(text), 5)), [("Content-Type", "text/plain")])


def _gzip(connection: Connection, seen: Seen) -> None:
    body = gzip.compress(b'{"gzip": true}')
    body = body[:10] + bytes(20) if seen.arg("broken") else body
    connection.answer(seen, 200, body, "application/json", [("Content-Encoding", "gzip")])


def _deflate(connection: Connection, seen: Seen) -> None:
    body = zlib.compress(b'{"deflate": true}')
    connection.answer(seen, 200, body, "application/json", [("Content-Encoding", "deflate")])


def _bomb(connection: Connection, seen: Seen) -> None:
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    zeros = bytes(1_000_000)
    pieces = [packer.compress(zeros) for _ in range(int(seen.arg("size", "100000000")) // len(zeros))]
    body = b"".join(pieces) + packer.flush()
    connection.answer(seen, 200, body, "application/json", [("Content-Encoding", "gzip")])


def _drip(connection: Connection, seen: Seen) -> None:
    count, delay = int(seen.arg("count", "20")), float(seen.arg("delay", "0.1"))
    connection.head(200, [("Content-Length", str(count))])
    for _ in range(count):
        connection.send(b".")
        connection.wait(delay)


def _drip_head(connection: Connection, seen: Seen) -> None:
    delay, until = float(seen.arg("delay", "0.1")), time.monotonic() + LIMIT
    connection.send(b"HTTP/1.1 200 OK\r\nX-Drip: ")
    while time.monotonic() < until:
        connection.send(b"x")
        connection.wait(delay)


def _slow(connection: Connection, seen: Seen) -> None:
    connection.wait(float(seen.arg("seconds", "0.3")))
    _echo(connection, seen)


def _hang(connection: Connection, seen: Seen) -> None:
    connection.wait()
    raise Gone


def _hang_body(connection: Connection, seen: Seen) -> None:
    connection.head(200, [("Content-Length", "100")])
    connection.send(b"0123456789")
    connection.wait()
    raise Gone


def _close(connection: Connection, seen: Seen) -> None:
    raise Gone


def _reset(connection: Connection, seen: Seen) -> None:
    connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.sock.close()
    raise Gone


def _close_mid_body(connection: Connection, seen: Seen) -> None:
    if seen.arg("chunked"):
        connection.head(200, [("Transfer-Encoding", "chunked")])
        connection.send(b"5\r\nhello\r\n64\r\n0123456789")
    else:
        connection.head(200, [("Content-Length", "100")])
        connection.send(b"0123456789")
    raise Gone


def _wrong_length(connection: Connection, seen: Seen) -> None:
    connection.head(200, [("Content-Length", seen.arg("said", "5"))])
    connection.send(b"x" * int(seen.arg("sent", "9")))
    raise Gone


def _bad_status_line(connection: Connection, seen: Seen) -> None:
    connection.send(b"SSH-2.0-OpenSSH_9.6\r\n\r\n")
    raise Gone


def _early_hints(connection: Connection, seen: Seen) -> None:
    for _ in range(int(seen.arg("count", "1"))):
        connection.head(int(seen.arg("status", "103")), [("Link", "</style.css>; rel=preload")])
    _echo(connection, seen)


def _close_after(connection: Connection, seen: Seen) -> None:
    connection.keep = False
    _echo(connection, seen)


def _drop_idle(connection: Connection, seen: Seen) -> None:
    _echo(connection, seen)
    connection.keep = False


def _flaky(connection: Connection, seen: Seen, call: int) -> None:
    status = int(seen.arg("status", "503"))
    if call > int(seen.arg("fail", "2")):
        _echo(connection, seen)
    elif status:
        connection.answer(seen, status, b"not yet", headers=[("Retry-After", "0")])
    else:
        raise Gone


def _refuse(connection: Connection, seen: Seen) -> None:
    connection.keep = False
    connection.answer(seen, 413, b"too large")
    with suppress(Gone):  # a close with unread input would reset the connection, and the answer with it
        connection.sock.shutdown(socket.SHUT_WR)
        while True:
            connection.fill()
            connection.buffer.clear()


def _digest(connection: Connection, seen: Seen) -> None:
    connection.answer_json(seen, {"size": seen.size, "sha256": seen.sha256, "framing": seen.framing})


def _tunnel(connection: Connection, seen: Seen) -> None:
    """Pass bytes on between the client and the host that it names."""
    host, _, port = seen.target.rpartition(":")
    with socket.create_connection((host, int(port)), LIMIT) as there:
        connection.send(b"HTTP/1.1 200 Connection established\r\n\r\n")

        def back() -> None:
            with suppress(OSError):
                while data := there.recv(1 << 16):
                    connection.sock.sendall(data)
                connection.sock.shutdown(socket.SHUT_WR)

        thread = threading.Thread(target=back, name="tunnel", daemon=True)
        thread.start()
        try:
            while True:
                if connection.buffer:
                    there.sendall(bytes(connection.buffer))
                    connection.buffer.clear()
                connection.fill()
        finally:
            with suppress(OSError):
                there.shutdown(socket.SHUT_RDWR)
            thread.join(LIMIT)


ROUTES: dict[str, Route] = {
    "echo": _echo,
    "data": _data,
    "status": _status,
    "redirect": _redirect,
    "hops": _hops,
    "loop": _loop,
    "cookies": _cookies,
    "basic-auth": _basic_auth,
    "respond": _respond,
    "huge-headers": _huge_headers,
    "bytes": _bytes,
    "chunks": _chunks,
    "lines": _lines,
    "gzip": _gzip,
    "deflate": _deflate,
    "bomb": _bomb,
    "drip": _drip,
    "drip-head": _drip_head,
    "slow": _slow,
    "hang": _hang,
    "hang-body": _hang_body,
    "close": _close,
    "reset": _reset,
    "close-mid-body": _close_mid_body,
    "wrong-length": _wrong_length,
    "bad-status-line": _bad_status_line,
    "early-hints": _early_hints,
    "close-after": _close_after,
    "drop-idle": _drop_idle,
    "refuse": _refuse,
    "digest": _digest,
}

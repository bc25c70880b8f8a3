"""What an app returns passes as the very object, a file that the server sends by itself above all."""

import io
from wsgiref.util import FileWrapper

import pytest

from formation.errors import BodyAbandoned
from formation.middleware import request_id
from tests.server.edges import Sent, environ_of
from tests.server.wsgi.host import PLAIN, Served, answering, hooked, look, wrapped


def test_w13_a_file_wrapper_that_nobody_touches_is_returned_as_it_is():
    file = FileWrapper(io.BytesIO(b"abc"))
    environ = environ_of(Sent()) | {"wsgi.file_wrapper": FileWrapper}
    assert Served(wrapped(answering(file), look, request_id()), environ).call().result is file


class Counted(io.BytesIO):
    """A file that is closed, as often as it says."""

    closings = 0

    def close(self):
        self.closings += 1
        super().close()


def sending(file, said=(("Content-Length", "9"),)):
    """Wrap an app that answers with a file, and somebody who waits for its end; the server is `Served`."""
    ended = []
    environ = environ_of(Sent()) | {"wsgi.file_wrapper": FileWrapper}
    app = answering(FileWrapper(file, 3), headers=[*PLAIN, *said])
    return Served(wrapped(app, hooked(ended)), environ), ended


def test_w13_a_file_wrapper_stays_what_it_is_where_somebody_waits_for_its_end():
    served, ended = sending(file := Counted(b"abcdefghi"))
    assert type(served.call().result) is FileWrapper
    served.close()  # a server that has sent it past Python
    served.close()
    assert (ended, file.closings) == ([(9, None)], 1)


def test_w13_a_file_wrapper_that_a_server_reads_tells_how_far_it_has_come():
    served, ended = sending(Counted(b"abcdefghi"))
    next(iter(served.call().result))
    served.close()
    assert [(count, type(error)) for count, error in ended] == [(3, BodyAbandoned)]
    served, ended = sending(Counted(b"abcdefghi"))
    assert (served.run().body, ended) == (b"abcdefghi", [(9, None)])


class NoTell(io.BytesIO):
    def tell(self):
        raise io.UnsupportedOperation


NOT_TOLD = [(NoTell(b"abcdefghi"), [("Content-Length", "9")]), (io.BytesIO(b"abc"), [])]


@pytest.mark.parametrize(("file", "said"), NOT_TOLD, ids=["no position", "no length"])
def test_w13_a_file_wrapper_of_which_nobody_could_tell_the_bytes_is_counted_on_its_way(file, said):
    served, ended = sending(file, said)
    assert type(served.call().result) is not FileWrapper
    body = b"".join(served.result)
    served.close()
    assert ended == [(len(body), None)]


@pytest.mark.parametrize("chunks", [[b"a"], (b"a",), iter([b"a"])], ids=["list", "tuple", "iterator"])
def test_w13_what_nobody_touches_is_returned_as_it_is(chunks):
    assert Served(wrapped(answering(chunks), look)).call().result is chunks

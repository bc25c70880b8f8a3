"""What flows to the clients below."""

import io
from wsgiref.util import FileWrapper

import pytest

from formation import ambient
from formation.for_requests import build
from formation.middleware import request_id
from tests.server.edges import Sent, environ_of
from tests.server.wsgi.host import PLAIN, Served, answering, look, mapped, publishing, pulled, reading, wrapped


def test_the_ambient_context_is_there_in_the_app_and_in_its_lazy_body():
    found = []

    def app(environ, start_response):
        found.append(ambient.current.get())
        start_response("200 OK", list(PLAIN))
        try:
            yield b"a"
            found.append(ambient.current.get())
        finally:
            found.append(ambient.current.get())

    served = Served(wrapped(app, publishing)).run()
    assert served.body == b"a"
    assert [each.request_id for each in found] == ["7f3a"] * 3
    assert len({id(each) for each in found}) == 1
    assert ambient.current.get() is None
    assert found[0].deadline is None  # the answer has gone out


@pytest.mark.parametrize("touch", [look, mapped(bytes.upper), reading, lambda ctx, call: pulled(call(ctx))])
def test_the_ambient_context_is_there_whoever_pulls(touch):
    found = []

    def app(environ, start_response):
        start_response("200 OK", list(PLAIN))
        found.append(ambient.current.get())
        yield b"a"

    Served(wrapped(app, touch, publishing)).run()
    assert [each.request_id for each in found] == ["7f3a"]
    assert found[0].deadline is None
    assert ambient.current.get() is None


def test_what_is_published_changes_no_list_and_no_file():
    file = FileWrapper(io.BytesIO(b"abc"))
    found = []

    def app(environ, start_response):
        found.append(ambient.current.get())
        return answering(environ["answer"])(environ, start_response)

    for answer in ([b"a"], file):
        environ = environ_of(Sent()) | {"wsgi.file_wrapper": FileWrapper, "answer": answer}
        assert Served(wrapped(app, publishing), environ).call().result is answer
    assert [each.deadline for each in found] == [None, None]


def test_an_error_of_the_app_takes_the_ambient_context_back():
    def app(environ, start_response):
        raise LookupError(ambient.current.get().request_id)

    with pytest.raises(LookupError, match="7f3a"):
        Served(wrapped(app, publishing)).run()
    assert ambient.current.get() is None


def test_a_client_below_sends_the_id_on(server):
    http = build(base_uri=server.url, middleware=[request_id()])

    def app(environ, start_response):
        seen = http.get("/echo").response.json()["headers"]["x-request-id"]
        start_response("200 OK", list(PLAIN))
        return [seen.encode()]

    environ = environ_of(Sent(headers={"X-Request-ID": "7f3a"}))
    served = Served(wrapped(app, request_id()), environ).run()
    http.close()
    assert (served.body, dict(served.headers)["x-request-id"]) == (b"7f3a", "7f3a")

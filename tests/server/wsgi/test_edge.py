"""The edge itself."""

from formation.for_wsgi import FormationMiddleware
from formation.keys import NATIVE, REQ_HTTP, TRACE
from tests.server.edges import Sent, environ_of
from tests.server.wsgi.host import Served, answering, look, pass_on, wrapped


def test_two_edges_around_each_other_are_one_chain():
    def app(environ, start_response): ...

    both = wrapped(wrapped(app, look), pass_on)
    assert (both.app, both.middleware) == (app, (pass_on, look))
    assert repr(both) == "FormationMiddleware(app, [pass_on, look])"
    apart = wrapped(wrapped(app, look, max_body=1), pass_on)
    assert apart.middleware == (pass_on,)


def test_an_edge_without_middleware_passes_everything_on():
    chunks = [b"a"]
    assert Served(FormationMiddleware(answering(chunks))).call().result is chunks


def test_the_context_is_that_of_a_server():
    found = {}

    def keeps(ctx, call):
        found.update(ctx)
        return call(ctx)

    environ = environ_of(Sent(headers={"traceparent": "00-a-b-01", "tracestate": "c=d"}))
    Served(wrapped(answering([]), keeps), environ).run()
    assert (found["fmtn.side"], found["fmtn.kind"]) == ("server", "http")
    assert (found["fmtn.state"], found["fmtn.session"], found["fmtn.sensitive"]) == ({}, {}, set())
    assert found[NATIVE]["environ"] is environ
    assert found[TRACE] == {"traceparent": "00-a-b-01", "tracestate": "c=d"}
    assert found[REQ_HTTP].peer == "127.0.0.1"

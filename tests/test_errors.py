"""The errors: one tree, values as attributes, messages made of them, all of them pickled."""

import copy
import inspect
import pickle
import re

import pybreaker
import pytest

from formation import errors
from formation.errors import FormationError

CLASSES = {
    name: value for name, value in vars(errors).items() if inspect.isclass(value) and issubclass(value, FormationError)
}

SAMPLES = {
    "StatusError": errors.StatusError(status_code=500, expected=(200, 201), name="GET /things"),
    "DecodeError": errors.DecodeError(
        status_code=200, content_type="text/html", head=b"<html>" * 100, problems=("$.id: required",)
    ),
    "BodyTooLarge": errors.BodyTooLarge(limit=64, got=100),
    "BodyConsumed": errors.BodyConsumed(),
    "BodyAbandoned": errors.BodyAbandoned(),
    "TooManyRedirects": errors.TooManyRedirects(limit=10, url="http://a.test/"),
    "ForeignURLError": errors.ForeignURLError(url="http://b.test/", base="http://a.test/"),
    "OAuth2Error": errors.OAuth2Error(status_code=400, error="invalid_client", description="who?"),
    "PagesError": errors.PagesError(url="http://a.test/?page=2", pages=2, repeated=True),
    "ProblemError": errors.ProblemError(status_code=403, title="No credit", extensions={"balance": 30}),
    "StorageUnavailable": errors.StorageUnavailable("redis", "it takes too long", retry_after=1.5),
    "Rejected": errors.Rejected("not now", name="GET /things", retry_after=1.5),
    "ThrottleRejected": errors.ThrottleRejected("not now", name="GET /things", retry_after=1.5),
    "BulkheadRejected": errors.BulkheadRejected("full", name="GET /things"),
}
SAMPLES = {name: cls("what happened") for name, cls in CLASSES.items() if "__init__" not in vars(cls)} | SAMPLES


def pickled(error):
    return pickle.loads(pickle.dumps(error))


@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, pickled])
@pytest.mark.parametrize("name", CLASSES)
def test_every_error_survives_pickling_and_copying_with_all_its_values(name, again):
    error = pickled(SAMPLES[name])  # one for each test
    error.add_note("on the second attempt")
    other = again(error)

    assert type(other) is type(error)
    assert (str(other), other.args) == (str(error), error.args)
    assert vars(other) == vars(error)
    assert other.__notes__[-1] == "on the second attempt"


def test_an_error_takes_the_request_it_belongs_to_along():
    error = errors.ReadTimeout("too late")
    assert error.request is error.response is None

    error.request = {"method": "GET"}
    assert pickle.loads(pickle.dumps(error)).request == {"method": "GET"}


MESSAGES = {
    "expected a status below 400, got 500": errors.StatusError(status_code=500),
    "403 from POST /orders: No credit: your balance is 30": errors.ProblemError(
        status_code=403, title="No credit", detail="your balance is 30", name="POST /orders"
    ),
    "418": errors.ProblemError(status_code=418),
    "expected 200, got 404": errors.StatusError(status_code=404, expected=(200,)),
    "expected 200 or 304, got 404 from GET /things": errors.StatusError(
        status_code=404, expected=(200, 304), name="GET /things"
    ),
    "cannot decode the body of a 200 text/html: it does not parse; it starts with b'<html>'": errors.DecodeError(
        status_code=200, content_type="text/html", head=b"<html>"
    ),
    "cannot decode the body of a 200 without content type: $.id: required; $.a: no int; it starts with b'{}'": (
        errors.DecodeError(status_code=200, content_type="", head=b"{}", problems=("$.id: required", "$.a: no int"))
    ),
    "the body is larger than max_body: 64 bytes allowed, at least 100 came": errors.BodyTooLarge(limit=64, got=100),
    "more than 3 redirects; the last one points to 'http://a.test/'": errors.TooManyRedirects(
        limit=3, url="http://a.test/"
    ),
    "'http://b.test/' is of another origin than 'http://a.test/': "
    "pass absolute=True, or list its origin in allow_origins": errors.ForeignURLError(
        url="http://b.test/", base="http://a.test/"
    ),
    "'http://b.test/' is of another origin than 'http://a.test/': stay at home": errors.ForeignURLError(
        url="http://b.test/", base="http://a.test/", hint="stay at home"
    ),
    "no token: the token endpoint answered 400, invalid_client who?": errors.OAuth2Error(
        status_code=400, error="invalid_client", description="who?"
    ),
    "no token: the token endpoint answered 503, without an error code": errors.OAuth2Error(status_code=503, error=""),
    "the pages do not end: the next one would be 'http://a.test/', and it has been read already": errors.PagesError(
        url="http://a.test/", pages=2, repeated=True
    ),
    "the pages do not end: the next one would be 'http://a.test/', and max_pages=2 have been read": errors.PagesError(
        url="http://a.test/", pages=2, repeated=False
    ),
}


@pytest.mark.parametrize("message", MESSAGES)
def test_the_message_is_made_of_the_values(message):
    assert str(MESSAGES[message]) == message


def test_a_decode_error_keeps_the_head_of_the_body_and_no_more():
    error = errors.DecodeError(status_code=200, content_type="", head=b"x" * 10_000)
    assert error.head == b"x" * 200
    assert len(str(error)) < 500


def tree():
    """Read the tree in the module's docstring: each name, its parent, and what else it says to be."""
    above = []
    for line in inspect.getdoc(errors).splitlines():
        drawn = re.match(r"    ([│├└─ ]*)(\w+)(?:.*\(also an? (\w+)\))?", line)
        if drawn:
            depth = len(drawn[1]) // 4
            above = [*above[:depth], drawn[2]]
            yield drawn[2], above[-2] if depth else "Exception", drawn[3]


def test_the_tree_in_the_docstring_is_the_tree_of_the_classes():
    drawn = {name: (parent, also) for name, parent, also in tree()}
    bases = {name: [base.__name__ for base in cls.__bases__] for name, cls in CLASSES.items()}

    assert drawn == {name: (first, *(rest or [None])) for name, (first, *rest) in bases.items()}


def test_every_error_says_what_it_means_and_is_caught_as_one_of_ours():
    for name, cls in CLASSES.items():
        assert cls.__doc__
        with pytest.raises(FormationError):
            raise SAMPLES[name]


@pytest.mark.parametrize("name", [name for name in CLASSES if "Timeout" in name or "Deadline" in name])
def test_what_took_too_long_is_a_timeout_error_too(name):
    assert issubclass(CLASSES[name], TimeoutError)


def test_only_what_was_never_sent_may_be_sent_again_blindly():
    assert errors.ConnectError("").never_sent
    assert errors.ConnectTimeout("").never_sent
    assert not errors.ReadTimeout("").never_sent
    assert not errors.ProtocolError("").never_sent
    assert not errors.TLSError("").never_sent


def test_an_open_circuit_is_a_rejection_here_and_in_pybreaker():
    error = errors.CircuitOpenError("open", name="GET /things", retry_after=1.5)

    assert isinstance(error, errors.Rejected)
    assert isinstance(error, pybreaker.CircuitBreakerError)
    assert vars(pickled(error)) == vars(error)


def test_a_name_that_is_not_there_is_an_attribute_error():
    with pytest.raises(AttributeError, match=r"module 'formation\.errors' has no attribute 'Oops'"):
        errors.Oops  # noqa: B018

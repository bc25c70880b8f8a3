"""What these tests are lent."""

import sys

import pytest
from django.core.signals import got_request_exception, request_finished

from tests.server.django.host import World


@pytest.fixture(params=[False, True], ids=["wsgi", "asgi"])
def world(request):
    return World(request.param)


@pytest.fixture
def reported():
    """Errors that Django has reported."""
    errors = []

    def note(**more):
        errors.append(sys.exc_info()[1])

    got_request_exception.connect(note)
    yield errors
    got_request_exception.disconnect(note)


@pytest.fixture
def finished():
    """Counts of `request_finished`."""
    seen = []

    def note(**more):
        seen.append(1)

    request_finished.connect(note)
    yield seen
    request_finished.disconnect(note)

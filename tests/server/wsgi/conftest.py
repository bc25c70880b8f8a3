"""What these tests are lent."""

import pytest

from tests.server.wsgi.host import KINDS


@pytest.fixture(params=KINDS.values(), ids=KINDS)
def touch(request):
    """What a middleware may do: nothing, look at the head, map the body, hear of its end."""
    return request.param

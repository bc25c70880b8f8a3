"""What a client sends with, and the pool of it: made on first use, shared by a client and its siblings."""

from __future__ import annotations

from threading import Lock
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


class Transport:
    """Makes the endpoint at the first call, and closes it.

    Args:
        make: makes it.
    """

    def __init__(self, make: Callable[[], Any]) -> None:
        self.make = make
        self.closed = False
        self._endpoint: Any = None
        self._lock = Lock()

    def __call__(self) -> Any:
        """Return the endpoint."""
        endpoint = self._endpoint
        if endpoint is None:
            with self._lock:
                if self.closed:
                    message = "this client is closed"
                    raise RuntimeError(message)
                if self._endpoint is None:
                    self._endpoint = self.make()
                endpoint = self._endpoint
        return endpoint

    def close(self) -> Any:
        """Close the pool; a second time does nothing."""
        with self._lock:  # else one that is made meanwhile would never be closed
            self.closed = True
            endpoint, self._endpoint = self._endpoint, None
        return endpoint.close() if hasattr(endpoint, "close") else None

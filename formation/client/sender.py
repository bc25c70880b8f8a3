"""The sender: what ``self.request`` is. It turns a call into a request and a chain, runs it, and makes the result."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from formation.client.base_sender import BaseSender, BaseStreamed
from formation.client.pages import MAX_PAGES, Turning, link_header
from formation.client.verbs import Call

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from types import TracebackType
    from typing import Self

    from formation.client.base_sender import Prepared
    from formation.client.responses import Result


class Streamed(BaseStreamed["Sender"]):
    """A call that has not been sent yet: ``with`` sends it and closes the body at the end, whatever happens."""

    def __enter__(self) -> Result[Any]:
        return self._sender.run(self._begin())

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for response in self._prepared.responses():
            response.close()
        self._explain(error)


class Sender(BaseSender[Call]):
    """Sends and waits: by ``get``, ``head``, ``options``, ``post``, ``put``, ``patch``, ``delete``, or any method.

    Each takes the path and `Options`; besides, ``response_as=`` says what the body is, ``expect=`` which statuses
    may be (any other is a `StatusError`), and ``stream=True`` gives a context manager whose result has an unread body:
    ``with sender.get("/big", stream=True) as result: for chunk in result.body: …``.
    """

    is_async = False
    streamed = Streamed

    def run(self, prepared: Prepared) -> Result[Any]:
        """Run a prepared call."""
        try:
            return self.finish(prepared, prepared.chain(prepared.ctx))
        except BaseException as error:
            if isinstance(error, Exception):
                self.explain(error, prepared)
            for response in prepared.responses():
                response.close()  # a stream that nobody will get to read
            raise

    def pages(
        self,
        call: Callable[[], Result[Any]],
        *,
        next: Callable[[Result[Any]], str | None] = link_header,  # noqa: A002  the word of the trade
        items: Callable[[Any], Iterable[Any]] | None = None,
        max_pages: int = MAX_PAGES,
    ) -> Iterator[Any]:
        """Make a call and then the same for each next page; a generator of the results, or of the items in them.

        Args:
            call: makes the first call: ``lambda: github.stars("a", "b")``. The others have its arguments, but
                ``params`` and ``path``, which the next URL replaces.
            next: returns the URL of the page after a result, relative or absolute, or ``None``; as it stands, what the
                Link header says.
            items: returns the items in a body; without it the results themselves are yielded.
            max_pages: how many may be read, 1000.

        Raises:
            TypeError, ValueError: an argument that does not fit.
            ForeignURLError: in turning: the next page is of another origin.
            PagesError: in turning: the next page has been read already, or there are more than ``max_pages``.
            BodyConsumed: in turning: the body of the call is a one-shot stream.
        """
        return self._turn(call, Turning(call, next, max_pages), items)

    def _turn(
        self, call: Callable[[], Result[Any]], turning: Turning, items: Callable[[Any], Iterable[Any]] | None
    ) -> Iterator[Any]:
        result: Result[Any] | None = turning.check(call())
        while result is not None:
            yield from [result] if items is None else items(result.body)
            url = turning.after(result)
            result = self.run(self.again(result, url)) if url else None

    def close(self) -> None:
        """Close the connection pool, unless it is another sender's; a second time does nothing."""
        if self._owner:
            self._transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

"""A stream of responses from a sync server: the chain waits aside while gRPC pulls. See ``server.py``."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from formation.ambient import publish, restore
from formation.bridge import Aside
from formation.for_grpc.chains import result_of
from formation.for_grpc.servicer_context import Context, gone
from formation.for_grpc.sync.serving import Exchange
from formation.keys import DEADLINE, REQ_RPC, RES_RPC
from formation.rpc.passing import pulled

if TYPE_CHECKING:
    from collections.abc import Iterator

    from formation.kernel import Ctx
    from formation.rpc.calls import Call
    from formation.rpc.results import Result


class StreamExchange(Exchange):
    """One with a stream of responses."""

    __slots__ = ("_aside", "_call", "_count", "_ended", "_failure", "_result", "_source", "_through")

    def begin(self, ctx: Ctx) -> Iterator[Any]:
        """Run the chain until there is a stream; return it."""
        self._result: Result | None = None
        self._failure: BaseException | None = None
        self._ended: BaseException | None = None
        self._call: Call = ctx[REQ_RPC]
        self._count = 0
        self._aside = Aside(partial(self._run, ctx))
        self._aside.go_on()
        if self._aside.is_paused:
            return self._stream()
        return self._answer()

    def _run(self, ctx: Ctx) -> None:
        try:
            self._result = result_of(self.chains.around(ctx))
        except BaseException as error:  # noqa: BLE001  it is raised where gRPC asks for the next message
            self._failure = error

    def call(self, ctx: Ctx) -> None:
        """Call the handler, and wait for the end of its stream. Runs aside."""
        call: Call = ctx[REQ_RPC]
        if self._count:
            raise RuntimeError(f"{call.method} cannot be called again: messages of its answer have gone out")
        argument = self.argument(ctx, call)
        self.context = context = Context(self.native, call, ctx.get(DEADLINE))
        self._through = self.chains.messages.passing(ctx, call, "out")
        published = publish(ctx)
        try:
            self._source = iter(self.behaviour(argument, context))
            self._aside.pause()
            if self._ended is not None:
                self.judge(self._ended, call)  # type: ignore[arg-type]  # what is no Exception has not come here
            if not self.native.is_active():
                raise gone(call)  # noqa: TRY301  below it is looked at like any other
        except Exception as error:  # noqa: BLE001  it may only be the end
            self.judge(error, call)
        finally:
            self._ended = None
            if published is not None:
                restore(published)
        ctx[RES_RPC] = context.result(None)

    def _stream(self) -> Iterator[Any]:
        count = 0
        while self._aside.is_paused:
            source, error, is_dropped = self._source, None, False
            try:
                try:
                    for message in pulled(source, self._through):
                        yield message
                        count += 1
                except GeneratorExit:  # gRPC has given up
                    is_dropped = True
                finally:  # the handler cleans up before its chain goes on
                    if hasattr(source, "close"):
                        source.close()
            except Exception as failure:  # noqa: BLE001  raised at call(ctx)
                error = failure
            if is_dropped:
                error = gone(self._call)
            self._go_on(error, count)
            if is_dropped:
                if self._result is not None:
                    self._result.end(count, error)
                return
            error = None
        yield from self._answer()

    def _go_on(self, error: Exception | None, count: int) -> None:
        self._ended, self._count = error, count
        if count:
            self._call.begin()
        self._source = self._through = None
        self._aside.go_on()

    def _answer(self) -> Iterator[Any]:
        """Give what the chain has come back with: the end of the stream, or an answer in the handler's place."""
        failure, self._failure = self._failure, None
        if failure is not None:
            try:
                self.fail(failure)
            finally:
                failure = None
            return iter(())
        result = self._result
        assert result is not None  # the chain has returned or raised  # noqa: S101
        self.apply(result)
        result.end(self._count)
        return iter(result.messages or ())

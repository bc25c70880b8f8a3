"""A call that a sync server has been asked for: from the end of its chain to the handler, and back to gRPC."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from formation.ambient import publish, restore
from formation.for_grpc.chains import STATUS
from formation.for_grpc.servicer_context import Context, gone, trailing
from formation.keys import DEADLINE, REQ_RPC, RES_RPC
from formation.rpc.codes import code_for
from formation.rpc.passing import pulled
from formation.rpc.results import Result

if TYPE_CHECKING:
    from formation.for_grpc.chains import Chains
    from formation.kernel import Ctx
    from formation.rpc.calls import Call


class Exchange:
    """A call that has come, and the way back."""

    __slots__ = ("behaviour", "chains", "context", "native")

    def __init__(self, chains: Chains, behaviour: Any, native: Any) -> None:
        self.chains = chains
        self.behaviour = behaviour
        self.native = native
        self.context: Context | None = None  # what the handler of the last attempt was given

    def argument(self, ctx: Ctx, call: Call) -> Any:
        """Return what the handler gets: the message, or the stream."""
        if self.context is not None and not self.native.is_active():  # a second attempt
            raise gone(call)
        if call.messages is None:
            return call.message
        return pulled(call.messages.take(), self.chains.messages.passing(ctx, call, "in"))

    def call(self, ctx: Ctx) -> None:
        """Call the handler, and put what it answers into ``ctx``."""
        call: Call = ctx[REQ_RPC]
        argument, message = self.argument(ctx, call), None
        self.context = context = Context(self.native, call, ctx.get(DEADLINE))
        published = publish(ctx)
        try:
            message = self.behaviour(argument, context)
        except Exception as error:  # noqa: BLE001  it may only be the end
            self.judge(error, call)
        finally:
            if published is not None:
                restore(published)
        if not self.native.is_active():
            raise gone(call)
        ctx[RES_RPC] = context.result(message)

    def judge(self, error: Exception, call: Call) -> None:
        """Raise an error of the handler, unless it only ends it."""
        if not self.native.is_active():
            raise gone(call) from error
        if self.context is None or not self.context.aborted:
            raise error

    def apply(self, result: Result) -> bool:
        """Let gRPC have what there is beside messages; tell whether there is an error to be raised."""
        native, context = self.native, result.native if isinstance(result.native, Context) else None
        if context is not None and context.is_silent and not result.is_changed:
            return False
        given = None if context is None else context.fields
        fields = trailing(result, given, self._send_head(result))
        if fields is not None:
            native.set_trailing_metadata(fields)
        if not result.ok or (context is not None and context.status is not None):
            native.set_code(STATUS[result.code])
        if result.details:
            native.set_details(result.details)
        return not result.ok

    def _send_head(self, result: Result) -> Any:
        """Send the initial metadata that the chain has set; return what is too late."""
        changed = result.changed_headers
        if changed is None:
            return None
        sent = None if self.context is None else self.context.sent
        if sent is None:
            try:
                self.native.send_initial_metadata(changed.fields())
            except ValueError:  # messages have gone out
                sent = ()
            else:
                return None
        return [field for field in changed.fields() if field not in sent]

    def finish(self, result: Result) -> Any:
        """Return the message to gRPC."""
        failed = self.apply(result)
        result.end(0 if result.message is None else 1)
        if failed and result.message is None:
            self.native.abort(STATUS[result.code], result.details or "")
        return result.message

    def fail(self, error: BaseException) -> Any:
        """Let gRPC have an error that has come out of the chain."""
        if not self.native.is_active() and isinstance(error, Exception):
            return None  # nobody waits for an answer
        context = self.context
        if context is not None:
            context.hand_over()
        code = code_for(error)
        if code is not None and (context is None or context.status is None):
            self.native.abort(STATUS[code], str(error))
        raise error


class PushExchange(Exchange):
    """One of a behaviour that pushes its messages from wherever it likes."""

    __slots__ = ("on_next",)
    on_next: Any

    def call(self, ctx: Ctx) -> None:
        """Call the handler, and do not wait for its answer."""
        call: Call = ctx[REQ_RPC]
        argument, on_next = self.argument(ctx, call), self.on_next
        through = self.chains.messages.passing(ctx, call, "out") if call.response_streaming else None

        def push(message: Any) -> None:
            on_next(message if message is None or through is None else through(message))

        self.behaviour(argument, self.native, on_next if through is None else push)
        ctx[RES_RPC] = Result(request=call, native=self)

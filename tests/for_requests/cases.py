"""What the cases of requests have in common."""

from time import monotonic

from formation.keys import DEADLINE, RES_HTTP


def within(seconds):
    def within(ctx, call):
        ctx[DEADLINE] = monotonic() + seconds
        return call(ctx)

    return within


def log(ctx, call):
    ctx = call(ctx)
    ctx[RES_HTTP].headers["X-Log"] = "1"
    return ctx

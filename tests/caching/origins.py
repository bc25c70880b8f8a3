"""An origin that answers as it is told, and requests to it, for the tests of what `cache` does."""

import asyncio

from formation import wrap
from formation.exchange import reply
from formation.http import Request
from formation.resilience import background

URL = "https://h/tea"


class Clock:
    """Seconds that a test moves."""

    def __init__(self):
        self.at = 1e9

    def __call__(self):
        return self.at


class Origin:
    """Answers with what it is told, one answer after another, the last one again and again; keeps what it was asked."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.asked = []

    def __call__(self, ctx):
        request = ctx["fmtn.req.http"]
        self.asked.append((request.method, dict(request.headers)))
        answer = self.answers[0] if len(self.answers) == 1 else self.answers.pop(0)
        if isinstance(answer, BaseException):
            raise answer
        status, headers, body = answer
        if callable(body):
            body = body()
        return reply(ctx, status, headers, body)


class Slow(Origin):
    """An origin that takes a few turns of the event loop."""

    async def __call__(self, ctx):
        for _ in range(20):
            await asyncio.sleep(0)
        return Origin.__call__(self, ctx)


def fresh(body=b"tea", seconds=60, status=200, **more):
    return status, {"Cache-Control": f"max-age={seconds}", **{k.replace("_", "-"): v for k, v in more.items()}}, body


def get(url=URL, method="GET", headers=(), session=None, uid=None, **more):
    ctx = {"fmtn.req.http": Request(method, url, headers=headers, **more), "fmtn.state": {}}
    if session:
        ctx["fmtn.session"] = session
    if uid:
        ctx["uid"] = uid
    return ctx


def told(out):
    return out["fmtn.res.http"].status_code, out["fmtn.res.http"].content, out["fmtn.state"]["cache"]


def together(endpoint, *ctxs, middleware):
    async def main():
        chain = wrap(endpoint, [middleware])
        return await asyncio.gather(*(chain(ctx) for ctx in ctxs), return_exceptions=True)

    return asyncio.run(main())


async def settled():
    """Wait until nothing is done in the background."""
    if background._tasks:
        await asyncio.wait(background._tasks)

"""What a type checker says of the ASGI edge. Nothing here runs: mypy reads it, and each ignored error has to be one."""

from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.types import ASGIApp

from formation import AsyncCall, Call, Ctx
from formation.for_asgi import Connection, FormationMiddleware
from formation.middleware import request_id


def plain(ctx: Ctx, call: Call[Ctx]) -> Ctx:
    connection: Connection = ctx["fmtn.ws"]
    connection.subprotocols.remove("chat")
    return call(ctx)


async def colored(ctx: Ctx, call: AsyncCall[Ctx]) -> Ctx:
    return await call(ctx)


def an_app_is_an_app_again(app: ASGIApp) -> ASGIApp:
    return FormationMiddleware(app, [plain, colored, request_id()], [plain], max_body=None)


def frameworks_take_it(app: FastAPI, other: Starlette) -> None:
    app.add_middleware(FormationMiddleware, middleware=[plain], message_middleware=[colored])
    other.add_middleware(FormationMiddleware, middleware=[plain])
    other.add_middleware(FormationMiddleware, layers=[plain])  # type: ignore[call-arg]


def mistakes(app: ASGIApp) -> None:
    FormationMiddleware(app, [1])  # type: ignore[list-item]
    FormationMiddleware(app, plain)  # type: ignore[arg-type]
    FormationMiddleware(app, max_body="1")  # type: ignore[arg-type]

"""The gateway as an ASGI application."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.routing import Route as HttpRoute

from services.gateway import problems, sessions
from services.gateway.activations import Activations
from services.gateway.backends import Backends, method_of, open_backends, request_class
from services.gateway.handwritten import HandwrittenRoutes
from services.gateway.messages import answered, event_stream, read_message
from services.gateway.page import page_routes
from services.gateway.pictures import Pictures
from services.gateway.protection import check_origin, safety_headers
from services.gateway.reports import Reports
from services.gateway.routes import ROUTES, Access, Route
from services.gateway.settings import SignInSettings
from services.gateway.signing_in import SignIn
from services.gateway.telemetry import Telemetry
from services.runtime.logs import REQUEST_ID, request_id_of
from services.runtime.settings import read_settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.types import ASGIApp, Receive, Scope, Send
    from starlette.types import Message as AsgiMessage

    from services.runtime.settings import RuntimeSettings

OPENAPI_FILE = Path(__file__).with_name("openapi.json")


def build(settings: RuntimeSettings) -> Starlette:
    """The application: routes of routes.py, /healthz, the OpenAPI document, signing in, the page.

    Raises:
        ValueError: a setting of ONOMA_OIDC_* or ONOMA_PUBLIC_URL is wrong, or a key or certificate cannot be used.
    """
    backends = open_backends(settings)
    of = read_settings(SignInSettings)
    sign_in = SignIn(settings, of)
    pictures = Pictures(backends)
    handwritten = HandwrittenRoutes(backends, Reports(settings), pictures, Activations(backends))

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:  # noqa: ARG001
        yield
        backends.close()

    app = Starlette(
        routes=[
            HttpRoute("/healthz", _healthz),
            HttpRoute("/api/openapi.json", lambda _: FileResponse(OPENAPI_FILE)),
            *(_rpc_route(route, backends, pictures) for route in ROUTES),
            *handwritten.routes(),
            *sign_in.routes(),
            *page_routes(),
        ],
        # Ids are hexadecimal digits at random: a higher level takes three times as long for a few percent.
        middleware=[
            Middleware(_Envelope, public_url=of.public_url),
            Middleware(Telemetry),
            Middleware(GZipMiddleware, minimum_size=1000, compresslevel=1),
        ],
        exception_handlers={
            problems.RefusedError: problems.of_refusal,
            grpc.RpcError: problems.of_rpc,
            HTTPException: problems.of_http,
            Exception: problems.of_bug,
        },
        lifespan=lifespan,
    )
    app.state.sign_in = sign_in
    return app


async def _healthz(_: Request) -> Response:
    """Says that requests are served, on no thread that work could hold."""
    return PlainTextResponse("ok\n")


def _rpc_route(route: Route, backends: Backends, pictures: Pictures) -> HttpRoute:
    """One row of the table: check, translate, call, translate."""
    message_class, method = request_class(route.backend, route.rpc), method_of(route.backend, route.rpc)
    access = route.access

    async def endpoint(request: Request) -> Response:
        if access is Access.OWNER:
            visitor = sessions.check_owner(request)
        elif access in (Access.OTHERS, Access.RESULTS):
            visitor = await sessions.check_viewer(request, backends, of_results=access is Access.RESULTS)
        else:
            _, visitor = await sessions.annotator_of(request, backends)
        options: dict[str, Any] = {
            "timeout_s": route.timeout_s,
            "request_id": request.state.request_id,
            "visitor": visitor,
        }
        message = await read_message(request, message_class)
        given = {field.name for field, _ in message.ListFields()}
        if visitor.invitation and (forbidden := [name for name in route.owners_fields if name in given]):
            raise problems.RefusedError(
                grpc.StatusCode.PERMISSION_DENIED,
                f"{' and '.join(forbidden)} can be set by the study's owner alone: leave it out",
            )
        if visitor.invitation and route.picture_field in given:
            image_ids = (getattr(message, route.picture_field),)
            await run_in_threadpool(pictures.check, message.study_id, image_ids, request.state.request_id)
        if method.server_streaming:
            return await event_stream(backends.events(route.backend, route.rpc, message, **options))
        return answered(await backends.call(route.backend, route.rpc, message, **options))

    return HttpRoute(
        route.path,
        endpoint,
        methods=[route.method],
        name=method.full_name,
    )


class _Envelope:
    """Gives every request an id, and every response that id and the browser's safety headers.

    Args:
        public_url: ONOMA_PUBLIC_URL.
    """

    def __init__(self, app: ASGIApp, public_url: str) -> None:
        self.app = app
        self._public_url = public_url

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        request_id = request_id_of(headers.get(REQUEST_ID))
        scope.setdefault("state", {})["request_id"] = request_id
        is_https = scope["scheme"] == "https" or self._public_url.startswith("https://")
        safety = safety_headers(is_https=is_https) | {REQUEST_ID: request_id}
        scope["state"]["envelope"] = safety

        async def send_with_headers(message: AsgiMessage) -> None:
            if message["type"] == "http.response.start":
                own = [name for name, _ in message["headers"]]
                more = [(name.encode(), value.encode()) for name, value in safety.items()]
                message["headers"] = [*message["headers"], *(one for one in more if one[0] not in own)]
            await send(message)

        try:
            check_origin(scope["method"], headers, self._public_url)
        except problems.RefusedError as error:
            await problems.of_refusal(Request(scope), error)(scope, receive, send_with_headers)
            return
        await self.app(scope, receive, send_with_headers)

"""The gateway as an ASGI application."""

from __future__ import annotations

import base64
import contextlib
import json
import mimetypes
import re
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
from google.protobuf.json_format import ParseDict, ParseError
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import (
    FileResponse,
    JSONResponse,
    PlainTextResponse,
    Response,
    StreamingResponse,
)
from starlette.routing import Route as HttpRoute

from onoma.client import OnomaError
from onoma.v1 import inference_pb2, naming_pb2
from services.gateway import problems, sessions
from services.gateway.activations import MOST_ASKED_FOR, Activations
from services.gateway.backends import Backends, method_of, open_backends, request_class
from services.gateway.page import page_routes
from services.gateway.pictures import MOST_PICTURES, Pictures
from services.gateway.protection import REPORT_POLICY, check_origin, safety_headers
from services.gateway.reports import Reports
from services.gateway.routes import ANNOTATOR, ROUTES, STUDY, Access, Route
from services.gateway.settings import SignInSettings
from services.gateway.signing_in import SignIn
from services.gateway.telemetry import Telemetry
from services.runtime.settings import read_settings

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

    from google.protobuf.message import Message
    from starlette.types import ASGIApp, Receive, Scope, Send
    from starlette.types import Message as AsgiMessage

    from services.runtime.settings import RuntimeSettings

OPENAPI_FILE = Path(__file__).with_name("openapi.json")
MAX_BODY_BYTES = 8 * 1024 * 1024
IMMUTABLE = "private, max-age=31536000, immutable"
SAFE_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


def build(settings: RuntimeSettings) -> Starlette:
    """The application: routes of routes.py, /healthz, the OpenAPI document, signing in, the page.

    Raises:
        ValueError: a setting of ONOMA_OIDC_* or ONOMA_PUBLIC_URL is wrong, or a key or certificate cannot be used.
    """
    backends = open_backends(settings)
    of = read_settings(SignInSettings)
    sign_in = SignIn(settings, of)

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:  # noqa: ARG001
        yield
        backends.close()

    app = Starlette(
        routes=[
            HttpRoute("/healthz", lambda _: PlainTextResponse("ok\n")),
            HttpRoute("/api/openapi.json", lambda _: FileResponse(OPENAPI_FILE)),
            *(_rpc_route(route, backends) for route in ROUTES),
            *_handwritten_routes(backends, Reports(settings), Pictures(backends), Activations(backends)),
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


def _rpc_route(route: Route, backends: Backends) -> HttpRoute:
    """One row of the table: check, translate, call, translate."""
    message_class, method = request_class(route.backend, route.rpc), method_of(route.backend, route.rpc)

    async def endpoint(request: Request) -> Response:
        if route.access is Access.OWNER:
            visitor = sessions.check_owner(request)
        elif route.access in (Access.OTHERS, Access.RESULTS):
            visitor = await sessions.check_viewer(
                request, backends, of_results=route.access is Access.RESULTS
            )
        else:
            _, visitor = await sessions.annotator_of(request, backends)
        options: dict[str, Any] = {
            "timeout_s": route.timeout_s,
            "request_id": request.state.request_id,
            "visitor": visitor,
        }
        message = await _read_message(request, message_class)
        given = [name for name in route.owners_fields if visitor.invitation and message.HasField(name)]
        if given:
            raise problems.RefusedError(
                grpc.StatusCode.PERMISSION_DENIED,
                f"{' and '.join(given)} can be set by the study's owner alone: leave it out",
            )
        if method.server_streaming:
            return await _event_stream(backends.events(route.backend, route.rpc, message, **options))
        return _json(await backends.call(route.backend, route.rpc, message, **options))

    return HttpRoute(
        route.path,
        endpoint,
        methods=[route.method],
        name=method.full_name,
    )


def _handwritten_routes(
    backends: Backends, reports: Reports, pictures: Pictures, activations: Activations
) -> list[HttpRoute]:
    async def accept_invitation(request: Request) -> Response:
        sign_in: SignIn = request.app.state.sign_in
        sign_in.check_tries(request)
        body = await _read_message(request, naming_pb2.AcceptInvitationRequest)
        try:
            accepted = await sessions.accept(request, backends, body.token)
        except grpc.RpcError as error:
            if error.code() in sessions.UNKNOWN_TOKEN:
                sign_in.note_failure(request)
            raise
        response = _json(accepted)
        sessions.remember(request, response, accepted, body.token)
        response.background = BackgroundTask(look_ahead, accepted.study, request.state.request_id)
        return response

    def look_ahead(study: naming_pb2.Study, request_id: str) -> None:
        """Lists what the page asks for next, while the browser still draws its frame."""
        with contextlib.suppress(grpc.RpcError):  # who asks for it hears why it does not come
            for category in study.categories[:1]:
                activations.of(study, category, request_id)
            pictures.list_of(study.study_id, request_id)

    async def get_invitation(request: Request) -> Response:
        session, _ = await sessions.annotator_of(request, backends)
        return _json(session)

    async def list_activations(request: Request) -> Response:
        session, _ = await sessions.annotator_of(request, backends)
        visible = await run_in_threadpool(
            activations.of, session.study, request.query_params.get("category", ""), request.state.request_id
        )
        # Asked for each time, as access may end, but sent again only where it has changed.
        headers = {"Cache-Control": "private, no-cache", "ETag": f'"{visible.version}"'}
        if request.headers.get("if-none-match", "").removeprefix("W/") == headers["ETag"]:
            return Response(status_code=304, headers=headers)
        return Response(visible.json, media_type="application/json", headers=headers)

    async def get_maps(request: Request) -> Response:
        session, _ = await sessions.annotator_of(request, backends)
        asked, request_id = request.query_params.getlist("activation_id"), request.state.request_id
        if len(asked) > MOST_ASKED_FOR:
            raise problems.RefusedError(
                grpc.StatusCode.INVALID_ARGUMENT,
                f"{len(asked)} maps by their ids; at most {MOST_ASKED_FOR} are given: ask for all of a category",
            )
        if asked:
            content = await run_in_threadpool(
                activations.some_maps_npy, session.study.study_id, asked, request_id
            )
        else:
            category, version = (request.query_params.get(name, "") for name in ("category", "version"))
            content = await run_in_threadpool(
                activations.maps_npy, session.study, category, version, request_id
            )
        return Response(content, media_type="application/octet-stream", headers={"Cache-Control": IMMUTABLE})

    async def study_image(request: Request) -> Response:
        session, _ = await sessions.annotator_of(request, backends)
        return await image(request, session.study)

    async def image_behind_a_result(request: Request) -> Response:
        return await image(request, await viewed_study(request))

    async def viewed_study(request: Request) -> naming_pb2.Study:
        visitor = await sessions.check_viewer(request, backends, of_results=True)
        message = naming_pb2.GetStudyRequest(study_id=request.path_params["study_id"])
        answer: naming_pb2.GetStudyResponse = await backends.call(
            "naming", "GetStudy", message, timeout_s=10, request_id=request.state.request_id, visitor=visitor
        )
        return answer.study

    async def report(request: Request) -> Response:
        study, name = await viewed_study(request), request.path_params["file"]
        is_fresh = name == "index.html" and request.query_params.get("fresh") == "1"
        if is_fresh:  # it keeps analytics busy for minutes
            sessions.check_owner(request)
        try:
            files = await run_in_threadpool(reports.of, study, is_fresh=is_fresh)
        except OnomaError as error:
            raise problems.RefusedError(grpc.StatusCode.FAILED_PRECONDITION, str(error)) from error
        if name not in files:
            raise problems.RefusedError(grpc.StatusCode.NOT_FOUND, f"the report has no file {name[:200]!r}")
        media_type = mimetypes.guess_type(name)[0] or "application/octet-stream"
        headers = {"Cache-Control": "no-store", "Content-Security-Policy": REPORT_POLICY}
        return Response(files[name], media_type=media_type, headers=headers)

    async def namings(request: Request) -> Response:
        visitor = await sessions.check_viewer(request, backends, of_results=False)
        as_csv = request.url.path.endswith(".csv")
        message = naming_pb2.ExportNamingsRequest(
            study_id=request.path_params["study_id"],
            format=naming_pb2.NAMINGS_FORMAT_CSV if as_csv else naming_pb2.NAMINGS_FORMAT_JSON,
        )
        pieces = backends.events(
            "naming",
            "ExportNamings",
            message,
            timeout_s=600,
            request_id=request.state.request_id,
            visitor=visitor,
        )
        return StreamingResponse(
            _texts(await anext(pieces), pieces),
            media_type="text/csv" if as_csv else "application/json",
            headers={
                "Content-Disposition": f'attachment; filename="namings.{"csv" if as_csv else "json"}"',
                "Cache-Control": "no-store",
            },
        )

    async def study_images(request: Request) -> Response:
        session, _ = await sessions.annotator_of(request, backends)
        asked = dict.fromkeys(request.query_params.getlist("image_id"))
        if not 0 < len(asked) <= MOST_PICTURES:
            raise problems.RefusedError(
                grpc.StatusCode.INVALID_ARGUMENT,
                f"image_id names {len(asked)} pictures; at least 1 and at most {MOST_PICTURES} are given at once",
            )
        found = await run_in_threadpool(pictures.of, session.study, tuple(asked), request.state.request_id)
        addresses = {image_id: _data_url(one) for image_id, one in zip(asked, found, strict=True)}
        return JSONResponse(addresses, headers={"Cache-Control": IMMUTABLE})

    async def image(request: Request, study: naming_pb2.Study) -> Response:
        image_ids = (request.path_params["image_id"],)
        (picture,) = await run_in_threadpool(pictures.of, study, image_ids, request.state.request_id)
        return Response(picture.content, media_type=picture.media_type, headers={"Cache-Control": IMMUTABLE})

    return [
        HttpRoute("/api/invitations", accept_invitation, methods=["POST"]),
        HttpRoute(ANNOTATOR, get_invitation),
        HttpRoute(ANNOTATOR + "/activations", list_activations),
        HttpRoute(ANNOTATOR + "/maps", get_maps),
        HttpRoute(ANNOTATOR + "/images", study_images),
        HttpRoute(ANNOTATOR + "/images/{image_id}", study_image),
        HttpRoute(STUDY + "/images/{image_id}", image_behind_a_result),
        HttpRoute(STUDY + "/report/{file:path}", report),
        HttpRoute(STUDY + "/namings.json", namings),
        HttpRoute(STUDY + "/namings.csv", namings),
    ]


async def _read_message(request: Request, message_class: type[Message]) -> Any:
    """The request message: JSON body (POST) or query (GET), then the fields of the path.

    Raises:
        RefusedError: INVALID_ARGUMENT; also where a field of the path has another value beside it, and
            where a POST is not declared as JSON, which is what keeps pages of other sites from sending one.
    """
    fields = message_class.DESCRIPTOR.fields_by_name
    if request.method == "POST":
        if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
            raise problems.RefusedError(
                grpc.StatusCode.INVALID_ARGUMENT, "the body has to be sent as Content-Type: application/json"
            )
        try:
            values = json.loads(await _body(request) or b"{}")
        except ValueError as error:
            raise problems.RefusedError(
                grpc.StatusCode.INVALID_ARGUMENT, f"the body is not JSON: {error}"
            ) from error
        if not isinstance(values, dict):
            raise problems.RefusedError(grpc.StatusCode.INVALID_ARGUMENT, "the body has to be a JSON object")
    else:
        values = {
            name: request.query_params.getlist(name)
            if name in fields and fields[name].is_repeated
            else request.query_params[name]
            for name in request.query_params
        }
    in_path = {name: value for name, value in request.path_params.items() if name in fields}
    for name, value in in_path.items():
        # Protobuf JSON takes both spellings; who may ask was decided by the path.
        given = [values[spelling] for spelling in (name, fields[name].json_name) if spelling in values]
        if any(one != value for one in given):
            raise problems.RefusedError(
                grpc.StatusCode.INVALID_ARGUMENT,
                f"{name} is {value[:200]!r} in the address and another in the request; leave it out there",
            )
    try:
        message = ParseDict(values, message_class())
    except ParseError as error:
        raise problems.RefusedError(
            grpc.StatusCode.INVALID_ARGUMENT, f"not a {message_class.DESCRIPTOR.name}: {error}"
        ) from error
    for name, value in in_path.items():
        setattr(message, name, value)
    return message


async def _body(request: Request) -> bytes:
    """The body.

    Raises:
        RefusedError: RESOURCE_EXHAUSTED where it is over 8 MiB.
    """
    content = bytearray()
    async for chunk in request.stream():
        content += chunk
        if len(content) > MAX_BODY_BYTES:
            raise problems.RefusedError(
                grpc.StatusCode.RESOURCE_EXHAUSTED,
                f"the request has over {MAX_BODY_BYTES // 1024**2} MiB, more than the server takes; send less at once",
                "TOO_LARGE",
            )
    return bytes(content)


def _data_url(picture: inference_pb2.GetImagesResponse) -> str:
    return f"data:{picture.media_type};base64,{base64.b64encode(picture.content).decode()}"


def _json(message: Message) -> JSONResponse:
    return JSONResponse(problems.proto_json(message), headers={"Cache-Control": "no-store"})


async def _event_stream(messages: AsyncGenerator[Message]) -> Response:
    """Server-sent events, one a message; what goes wrong before the first is an answer as any other's."""
    first = await anext(messages, None)

    async def events() -> AsyncIterator[str]:
        yield "retry: 500\n\n"
        if first is not None:
            yield _event(first)
        # Where the service goes, the browser connects again and is told then.
        async with contextlib.aclosing(messages):
            with contextlib.suppress(grpc.RpcError):
                async for message in messages:
                    yield _event(message)

    headers = {
        "Cache-Control": "no-store",
        "X-Accel-Buffering": "no",
    }  # the second for nginx, which would gather them
    return StreamingResponse(events(), media_type="text/event-stream", headers=headers)


async def _texts(
    first: naming_pb2.ExportNamingsResponse, others: AsyncGenerator[naming_pb2.ExportNamingsResponse]
) -> AsyncIterator[str]:
    """A document as it comes; where it breaks off, the answer does."""
    yield first.text
    async with contextlib.aclosing(others):
        async for piece in others:
            yield piece.text


def _event(message: Message) -> str:
    return f"data: {json.dumps(problems.proto_json(message), ensure_ascii=False)}\n\n"


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
        given = headers.get("x-request-id", "")
        request_id = given if SAFE_REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
        scope.setdefault("state", {})["request_id"] = request_id
        is_https = scope["scheme"] == "https" or self._public_url.startswith("https://")
        safety = safety_headers(is_https=is_https) | {"x-request-id": request_id}

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

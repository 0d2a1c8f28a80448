"""Routes that are more than one call of a service: invitations, maps, pictures, reports, namings as files."""

from __future__ import annotations

import base64
import contextlib
import mimetypes
from typing import TYPE_CHECKING, TypeVar, TypeVarTuple, Unpack

import grpc
from anyio import CapacityLimiter, to_thread
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route as HttpRoute

from onoma.client import OnomaError, ResourceExhausted, ServerUnavailable
from onoma.v1 import inference_pb2, naming_pb2
from services.gateway import problems, sessions
from services.gateway.activations import MOST_ASKED_FOR, Activations
from services.gateway.messages import answered, read_message
from services.gateway.pictures import MOST_PICTURES, Pictures
from services.gateway.protection import REPORT_POLICY
from services.gateway.routes import HANDWRITTEN

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable

    from services.gateway.backends import Backends
    from services.gateway.reports import Reports
    from services.gateway.signing_in import SignIn

_MOST_LOADS = 20  # at once: many who open a study wait for one list, and acts must not wait for their threads
Given = TypeVarTuple("Given")
Found = TypeVar("Found")
_IMMUTABLE = "private, max-age=31536000, immutable"


class HandwrittenRoutes:
    """What answers the routes that HANDWRITTEN of routes.py describes."""

    def __init__(
        self, backends: Backends, reports: Reports, pictures: Pictures, activations: Activations
    ) -> None:
        self._backends = backends
        self._reports = reports
        self._pictures = pictures
        self._activations = activations
        self._loading = CapacityLimiter(_MOST_LOADS)

    def routes(self) -> list[HttpRoute]:
        """All of them, in the order of HANDWRITTEN."""
        endpoints = {
            "AcceptInvitation": self._accept_invitation,
            "GetInvitation": self._get_invitation,
            "ListActivations": self._list_activations,
            "GetMaps": self._get_maps,
            "GetStudyImages": self._study_images,
            "GetStudyImage": self._study_image,
            "GetImage": self._image_behind_a_result,
            "GetReport": self._report,
            "GetNamingsJson": self._namings,
            "GetNamingsCsv": self._namings,
        }
        return [
            # Files of a report may lie in folders, which OpenAPI's paths cannot say.
            HttpRoute(one.path.replace("{file}", "{file:path}"), endpoints[one.name], methods=[one.method])
            for one in HANDWRITTEN
        ]

    async def _accept_invitation(self, request: Request) -> Response:
        sign_in: SignIn = request.app.state.sign_in
        sign_in.check_tries(request)
        body = await read_message(request, naming_pb2.AcceptInvitationRequest)
        try:
            accepted = await sessions.accept(request, self._backends, body.token)
        except grpc.RpcError as error:
            if error.code() in sessions.UNKNOWN_TOKEN:
                sign_in.note_failure(request)
            raise
        response = answered(accepted)
        sessions.remember(request, response, accepted, body.token)
        response.background = BackgroundTask(self._look_ahead, accepted.study, request.state.request_id)
        return response

    async def _look_ahead(self, study: naming_pb2.Study, request_id: str) -> None:
        """Lists what the page asks for next, while the browser still draws its frame."""
        with contextlib.suppress(grpc.RpcError):  # who asks for it hears why it does not come
            for category in study.categories[:1]:
                await self._loaded(self._activations.of, study, category, request_id)
            await self._loaded(self._pictures.list_of, study.study_id, request_id)

    async def _loaded(self, load: Callable[[Unpack[Given]], Found], *arguments: *Given) -> Found:
        """What a function that blocks brings."""
        return await to_thread.run_sync(load, *arguments, limiter=self._loading)

    async def _get_invitation(self, request: Request) -> Response:
        session, _ = await sessions.annotator_of(request, self._backends)
        return answered(session)

    async def _list_activations(self, request: Request) -> Response:
        session, _ = await sessions.annotator_of(request, self._backends)
        visible = await self._loaded(
            self._activations.of,
            session.study,
            request.query_params.get("category", ""),
            request.state.request_id,
        )
        # Asked for each time, as access may end, but sent again only where it has changed.
        headers = {"Cache-Control": "private, no-cache", "ETag": f'"{visible.version}"'}
        if request.headers.get("if-none-match", "").removeprefix("W/") == headers["ETag"]:
            return Response(status_code=304, headers=headers)
        return Response(visible.json, media_type="application/json", headers=headers)

    async def _get_maps(self, request: Request) -> Response:
        session, _ = await sessions.annotator_of(request, self._backends)
        asked, request_id = request.query_params.getlist("activation_id"), request.state.request_id
        if len(asked) > MOST_ASKED_FOR:
            raise problems.RefusedError(
                grpc.StatusCode.INVALID_ARGUMENT,
                f"{len(asked)} maps by their ids; at most {MOST_ASKED_FOR} are given: ask for all of a category",
            )
        if asked:
            content = await self._loaded(
                self._activations.some_maps_npy, session.study.study_id, asked, request_id
            )
        else:
            category, version = (request.query_params.get(name, "") for name in ("category", "version"))
            content = await self._loaded(
                self._activations.maps_npy, session.study, category, version, request_id
            )
        return Response(content, media_type="application/octet-stream", headers={"Cache-Control": _IMMUTABLE})

    async def _study_image(self, request: Request) -> Response:
        session, _ = await sessions.annotator_of(request, self._backends)
        return await self._image(request, session.study)

    async def _image_behind_a_result(self, request: Request) -> Response:
        return await self._image(request, await self._viewed_study(request))

    async def _viewed_study(self, request: Request) -> naming_pb2.Study:
        visitor = await sessions.check_viewer(request, self._backends, of_results=True)
        message = naming_pb2.GetStudyRequest(study_id=request.path_params["study_id"])
        answer: naming_pb2.GetStudyResponse = await self._backends.call(
            "naming", "GetStudy", message, timeout_s=10, request_id=request.state.request_id, visitor=visitor
        )
        return answer.study

    async def _report(self, request: Request) -> Response:
        study, name = await self._viewed_study(request), request.path_params["file"]
        is_fresh = name == "index.html" and request.query_params.get("fresh") == "1"
        if is_fresh:  # it keeps analytics busy for minutes
            sessions.check_owner(request)
        try:
            files = await self._reports.of(study, is_fresh=is_fresh)
        except ServerUnavailable as error:
            raise problems.unanswered(str(error)) from error
        except ResourceExhausted as error:
            raise problems.of_client(
                grpc.StatusCode.RESOURCE_EXHAUSTED, str(error), error.reason or "BUSY"
            ) from error
        except OnomaError as error:
            raise problems.of_client(grpc.StatusCode.FAILED_PRECONDITION, str(error), error.reason) from error
        if name not in files:
            raise problems.RefusedError(grpc.StatusCode.NOT_FOUND, f"the report has no file {name[:200]!r}")
        media_type = mimetypes.guess_type(name)[0] or "application/octet-stream"
        headers = {"Cache-Control": "no-store", "Content-Security-Policy": REPORT_POLICY}
        return Response(files[name], media_type=media_type, headers=headers)

    async def _namings(self, request: Request) -> Response:
        visitor = await sessions.check_viewer(request, self._backends, of_results=False)
        as_csv = request.url.path.endswith(".csv")
        message = naming_pb2.ExportNamingsRequest(
            study_id=request.path_params["study_id"],
            format=naming_pb2.NAMINGS_FORMAT_CSV if as_csv else naming_pb2.NAMINGS_FORMAT_JSON,
        )
        pieces = self._backends.events(
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

    async def _study_images(self, request: Request) -> Response:
        session, _ = await sessions.annotator_of(request, self._backends)
        asked = dict.fromkeys(request.query_params.getlist("image_id"))
        if not 0 < len(asked) <= MOST_PICTURES:
            raise problems.RefusedError(
                grpc.StatusCode.INVALID_ARGUMENT,
                f"image_id names {len(asked)} pictures; at least 1 and at most {MOST_PICTURES} are given at once",
            )
        found = await self._loaded(self._pictures.of, session.study, tuple(asked), request.state.request_id)
        addresses = {image_id: _data_url(one) for image_id, one in zip(asked, found, strict=True)}
        return JSONResponse(addresses, headers={"Cache-Control": _IMMUTABLE})

    async def _image(self, request: Request, study: naming_pb2.Study) -> Response:
        image_ids = (request.path_params["image_id"],)
        (picture,) = await self._loaded(self._pictures.of, study, image_ids, request.state.request_id)
        return Response(picture.content, media_type=picture.media_type, headers={"Cache-Control": _IMMUTABLE})


def _data_url(picture: inference_pb2.GetImagesResponse) -> str:
    return f"data:{picture.media_type};base64,{base64.b64encode(picture.content).decode()}"


async def _texts(
    first: naming_pb2.ExportNamingsResponse, others: AsyncGenerator[naming_pb2.ExportNamingsResponse]
) -> AsyncIterator[str]:
    """A document as it comes; where it breaks off, the answer does."""
    yield first.text
    async with contextlib.aclosing(others):
        async for piece in others:
            yield piece.text

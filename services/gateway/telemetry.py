"""What happens around every request: numbers for Prometheus, a span, one log line; none tells what was asked for."""

from __future__ import annotations

import logging
import time
from http import HTTPMethod, HTTPStatus
from typing import TYPE_CHECKING

from opentelemetry.trace import Status, StatusCode
from prometheus_client import Counter, Gauge, Histogram
from starlette.routing import Match

from services.runtime import tracing
from services.runtime.logs import request_id

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

_PAGE = "page"  # whatever is no route of /api: the page's own files, and paths that lead nowhere

_METHODS = frozenset(method.value for method in HTTPMethod)

_requests = Counter("onoma_http_requests_total", "Requests that ended.", ["method", "route", "status"])
_seconds = Histogram("onoma_http_request_seconds", "Duration of requests in seconds.", ["route"])
_in_flight = Gauge("onoma_http_requests_in_flight", "Requests being answered, streams of events among them.")
_log = logging.getLogger("onoma.requests")


class Telemetry:
    """Watches requests by their routes as the table has them: a path itself holds ids."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        status = HTTPStatus.INTERNAL_SERVER_ERROR

        async def noting_the_status(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        method = scope["method"] if scope["method"] in _METHODS else "other"
        request_id.set(scope["state"]["request_id"])
        headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]]
        span = tracing.begin(method, headers, **{"onoma.request_id": request_id.get()})
        start = time.monotonic()
        try:
            with _in_flight.track_inprogress():
                await self.app(scope, receive, noting_the_status)
        finally:
            route, seconds = _route(scope), time.monotonic() - start
            _requests.labels(method, route, status).inc()
            _seconds.labels(route).observe(seconds)
            fields = {"method": method, "route": route, "status": int(status)}
            _log.info("answered", extra={**fields, "seconds": round(seconds, 6)})
            span.update_name(f"{method} {route}")
            span.set_attributes({"http.route": route, "http.response.status_code": int(status)})
            if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
                span.set_status(Status(StatusCode.ERROR))
            span.end()


def asked_for(scope: Scope) -> str:
    """Method and route of a request as the table has it ("GET /api/studies/{study_id}"), also before it is routed."""
    app: Starlette = scope["app"]
    fitting = (route for route in app.routes if route.matches(scope)[0] is not Match.NONE)
    method = scope["method"] if scope["method"] in _METHODS else "other"
    return f"{method} {getattr(next(fitting, None), 'path', _PAGE)}"


def _route(scope: Scope) -> str:
    """The route that was taken, as the table has it."""
    path = str(getattr(scope.get("route"), "path", ""))
    return path if path.startswith(("/api/", "/healthz")) else _PAGE

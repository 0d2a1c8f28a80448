"""Requests as the services' messages, and their messages as answers."""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Any

import grpc
from google.protobuf.json_format import ParseDict, ParseError
from starlette.responses import JSONResponse, Response, StreamingResponse

from services.gateway import problems

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

    from google.protobuf.message import Message
    from starlette.requests import Request

_MAX_BODY_BYTES = 8 * 1024 * 1024


async def read_message(request: Request, message_class: type[Message]) -> Any:
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
            values = json.loads(await read_body(request, _MAX_BODY_BYTES) or b"{}")
        except (ValueError, RecursionError) as error:
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


async def read_body(request: Request, most_bytes: int) -> bytes:
    """The body.

    Raises:
        RefusedError: RESOURCE_EXHAUSTED where it is larger.
    """
    content = bytearray()
    async for chunk in request.stream():
        content += chunk
        if len(content) > most_bytes:
            most = f"{most_bytes >> 20} MiB" if most_bytes >> 20 else f"{most_bytes >> 10} KiB"
            raise problems.RefusedError(
                grpc.StatusCode.RESOURCE_EXHAUSTED,
                f"the request has over {most}, more than the server takes; send less at once",
                "TOO_LARGE",
            )
    return bytes(content)


def answered(message: Message) -> JSONResponse:
    """A service's answer as JSON, which nothing on the way keeps."""
    return JSONResponse(problems.proto_json(message), headers={"Cache-Control": "no-store"})


async def event_stream(messages: AsyncGenerator[Message]) -> Response:
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


def _event(message: Message) -> str:
    return f"data: {json.dumps(problems.proto_json(message), ensure_ascii=False)}\n\n"

"""The OpenAPI document, made from the protobuf descriptors, their comments and the routes.

`python -m services.gateway.schema` writes openapi.json beside this file: the gateway
serves it, and web/ makes its types from it. A test fails when it is out of date.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from google.protobuf import descriptor_pool
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorSet

from onoma.v1 import analytics_pb2, attribution_pb2, inference_pb2, jobs_pb2, naming_pb2, types_pb2
from services.gateway.app import OPENAPI_FILE
from services.gateway.backends import method_of
from services.gateway.routes import HANDWRITTEN, ROUTES, Access, Handwritten, Route

if TYPE_CHECKING:
    from google.protobuf.descriptor import Descriptor

PROTO_FOLDER = Path(__file__).parents[2] / "protos"
STUBS = (types_pb2, jobs_pb2, inference_pb2, attribution_pb2, naming_pb2, analytics_pb2)

# How protobuf JSON writes each kind of field.
SCALARS: dict[int, dict[str, Any]] = {
    FieldDescriptor.TYPE_DOUBLE: {"type": "number"},
    FieldDescriptor.TYPE_FLOAT: {"type": "number"},
    FieldDescriptor.TYPE_INT64: {"type": "string", "format": "int64"},
    FieldDescriptor.TYPE_INT32: {"type": "integer", "format": "int32"},
    FieldDescriptor.TYPE_BOOL: {"type": "boolean"},
    FieldDescriptor.TYPE_STRING: {"type": "string"},
    FieldDescriptor.TYPE_BYTES: {"type": "string", "format": "byte"},
}

PROBLEM = {
    "type": "object",
    "description": "What went wrong.",
    "required": ["code", "message", "reason", "request_id"],
    "properties": {
        "code": {"type": "string", "description": "Name of the gRPC status."},
        "message": {"type": "string", "description": "One line for people."},
        "reason": {
            "type": "string",
            "description": "Stable name of the reason, where there is one. STALE_REVISION: another change came first; "
            "read anew and send the act again. With the header Retry-After (BUSY, QUEUE_FULL, TOO_MANY_STREAMS, "
            "DISK_FULL) the same request may be sent again later; without it, RESOURCE_EXHAUSTED is a limit "
            "(TOO_MANY_CONCEPTS, TOO_LARGE and others), and sending again changes nothing.",
        },
        "request_id": {"type": "string", "description": "To find the request in the logs."},
        "naming": {
            "allOf": [{"$ref": "#/components/schemas/Naming"}],
            "description": "With STALE_REVISION: the naming as it stands; left out where it is large, and then to be "
            "asked for.",
        },
    },
}


def openapi(comments: dict[str, str]) -> dict[str, Any]:
    """The document.

    Args:
        comments: full name of a message, field, enum or RPC -> its comment in the .proto file.
    """
    schemas: dict[str, Any] = {"Problem": PROBLEM}
    paths: dict[str, Any] = {}
    for route in ROUTES:
        operation = _of_rpc(route, schemas, comments)
        paths.setdefault(route.path, {})[route.method.lower()] = operation
    for written in HANDWRITTEN:
        operation = _of_handwritten(written, schemas, comments)
        paths.setdefault(written.path, {})[written.method.lower()] = operation
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Onoma",
            "version": "v1",
            "description": "What the browser asks. Bodies are the protobuf JSON of protos/onoma/v1.",
        },
        "paths": dict(sorted(paths.items())),
        "components": {"schemas": dict(sorted(schemas.items()))},
    }


def _of_rpc(route: Route, schemas: dict[str, Any], comments: dict[str, str]) -> dict[str, Any]:
    """The operation of a route that is one RPC; messages that it needs are added to `schemas`."""
    method = method_of(route.backend, route.rpc)
    operation = _operation(
        route.path, f"{route.backend}.{route.rpc}", comments.get(method.full_name, ""), route.access
    )
    request = method.input_type
    unnamed = [field for field in request.fields if f"{{{field.name}}}" not in route.path]
    if route.method == "GET":
        operation["parameters"] += [
            {
                "name": field.name,
                "in": "query",
                "description": comments.get(field.full_name, ""),
                "schema": _field_type(field, schemas, comments),
            }
            for field in unnamed
            if field.type not in (FieldDescriptor.TYPE_MESSAGE, FieldDescriptor.TYPE_BYTES)
        ]
    elif unnamed:
        body = {
            "type": "object",
            "properties": {field.name: _field(field, schemas, comments) for field in unnamed},
        }
        operation["requestBody"] = {"content": {"application/json": {"schema": body}}, "required": True}
    media_type = "text/event-stream" if method.server_streaming else "application/json"
    operation["responses"] |= _answer(media_type, _reference(method.output_type, schemas, comments))
    return operation


def _of_handwritten(
    written: Handwritten, schemas: dict[str, Any], comments: dict[str, str]
) -> dict[str, Any]:
    """The operation of a route that is more than one RPC; messages that it needs are added to `schemas`."""
    pool = descriptor_pool.Default()
    operation = _operation(written.path, f"gateway.{written.name}", written.summary, written.access)
    operation["parameters"] += [
        {"name": name, "in": "query", "required": True, "schema": {"type": "string"}}
        for name in written.query
    ]
    operation["parameters"] += [
        {"name": name, "in": "query", "schema": {"type": "array", "items": {"type": "string"}}}
        for name in written.lists
    ]
    if written.request:
        schema = _reference(pool.FindMessageTypeByName(written.request), schemas, comments)
        operation["requestBody"] = {"content": {"application/json": {"schema": schema}}, "required": True}
    answer = (
        _reference(pool.FindMessageTypeByName(written.response), schemas, comments)
        if written.response
        else written.schema or {"type": "string", "format": "binary"}
    )
    operation["responses"] |= _answer(written.media_type, answer)
    return operation


def _operation(path: str, name: str, summary: str, access: Access) -> dict[str, Any]:
    names = [part[1:-1] for part in path.split("/") if part.startswith("{")]
    return {
        "operationId": name,
        "summary": summary,
        "description": access.value,
        "parameters": [
            {"name": part, "in": "path", "required": True, "schema": {"type": "string"}} for part in names
        ],
        "responses": {
            "default": {
                "description": "What went wrong.",
                "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
            }
        },
    }


def _answer(media_type: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"200": {"description": "The answer.", "content": {media_type: {"schema": schema}}}}


def _reference(message: Descriptor, schemas: dict[str, Any], comments: dict[str, str]) -> dict[str, Any]:
    """A reference to the message's schema, which is added to `schemas` with all it needs."""
    if message.full_name == "google.protobuf.Timestamp":
        return {"type": "string", "format": "date-time"}
    if message.name not in schemas:
        schema = schemas[message.name] = {
            "type": "object",
            "description": comments.get(message.full_name, ""),
        }
        schema["properties"] = {field.name: _field(field, schemas, comments) for field in message.fields}
        # Plain fields are always printed; those with presence only when they are set.
        schema["required"] = [field.name for field in message.fields if not field.has_presence]
    return {"$ref": f"#/components/schemas/{message.name}"}


def _field(field: FieldDescriptor, schemas: dict[str, Any], comments: dict[str, str]) -> dict[str, Any]:
    return {**_field_type(field, schemas, comments), "description": comments.get(field.full_name, "")}


def _field_type(field: FieldDescriptor, schemas: dict[str, Any], comments: dict[str, str]) -> dict[str, Any]:
    if field.message_type:
        one = _reference(field.message_type, schemas, comments)
    elif enum := field.enum_type:
        schemas[enum.name] = {
            "type": "string",
            "description": comments.get(enum.full_name, ""),
            "enum": [value.name for value in enum.values],
        }
        one = {"$ref": f"#/components/schemas/{enum.name}"}
    else:
        one = SCALARS[field.type]
    return {"type": "array", "items": one} if field.is_repeated else one


def read_comments() -> dict[str, str]:
    """Comments of the .proto files, by full name; needs grpcio-tools and the checkout."""
    from grpc_tools import protoc  # a tool of the checkout, not of a running gateway

    with tempfile.NamedTemporaryFile() as output:
        files = sorted(str(path.relative_to(PROTO_FOLDER)) for path in PROTO_FOLDER.rglob("*.proto"))
        status = protoc.main(
            [
                "protoc",
                f"-I{PROTO_FOLDER}",
                f"-I{Path(protoc.__file__).parent / '_proto'}",
                "--include_source_info",
                f"--descriptor_set_out={output.name}",
                *files,
            ]
        )
        if status != 0:
            raise RuntimeError(f"protoc could not read {PROTO_FOLDER}: exit status {status}")
        described = FileDescriptorSet.FromString(Path(output.name).read_bytes())
    comments = {}
    for file in described.file:
        for location in file.source_code_info.location:
            # An odd path is a statement of the file (syntax, package), not an element with a name.
            if location.leading_comments and len(location.path) % 2 == 0:
                name, element = file.package, file
                for number, index in zip(location.path[::2], location.path[1::2], strict=True):
                    element = getattr(element, element.DESCRIPTOR.fields_by_number[number].name)[index]
                    name += f".{element.name}"
                comments[name] = " ".join(location.leading_comments.split())
    return comments


def main() -> None:
    """Write openapi.json."""
    document = openapi(read_comments())
    OPENAPI_FILE.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

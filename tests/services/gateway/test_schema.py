"""The OpenAPI document is made from the descriptors, and it is the one that is served."""

import json
import re

from starlette.testclient import TestClient

from services.gateway.app import OPENAPI_FILE, build
from services.gateway.routes import HANDWRITTEN, ROUTES
from services.gateway.schema import openapi, read_comments
from services.runtime.settings import RuntimeSettings


def test_the_committed_document_is_up_to_date():
    assert json.loads(OPENAPI_FILE.read_text(encoding="utf-8")) == openapi(read_comments()), (
        "run: python -m services.gateway.schema"
    )


def test_the_document_is_served(owner: TestClient):
    document = owner.get("/api/openapi.json").json()
    served = {
        (method.upper(), path) for path, operations in document["paths"].items() for method in operations
    }
    assert served == {(route.method, route.path) for route in (*ROUTES, *HANDWRITTEN)}


def test_every_route_of_the_application_is_in_the_document():
    document = json.loads(OPENAPI_FILE.read_text(encoding="utf-8"))
    described = {
        (method.upper(), path) for path, operations in document["paths"].items() for method in operations
    }
    answered = {
        (method, re.sub(r":\w+}", "}", route.path))
        for route in build(RuntimeSettings()).routes
        if route.path.startswith("/api") and route.path != "/api/openapi.json"
        for method in route.methods - {"HEAD"}
    }
    assert answered == described


def test_every_reference_leads_somewhere():
    text = OPENAPI_FILE.read_text(encoding="utf-8")
    schemas = json.loads(text)["components"]["schemas"]
    references = {part.split('"')[0] for part in text.split("#/components/schemas/")[1:]}
    assert references <= schemas.keys()


def test_fields_are_described_by_their_proto_comments():
    schemas = json.loads(OPENAPI_FILE.read_text(encoding="utf-8"))["components"]["schemas"]
    assert schemas["Study"]["properties"]["study_id"]["description"] == "Id."
    assert schemas["Coverage"]["required"] == [
        "category",
        "annotator_id",
        "activation_count",
        "image_count",
        "left_out_count",
        "concept_count",
        "removed_concepts",
    ]

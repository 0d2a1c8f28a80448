"""The OpenAPI document is made from the descriptors, and it is the one that is served."""

import json

from starlette.testclient import TestClient

from services.gateway.app import OPENAPI_FILE
from services.gateway.routes import HANDWRITTEN, ROUTES
from services.gateway.schema import openapi, read_comments


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

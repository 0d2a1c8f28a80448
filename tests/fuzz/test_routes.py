"""Every HTTP route, asked what its OpenAPI document allows and forbids: an answer with a reason, never a fault."""

from __future__ import annotations

import json
import logging

import pytest
import schemathesis
from schemathesis.checks import not_a_server_error

from services.gateway.app import OPENAPI_FILE
from services.gateway.sessions import cookie_name
from tests.fuzz.conftest import fuzzing

document = schemathesis.openapi.from_dict(json.loads(OPENAPI_FILE.read_text(encoding="utf-8")))
# With a study that is there, these go on for as long as somebody listens, or end what the others are tried on.
LEFT_OUT_OF_THE_STUDY = ("/events", "/revoke", "/renew", "/close", "/report/{file}")


@pytest.fixture(scope="module")
def inside(study):
    """The page's address, and an annotator who has followed their link."""
    invited = study.client.invite_annotator(study.study.study_id, "Ada")
    study_id, annotator_id = study.study.study_id, invited.annotator.annotator_id
    cookies = {cookie_name(study_id, annotator_id): invited.token}
    return study.running.page_url, {"study_id": study_id, "annotator_id": annotator_id}, cookies


@document.parametrize()
@fuzzing
def test_no_request_is_the_servers_fault(case, inside, caplog):
    caplog.set_level(logging.ERROR)
    page_url, ids, cookies = inside
    if not case.path.endswith(LEFT_OUT_OF_THE_STUDY):
        for name in ids.keys() & (case.path_parameters or {}).keys():
            if len(str(case.path_parameters[name])) % 4:  # the others stay as they were drawn
                case.path_parameters[name] = ids[name]
    response = case.call(base_url=page_url, cookies=cookies, timeout=30)
    case.validate_response(response, checks=[not_a_server_error])
    assert "Traceback" not in response.text
    assert '.py", line' not in response.text
    if response.status_code >= 400:
        assert response.headers["content-type"] == ["application/problem+json"]
        assert response.json()["message"]

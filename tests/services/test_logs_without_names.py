"""The logs of everything tell nobody's name: the main job over the gateway, with what goes wrong on the way."""

import logging

import httpx2
import pytest

from onoma.client import OnomaError
from onoma.v1 import naming_pb2
from tests.conftest import OpenStudy

PERSON, OTHER, CONCEPT = "Ada Lovelace", "Émilie du Châtelet", "Byron's left eye"


def test_no_log_line_of_the_main_job_has_a_name_or_a_token(open_study: OpenStudy, caplog):
    caplog.set_level(logging.DEBUG)
    client, study_id = open_study.client, open_study.study.study_id
    invited = client.invite_annotator(study_id, PERSON)
    annotator_id, token = invited.annotator.annotator_id, invited.token
    for refused in (
        lambda: client.invite_annotator(study_id, PERSON),  # taken
        lambda: client.invite_annotator(study_id, f"{OTHER}\0"),  # no name
        lambda: client.accept_invitation(f"{token}x"),
    ):
        with pytest.raises(OnomaError):
            refused()
    with httpx2.Client(base_url=open_study.running.page_url, timeout=120) as page:
        page.post("/api/invitations", json={"token": token}).raise_for_status()
        path = f"/api/studies/{study_id}/annotators/{annotator_id}"
        naming = page.get(f"{path}/naming?category=circle").json()["naming"]
        create = {"concept_id": "a" * 32, "name": CONCEPT, "activation_ids": naming["pool"]}
        act = {
            "category": "circle",
            "base_revision": naming.get("revision", "0"),
            "command": {"create": create},
        }
        answers = [page.post(f"{path}/acts", json=act | {"request_id": one}).status_code for one in "xyx"]
        assert answers == [200, 409, 200]  # the second one came too late
        assert page.get(f"{path}/naming?category={CONCEPT}").status_code == 400
        client.export_namings(study_id)
        client.get_consensus(study_id, "circle")
        client.get_coverage(study_id)
        page.get(f"/api/studies/{study_id}/report/index.html").raise_for_status()
    client.revoke_invitation(study_id, annotator_id)
    client.compute_maps(study_id).wait()
    logged = "\n".join(
        f"{record.getMessage()} {record.__dict__} {record.exc_text}"
        for record in caplog.records
        if not record.name.startswith(("httpx2", "httpcore2"))  # this test's own browser
    )
    assert f"{naming_pb2.DESCRIPTOR.services_by_name['NamingService'].full_name}/Act" in logged
    for secret in (PERSON, "Lovelace", OTHER, "Châtelet", CONCEPT, "Byron", token):
        assert secret not in logged
